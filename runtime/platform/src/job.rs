//! Jobs: work a domain does later, by itself, as often as it takes.
//!
//! Every command is a job too: its effect and the completion of the job commit together, so it
//! happens exactly once. A job type of its own exists only for work that leaves the database, such
//! as sending a message; that is at least once, with the job's id as the idempotency key.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kernel::{DomainName, JobId, Scope};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use jobs::Outcome;

use crate::dispatch;
use crate::operation::Command;
use crate::refusal::{Error, Kind, Result};
use crate::system::System;

/// Work for later. The value is stored as JSON, so a field added later needs a default.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The persistent name; renaming the Rust type must not rename data.
    const NAME: &'static str;
    /// Attempts before the job is discarded.
    const MAX_ATTEMPTS: u16 = 20;
    /// How long one attempt may take.
    const TIMEOUT: Duration = Duration::from_mins(1);
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
    scope: Scope,
    job_id: JobId,
    number: u32,
    is_completed: AtomicBool,
}

impl Attempt {
    /// Who the work is for, and what caused it.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The job's identity, which is the idempotency key for work outside the database.
    #[must_use]
    pub fn job_id(&self) -> JobId {
        self.job_id
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The running system, to find a process of the own domain.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Runs a command of the own domain in a transaction of its own.
    pub async fn run<C: Command>(&self, command: C) -> Result<C::Output> {
        dispatch::run_command(&self.system, self.domain, &self.scope, command, None).await
    }

    /// Runs a command of the own domain and completes this job, both or neither.
    pub async fn complete_with<C: Command>(&self, command: C) -> Result<C::Output> {
        let completes = Some((self.job_id, self.number));
        let output =
            dispatch::run_command(&self.system, self.domain, &self.scope, command, completes)
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
}

impl JobDraft {
    pub(crate) fn of<J: Job>(job: &J) -> Result<Self> {
        let args = serde_json::to_value(job)?;
        Ok(Self { name: J::NAME, args, max_attempts: J::MAX_ATTEMPTS, timeout: J::TIMEOUT })
    }

    pub(crate) fn into_new(
        self,
        domain: DomainName,
        scope: Scope,
        unique_key: Option<String>,
    ) -> jobs::NewJob {
        jobs::NewJob {
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            unique_key,
            ..jobs::NewJob::new(domain.as_str(), self.name, self.args, scope)
        }
    }
}

/// How a job of one name is run: the type-erased form of [`Job::perform`].
pub(crate) type PerformFn = fn(Value, Arc<Attempt>) -> BoxFuture<'static, Result<Outcome>>;

pub(crate) fn perform_fn<J: Job>() -> PerformFn {
    |args, attempt| {
        async move {
            let job: J = serde_json::from_value(args)?;
            job.perform(&attempt).await
        }
        .boxed()
    }
}

/// A domain's job of one name, as the queue calls it.
pub(crate) struct Performer {
    pub(crate) system: System,
    pub(crate) domain: DomainName,
    pub(crate) perform: PerformFn,
}

impl jobs::Perform for Performer {
    fn perform(
        &self,
        attempt: jobs::Attempt,
    ) -> BoxFuture<'static, std::result::Result<jobs::Performed, jobs::Failure>> {
        let perform = self.perform;
        let args = attempt.args;
        let attempt = Arc::new(Attempt {
            system: self.system.clone(),
            domain: self.domain,
            scope: attempt.scope,
            job_id: attempt.job_id,
            number: attempt.number,
            is_completed: AtomicBool::new(false),
        });
        async move {
            let result = perform(args, Arc::clone(&attempt)).await;
            match result {
                _ if attempt.is_completed.load(Ordering::Acquire) => {
                    Ok(jobs::Performed::AlreadyCompleted)
                }
                Ok(outcome) => Ok(jobs::Performed::Outcome(outcome)),
                Err(error) => failure(&error),
            }
        }
        .boxed()
    }
}

/// A refusal will be refused again, so it cancels; an outage is nobody's attempt.
fn failure(error: &Error) -> std::result::Result<jobs::Performed, jobs::Failure> {
    match error.kind() {
        Kind::Conflict if error.code() == "superseded" => Ok(jobs::Performed::AlreadyCompleted),
        Kind::Unavailable => Err(jobs::Failure::Unavailable(error.to_string())),
        Kind::Failure => Err(jobs::Failure::Retry(error.to_string())),
        _ => Err(jobs::Failure::Cancel(error.to_string())),
    }
}
