//! The performer: a domain's job of one name, as the queue calls it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kernel::DomainName;
use serde_json::Value;

use super::{Arguments, Attempt, Job, JobDeclaration, Outcome};
use crate::dispatch::Panicked;
use crate::refusal::{Error, Kind, Result};
use crate::system::System;

/// How a job of one name is run: the type-erased form of [`Job::perform`].
pub(crate) type PerformFn =
    fn(Value, Arc<Arguments>, Arc<Attempt>) -> BoxFuture<'static, Result<Outcome>>;

pub(crate) fn perform_fn<J: Job>() -> PerformFn {
    |args, arguments, attempt| {
        async move { read::<J>(&args, &arguments)?.perform(&attempt).await }.boxed()
    }
}

fn read<J: Job>(args: &Value, arguments: &Arguments) -> Result<J> {
    J::deserialize(args).map_err(|error| Error::failure(arguments.unreadable(args, &error)))
}

/// A domain's job of one name, as the queue calls it.
pub(crate) struct Performer {
    pub(crate) system: System,
    pub(crate) domain: DomainName,
    pub(crate) declared: JobDeclaration,
}

impl jobs::Perform for Performer {
    fn perform(
        &self,
        mut attempt: jobs::Attempt,
    ) -> BoxFuture<'static, std::result::Result<jobs::Performed, jobs::Failure>> {
        let args = attempt.args.take();
        let attempt = Arc::new(Attempt {
            system: self.system.clone(),
            domain: self.domain,
            given: attempt,
            is_completed: AtomicBool::new(false),
        });
        let arguments = Arc::clone(&self.declared.arguments);
        ended((self.declared.perform)(args, arguments, Arc::clone(&attempt)), attempt).boxed()
    }

    fn backoff(&self, attempt: &jobs::Attempt) -> Option<Duration> {
        (self.declared.backoff)(attempt.used())
    }
}

async fn ended(
    performing: impl Future<Output = Result<Outcome>>,
    attempt: Arc<Attempt>,
) -> std::result::Result<jobs::Performed, jobs::Failure> {
    match performing.await {
        _ if attempt.is_completed.load(Ordering::Acquire) => Ok(jobs::Performed::AlreadyCompleted),
        Ok(outcome) => Ok(jobs::Performed::Outcome(outcome)),
        Err(error) => failure(&error),
    }
}

/// A refusal will be refused again, so it cancels; an outage is nobody's attempt.
///
/// Arguments that this release cannot read fail like anything else: while a release is rolled out
/// another node may read them, and one that mends it may come before the attempts are used up.
fn failure(error: &Error) -> std::result::Result<jobs::Performed, jobs::Failure> {
    let failed = match error.kind() {
        Kind::Conflict if error.code() == "superseded" => {
            return Ok(jobs::Performed::AlreadyCompleted);
        }
        Kind::Unavailable => jobs::Failure::Unavailable(error.to_string()),
        Kind::Failure => jobs::Failure::Retry(error.to_string()),
        _ => jobs::Failure::Cancel(error.to_string()),
    };
    let panicked = match error {
        Error::Failure(cause) => cause.downcast_ref::<Panicked>(),
        _ => None,
    };
    Err(match panicked {
        Some(panicked) => failed.traced(panicked.stack.clone()),
        None => failed.caused_by(error),
    })
}
