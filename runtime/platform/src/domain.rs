//! A domain is a value: plain data that lists what it can be asked, tells, follows and runs.
//!
//! Nothing happens when it is built. The platform reads it and derives routes, tools, queues,
//! cursors, the supervision subtree and documentation.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;

use kernel::{DomainName, Event, EventType, Recorded};
use otp::ChildSpec;
use serde_json::Value;

use crate::job::{Job, PerformFn, perform_fn};
use crate::operation::{Action, Command, Operation, Query};
use crate::page::Page;
use crate::projection::{Projecting, Projection, ProjectionDeclaration};
use crate::reaction::Subscription;
use crate::schema;
use crate::system::System;

/// Makes a process of a domain, or a supervisor of processes, for a running system.
pub(crate) type MakeChild = fn(&System) -> ChildSpec;

/// A business domain, declared.
#[derive(Clone)]
pub struct Domain {
    pub(crate) name: DomainName,
    pub(crate) operations: Vec<Operation>,
    pub(crate) events: Vec<EventDeclaration>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) projections: Vec<ProjectionDeclaration>,
    pub(crate) jobs: BTreeMap<&'static str, JobDeclaration>,
    pub(crate) children: Vec<(&'static str, MakeChild)>,
    pub(crate) pages: Vec<Page>,
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
}

/// A job a domain performs.
#[derive(Clone, Copy)]
pub(crate) struct JobDeclaration {
    pub(crate) perform: PerformFn,
    type_id: TypeId,
}

impl Domain {
    /// A domain that does nothing yet.
    #[must_use]
    pub fn new(name: DomainName) -> Self {
        Self {
            name,
            operations: Vec::new(),
            events: Vec::new(),
            subscriptions: Vec::new(),
            projections: Vec::new(),
            jobs: BTreeMap::new(),
            children: Vec::new(),
            pages: Vec::new(),
            violations: Vec::new(),
        }
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
        self.operations.push(Operation::command::<C>(self.name));
        self.job::<C>()
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
        let schema = schema::of::<E>();
        let (_, description) = schema::words(&schema);
        self.events.push(EventDeclaration { event_type: E::TYPE, description, schema });
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
        self.subscriptions.push(Subscription::new(name, react));
        self.job::<J>()
    }

    /// Performs jobs of this type.
    #[must_use]
    pub fn job<J: Job>(mut self) -> Self {
        let declared = JobDeclaration { perform: perform_fn::<J>(), type_id: TypeId::of::<J>() };
        if let Some(other) = self.jobs.insert(J::NAME, declared)
            && other.type_id != declared.type_id
        {
            self.violations.push(format!(
                "{}: two types of job are named `{}`",
                self.name,
                J::NAME
            ));
        }
        self
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

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> DomainName {
        self.name
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
