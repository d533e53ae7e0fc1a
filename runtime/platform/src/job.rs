//! Jobs: work a domain does later, by itself, as often as it takes.
//!
//! Every command is a job too: its effect and the completion of the job commit together, so it
//! happens exactly once. A job type of its own exists only for work that leaves the database, such
//! as sending a message; that is at least once, with the job's id as the idempotency key.

mod arguments;
mod performer;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::{DomainName, JobId, Scope, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use jobs::{Enqueued, NewJob, Outcome};

pub(crate) use arguments::Arguments;
pub use arguments::UnfitArguments;
pub(crate) use performer::Performer;
use performer::{PerformFn, perform_fn};

use crate::dispatch;
use crate::operation::Command;
use crate::refusal::Result;
use crate::system::System;

/// Work for later. The value is stored as JSON, so a field added later needs a default.
pub trait Job: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The persistent name; renaming the Rust type must not rename data.
    const NAME: &'static str;
    /// Attempts before the job is discarded.
    const MAX_ATTEMPTS: u16 = 20;
    /// How long one attempt may take.
    const TIMEOUT: Duration = Duration::from_mins(1);
    /// From 0 (first) to 9 (last).
    const PRIORITY: i16 = 0;

    /// How long to wait after the `used`-th attempt that counts has failed; unless overridden, 15 s
    /// and 2^used s, up to a day, give or take a tenth.
    #[must_use]
    fn backoff(_used: u32) -> Option<Duration> {
        None
    }

    /// Does it. A refusal cancels the job, any other error retries it, with growing patience.
    fn perform(self, attempt: &Attempt) -> impl Future<Output = Result<Outcome>> + Send;
}

impl<C: Command> Job for C {
    const NAME: &'static str = C::SPEC.name();

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        attempt.complete_with(self).await?;
        Ok(Outcome::Complete)
    }
}

/// One attempt at a job: who it is for and how it ends.
pub struct Attempt {
    system: System,
    domain: DomainName,
    /// Without the arguments, which have become the job.
    given: jobs::Attempt,
    is_completed: AtomicBool,
}

impl Attempt {
    /// Who the work is for, and what caused it.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.given.scope
    }

    /// The job's identity, which is the idempotency key for work outside the database.
    #[must_use]
    pub fn job_id(&self) -> JobId {
        self.given.job_id
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.given.number
    }

    /// After so many attempts that count the job is discarded.
    #[must_use]
    pub fn max_attempts(&self) -> u16 {
        self.given.max_attempts
    }

    /// Whether the job is discarded if this attempt fails.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.given.is_last()
    }

    /// When this attempt will have taken too long.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.given.deadline()
    }

    /// Words the job is found by.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.given.tags
    }

    /// What whoever enqueued the job noted about it; an object.
    #[must_use]
    pub fn meta(&self) -> &Value {
        &self.given.meta
    }

    /// The running system, to find a process of the own domain.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Runs a command of the own domain in a transaction of its own.
    pub async fn run<C: Command>(&self, command: C) -> Result<C::Output> {
        dispatch::run_command(&self.system, self.domain, self.scope(), command, None).await
    }

    /// Runs a command of the own domain and completes this job, both or neither. What the command
    /// answers is kept with the job, if it is small.
    pub async fn complete_with<C: Command>(&self, command: C) -> Result<C::Output> {
        let completes = Some((self.job_id(), self.number()));
        let output =
            dispatch::run_command(&self.system, self.domain, self.scope(), command, completes)
                .await?;
        self.is_completed.store(true, Ordering::Release);
        Ok(output)
    }
}

/// What is stored of a job.
pub(crate) struct JobDraft {
    name: &'static str,
    args: Value,
    max_attempts: u16,
    timeout: Duration,
    priority: i16,
}

impl JobDraft {
    /// The draft of a job whose arguments are as its kind has them.
    ///
    /// # Errors
    /// A failure that names the field and the rule.
    pub(crate) fn of<J: Job>(job: &J, arguments: &Arguments) -> Result<Self> {
        let args = serde_json::to_value(job)?;
        arguments.check(&args).map_err(crate::refusal::Error::failure)?;
        Ok(Self {
            name: J::NAME,
            args,
            max_attempts: J::MAX_ATTEMPTS,
            timeout: J::TIMEOUT,
            priority: J::PRIORITY,
        })
    }

    pub(crate) fn into_new(
        self,
        domain: DomainName,
        scope: Scope,
        unique_key: Option<String>,
    ) -> NewJob {
        NewJob {
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            priority: self.priority,
            unique_key,
            ..NewJob::new(domain.as_str(), self.name, self.args, scope)
        }
    }
}

/// A kind of job a domain performs.
#[derive(Clone)]
pub(crate) struct JobDeclaration {
    pub(crate) perform: PerformFn,
    pub(crate) backoff: fn(u32) -> Option<Duration>,
    pub(crate) arguments: Arc<Arguments>,
    pub(crate) type_id: std::any::TypeId,
}

impl JobDeclaration {
    pub(crate) fn of<J: Job>(arguments: Arguments) -> Self {
        const {
            assert!(
                0 <= J::PRIORITY && J::PRIORITY <= jobs::PRIORITY_MAX,
                "the priorities of jobs go from 0 (first) to 9 (last)"
            );
            assert!(J::MAX_ATTEMPTS > 0, "a job is attempted at least once");
        };
        Self {
            perform: perform_fn::<J>(),
            backoff: J::backoff,
            arguments: Arc::new(arguments),
            type_id: std::any::TypeId::of::<J>(),
        }
    }
}
