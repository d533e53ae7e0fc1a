//! Operations: what a domain can be asked to do, each a type whose fields are the parameters.
//!
//! REST, OpenAPI, the socket, the command line and the console are folds over the same list of
//! [`Operation`]s. The struct a caller sends is the command; its doc comment is the help text and
//! its serde form is the wire form and the arguments of a job.

mod deprecation;
mod spec;

use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kernel::DomainName;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::form::{self, Quoting};
use crate::refusal::{Error, FieldError, Result};
use crate::schema;
use crate::system::System;
use crate::tx::{Snapshot, Tx};
pub use deprecation::Deprecation;
pub use spec::{Access, Category, Spec, Verb};

/// What can be the input of an operation. Implemented for every type that qualifies.
pub trait Input: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static> Input for T {}

/// What can be the output of an operation. Implemented for every type that qualifies.
pub trait Output: Serialize + JsonSchema + Send + 'static {}
impl<T: Serialize + JsonSchema + Send + 'static> Output for T {}

/// Changes a domain, in one transaction with the events that tell of it.
pub trait Command: Input {
    /// Name, path and access.
    const SPEC: Spec;
    /// What the caller gets back.
    type Output: Output;
    /// Does it. The dispatcher commits when this answers `Ok`, and rolls back on anything else.
    fn handle(self, tx: &mut Tx<'_>) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// Reads a domain, in a read-only snapshot.
pub trait Query: Input {
    /// Name, path and access.
    const SPEC: Spec;
    /// What the caller gets back.
    type Output: Output;
    /// Answers it.
    fn answer(self, db: &mut Snapshot<'_>) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// Touches processes or the outside world, outside any transaction. Unless it only reads, it is
/// recorded as an event before it acts and again with its outcome.
pub trait Action: Input {
    /// Name, path and access.
    const SPEC: Spec;
    /// What the caller gets back.
    type Output: Output;
    /// Does it.
    fn act(self, system: &System) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// Which of the three relations to the database an operation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Writes in a transaction.
    Command,
    /// Reads in a snapshot.
    Query,
    /// Neither.
    Action,
}

/// A command, query or action with its type erased: what the surfaces fold over.
#[derive(Clone)]
pub struct Operation {
    /// The domain it belongs to.
    pub domain: DomainName,
    /// Name, path and access.
    pub spec: Spec,
    /// Its relation to the database.
    pub kind: OperationKind,
    /// The first paragraph of its doc comment.
    pub summary: String,
    /// The whole of its doc comment.
    pub description: String,
    /// JSON Schema of the input, an object.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    pub(crate) type_id: TypeId,
    pub(crate) runner: Runner,
    validator: Arc<jsonschema::Validator>,
}

type Answer<'a> = BoxFuture<'a, Result<Value>>;

/// Runs an erased action.
pub(crate) type RunAction = for<'a> fn(Value, &'a System) -> Answer<'a>;

/// How an erased operation is run.
#[derive(Clone, Copy)]
pub(crate) enum Runner {
    Command(for<'a, 'b> fn(Value, &'a mut Tx<'b>) -> Answer<'a>),
    Query(for<'a, 'b> fn(Value, &'a mut Snapshot<'b>) -> Answer<'a>),
    Action(RunAction),
}

impl Operation {
    pub(crate) fn command<C: Command>(domain: DomainName) -> Self {
        let run = Runner::Command(|input, tx| {
            Box::pin(async move { Ok(serde_json::to_value(parse::<C>(input)?.handle(tx).await?)?) })
        });
        Self::new::<C, C::Output>(domain, C::SPEC, OperationKind::Command, run)
    }

    pub(crate) fn query<Q: Query>(domain: DomainName) -> Self {
        let run = Runner::Query(|input, db| {
            Box::pin(async move { Ok(serde_json::to_value(parse::<Q>(input)?.answer(db).await?)?) })
        });
        Self::new::<Q, Q::Output>(domain, Q::SPEC, OperationKind::Query, run)
    }

    pub(crate) fn action<A: Action>(domain: DomainName) -> Self {
        let run = Runner::Action(|input, system| {
            Box::pin(
                async move { Ok(serde_json::to_value(parse::<A>(input)?.act(system).await?)?) },
            )
        });
        Self::new::<A, A::Output>(domain, A::SPEC, OperationKind::Action, run)
    }

    fn new<I: Input, O: Output>(
        domain: DomainName,
        spec: Spec,
        kind: OperationKind,
        runner: Runner,
    ) -> Self {
        let input_schema = schema::of_input::<I>();
        let (summary, description) = schema::words(&input_schema);
        let validator = form::validator(&input_schema);
        Self {
            domain,
            spec,
            kind,
            summary,
            description,
            output_schema: schema::of::<O>(),
            input_schema,
            type_id: TypeId::of::<I>(),
            runner,
            validator: Arc::new(validator),
        }
    }

    /// What compares inputs with the schema.
    pub(crate) const fn validator(&self) -> &Arc<jsonschema::Validator> {
        &self.validator
    }

    /// Whether its answer is remembered under an idempotency key, so that the same request sent
    /// again is done once: a command, unless what it answers is told once and kept nowhere.
    #[must_use]
    pub const fn remembers_answers(&self) -> bool {
        matches!(self.kind, OperationKind::Command) && !self.spec.is_confidential()
    }

    /// Compares `input` with the schema and names every field that does not fit.
    ///
    /// # Errors
    /// [`Error::Refused`] of kind invalid, with a JSON Pointer for each offending field.
    pub fn check(&self, input: &Value) -> Result<()> {
        let is_told_secrets = self.spec.is_confidential();
        let quoting = if is_told_secrets { Quoting::Nothing } else { Quoting::Short };
        let fields = form::complaints_quoting(quoting, &self.validator, &self.input_schema, input);
        if fields.is_empty() { Ok(()) } else { Err(Error::malformed(fields)) }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({}/{})", self.domain, self.spec.name())
    }
}

/// The typed input.
pub(crate) fn parse<I: Input>(input: Value) -> Result<I> {
    parsed(input)
}

/// The typed form of a value. The schema was checked before, so what fails here is a rule the
/// schema cannot say, such as an unknown field.
pub(crate) fn parsed<T: DeserializeOwned>(input: Value) -> Result<T> {
    serde_json::from_value(input).map_err(|error| {
        Error::malformed(vec![FieldError { pointer: String::new(), message: error.to_string() }])
    })
}
