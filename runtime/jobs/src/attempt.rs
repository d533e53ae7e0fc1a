//! One attempt at a job: what its performer is given, and what it may answer.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kernel::{JobId, Scope, Timestamp};
use serde_json::Value;

/// A boxed future, as the performers return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What performs the jobs of one name.
pub trait Perform: Send + Sync + 'static {
    /// Performs one attempt.
    ///
    /// A command job runs effect and [`crate::complete`] in one transaction, commits it if that
    /// said `true` and answers [`Performed::AlreadyCompleted`]. If it said `false` it rolls back
    /// and answers any failure, which is ignored, because the job is no longer its own.
    fn perform(&self, attempt: Attempt) -> BoxFuture<'static, Result<Performed, Failure>>;
}

/// The performers of a queue, by the name of the jobs they perform.
pub type Performers = Arc<HashMap<String, Arc<dyn Perform>>>;

/// One attempt at a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The job; also the idempotency key of what is done outside the database.
    pub job_id: JobId,
    /// Its queue.
    pub queue: String,
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Value,
    /// On whose behalf, and in which chain of causes.
    pub scope: Scope,
    /// The number of this attempt, which [`crate::complete`] is guarded by. Never used twice.
    pub number: u32,
    /// How many earlier attempts do not count.
    pub excused: u32,
    /// After so many attempts that count the job is discarded.
    pub max_attempts: u16,
    /// The attempt has failed if it takes longer.
    pub timeout: Duration,
    /// When the job became due.
    pub scheduled_at: Timestamp,
    /// When this attempt began.
    pub attempted_at: Timestamp,
}

impl Attempt {
    /// The how-many-th of `max_attempts` this is.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.number.saturating_sub(self.excused)
    }

    /// Whether the job is discarded if this attempt fails.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.used() >= self.max_attempts as u32
    }
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done.
    Complete,
    /// The work need not or cannot be done, for this reason.
    Cancel(String),
    /// Not yet: try again after this time. Does not count as an attempt.
    Snooze(Duration),
}

/// How an attempt ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Performed {
    /// With an outcome that is still to be recorded.
    Outcome(Outcome),
    /// With its completion already committed, together with its effect.
    AlreadyCompleted,
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another attempt may succeed.
    #[error("{0}")]
    Retry(String),
    /// No attempt ever will.
    #[error("{0}")]
    Cancel(String),
    /// Something it needs was away, the database for instance. Does not count as an attempt.
    #[error("{0}")]
    Unavailable(String),
}
