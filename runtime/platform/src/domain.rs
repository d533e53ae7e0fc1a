//! A domain is a value: plain data that lists what it can be asked, tells, follows and runs.
//!
//! Nothing happens when it is built. The platform reads it and derives routes, tools, queues,
//! cursors, the supervision subtree and documentation.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jobs::CronEntry;
use kernel::{DomainName, Event, EventType, Recorded};
use otp::ChildSpec;
use serde_json::Value;

use crate::flags::FlagDeclaration;
use crate::form;
use crate::job::{Arguments, Job, JobDeclaration};
use crate::operation::{Action, Command, Operation, Query};
use crate::page::Page;
use crate::projection::{Projecting, Projection, ProjectionDeclaration};
use crate::prompt::{Prompt, PromptDeclaration};
use crate::reaction::Subscription;
use crate::recurring::Every;
use crate::schema;
use crate::system::System;

/// Makes a process of a domain, or a supervisor of processes, for a running system.
pub(crate) type MakeChild = fn(&System) -> ChildSpec;

/// A business domain, declared.
#[derive(Clone)]
pub struct Domain {
    pub(crate) name: DomainName,
    pub(crate) words: &'static str,
    pub(crate) operations: Vec<Operation>,
    pub(crate) events: Vec<EventDeclaration>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) projections: Vec<ProjectionDeclaration>,
    pub(crate) jobs: BTreeMap<&'static str, JobDeclaration>,
    pub(crate) schedules: Vec<CronEntry>,
    pub(crate) children: Vec<(&'static str, MakeChild)>,
    pub(crate) pages: Vec<Page>,
    pub(crate) flags: Vec<FlagDeclaration>,
    pub(crate) prompts: Vec<PromptDeclaration>,
    pub(crate) keeps_credentials: bool,
    pub(crate) violations: Vec<String>,
}

/// An event a domain tells, with its published shape.
#[derive(Debug, Clone)]
pub struct EventDeclaration {
    /// Domain, name and version.
    pub event_type: EventType,
    /// Its doc comment.
    pub description: String,
    /// JSON Schema of its payload.
    pub schema: Value,
    pub(crate) type_id: TypeId,
    validator: Arc<jsonschema::Validator>,
}

impl EventDeclaration {
    fn of<E: Event>() -> Self {
        let schema = schema::of::<E>();
        let (_, description) = schema::words(&schema);
        Self {
            event_type: E::TYPE,
            description,
            type_id: TypeId::of::<E>(),
            validator: Arc::new(form::validator(&schema)),
            schema,
        }
    }

    /// Compares `payload` with the published schema.
    ///
    /// # Errors
    /// [`Unpublished`] names the first place that breaks it, and the rule.
    pub fn check(&self, payload: &Value) -> Result<(), Unpublished> {
        if self.validator.is_valid(payload) {
            return Ok(());
        }
        let error = self.validator.iter_errors(payload).next();
        error.map_or(Ok(()), |error| Err(Unpublished::new(self.event_type, &error)))
    }
}

/// A payload is not what the schema of its event promises to other domains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the payload of {event_type} breaks its published schema at `{pointer}`, rule `{rule}`: \
     {message}; mend the event, or publish a new version of it"
)]
pub struct Unpublished {
    /// The event's type.
    pub event_type: &'static str,
    /// JSON Pointer to the offending place of the payload.
    pub pointer: String,
    /// JSON Pointer to the rule in the schema.
    pub rule: String,
    /// What is wrong, as a sentence.
    pub message: String,
}

impl Unpublished {
    fn new(event_type: EventType, error: &jsonschema::ValidationError<'_>) -> Self {
        Self {
            event_type: event_type.name,
            pointer: error.instance_path().to_string(),
            rule: error.schema_path().to_string(),
            message: form::said(error),
        }
    }
}

impl Domain {
    /// A domain that does nothing yet.
    #[must_use]
    pub fn new(name: DomainName) -> Self {
        Self {
            name,
            words: "",
            operations: Vec::new(),
            events: Vec::new(),
            subscriptions: Vec::new(),
            projections: Vec::new(),
            jobs: BTreeMap::new(),
            schedules: Vec::new(),
            children: Vec::new(),
            pages: Vec::new(),
            flags: Vec::new(),
            prompts: Vec::new(),
            keeps_credentials: false,
            violations: Vec::new(),
        }
    }

    /// Is this, in a sentence or two to a customer: what it is for and what it answers for.
    #[must_use]
    pub const fn about(mut self, words: &'static str) -> Self {
        self.words = words;
        self
    }

    /// Can be told to do this.
    #[must_use]
    pub fn command<C: Command>(mut self) -> Self {
        const {
            assert!(
                !C::SPEC.is_read(),
                "a command changes something: declare it with Spec::create, replace, remove, \
                 invoke or internal"
            );
        };
        let operation = Operation::command::<C>(self.name);
        let arguments = Arguments::of_input(&operation);
        self.operations.push(operation);
        self.performs::<C>(arguments)
    }

    /// Can be asked this.
    #[must_use]
    pub fn query<Q: Query>(mut self) -> Self {
        const {
            assert!(Q::SPEC.is_read(), "a query only reads: declare it with Spec::read");
        };
        self.operations.push(Operation::query::<Q>(self.name));
        self
    }

    /// Can do this to processes or the outside world.
    #[must_use]
    pub fn action<A: Action>(mut self) -> Self {
        self.operations.push(Operation::action::<A>(self.name));
        self
    }

    /// Tells events of this type.
    #[must_use]
    pub fn emits<E: Event>(mut self) -> Self {
        self.events.push(EventDeclaration::of::<E>());
        self
    }

    /// Whenever `E` is sealed, does what `react` answers. The name is persistent: it names a
    /// cursor.
    #[must_use]
    pub fn on<E: Event, J: Job>(
        mut self,
        name: &'static str,
        react: fn(&Recorded<E>) -> Option<J>,
    ) -> Self {
        self = self.job::<J>();
        let arguments = Arc::clone(&self.jobs[J::NAME].arguments);
        self.subscriptions.push(Subscription::new(name, arguments, react));
        self
    }

    /// Performs jobs of this type.
    #[must_use]
    pub fn job<J: Job>(self) -> Self {
        if self.jobs.get(J::NAME).is_some_and(|known| known.type_id == TypeId::of::<J>()) {
            return self;
        }
        self.performs::<J>(Arguments::of::<J>(J::NAME))
    }

    fn performs<J: Job>(mut self, arguments: Arguments) -> Self {
        let declared = JobDeclaration::of::<J>(arguments);
        if let Some(other) = self.jobs.insert(J::NAME, declared)
            && other.type_id != TypeId::of::<J>()
        {
            self.violations.push(format!(
                "{}: two types of job are named `{}`",
                self.name,
                J::NAME
            ));
        }
        self
    }

    /// Does this job by the clock: at each tick of a schedule, once over all nodes. The name of the
    /// job, or that of the schedule, is persistent: ticks are remembered under it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use platform::{Attempt, Domain, DomainName, Job, Outcome, Result};
    /// # #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    /// # struct SendDigest {}
    /// # impl Job for SendDigest {
    /// #     const NAME: &'static str = "send_digest";
    /// #     async fn perform(self, _: &Attempt) -> Result<Outcome> { Ok(Outcome::Complete) }
    /// # }
    /// let domain = Domain::new(DomainName::new("pulse")).every("@daily", || SendDigest {});
    /// # let _ = domain;
    /// ```
    #[must_use]
    pub fn every<J: Job>(mut self, every: impl Into<Every>, job: fn() -> J) -> Self {
        match every.into().entry(self.name, &job()) {
            Ok(entry) => self.schedules.push(entry),
            Err(violation) => self.violations.push(violation),
        }
        self.job::<J>()
    }

    /// Builds this read model.
    #[must_use]
    pub fn projection<P: Projection>(mut self, projection: Projecting<P>) -> Self {
        self.projections.push(projection.erase());
        self
    }

    /// Runs this process, or this supervisor of processes, under its subtree.
    #[must_use]
    pub fn child(mut self, id: &'static str, child: fn(&System) -> ChildSpec) -> Self {
        self.children.push((id, child));
        self
    }

    /// Has this page in the console.
    #[must_use]
    pub fn page(mut self, page: Page) -> Self {
        self.pages.push(page);
        self
    }

    /// Offers agents this prompt.
    #[must_use]
    pub fn prompt<P: Prompt>(mut self) -> Self {
        self.prompts.push(PromptDeclaration::of::<P>());
        self
    }

    /// Does something else for organisations that have switched on this feature flag, or off. The
    /// name is persistent and the only one of its kind in the installation; `description` says what
    /// switching it on does, and `default` holds for whoever has not said otherwise.
    #[must_use]
    pub fn flag(mut self, name: &'static str, description: &'static str, default: bool) -> Self {
        self.flags.push(FlagDeclaration { name, domain: self.name, description, default });
        self
    }

    /// Keeps the credentials of users and the feature flags of organisations: whatever it tells
    /// makes every node ask the database again for what the organisation has.
    #[must_use]
    pub fn keeps_credentials(mut self) -> Self {
        self.keeps_credentials = true;
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> DomainName {
        self.name
    }

    /// What it is, in words; nothing if it does not say.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        self.words
    }

    /// What it can be asked, in the order of its declaration.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// What it tells.
    #[must_use]
    pub fn events(&self) -> &[EventDeclaration] {
        &self.events
    }

    /// Its pages in the console.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Its prompts for agents.
    #[must_use]
    pub fn prompts(&self) -> &[PromptDeclaration] {
        &self.prompts
    }

    /// The ids of its own processes, as supervision.toml may name them.
    pub fn child_ids(&self) -> impl Iterator<Item = &'static str> {
        self.children.iter().map(|(id, _)| *id)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.name)
    }
}
