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

    /// How long to wait after this attempt has failed, in whatever way; `None` for the queue's own
    /// growing patience.
    fn backoff(&self, _attempt: &Attempt) -> Option<Duration> {
        None
    }
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
    /// Words the job is found by.
    pub tags: Vec<String>,
    /// What the job's maker noted about it; an object.
    pub meta: Value,
    /// Whether the end of its job matters to others, who are told when it is swept.
    pub is_followed: bool,
}

impl Attempt {
    /// The how-many-th of `max_attempts` this is.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.number.saturating_sub(self.excused)
    }

    /// When this attempt will have taken too long.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        crate::ending::later(self.attempted_at, self.timeout)
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
    /// The work is done, and this is kept with the job as its result, unless it is longer than
    /// [`crate::RESULT_BYTES_MAX`].
    CompleteWith(Value),
    /// The work need not be done any more, for this reason.
    Cancel(String),
    /// The work cannot be done, by no attempt ever, for this reason: somebody has to look.
    Discard(String),
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
    /// Another attempt may succeed, but not before this time has passed.
    #[error("{error}")]
    RetryIn {
        /// What went wrong.
        error: String,
        /// How long to wait, instead of the queue's own growing patience.
        wait: Duration,
    },
    /// No attempt ever will, and somebody has to look.
    #[error("{0}")]
    Discard(String),
    /// No attempt ever will, and nobody need look: it was refused.
    #[error("{0}")]
    Cancel(String),
    /// Something it needs was away, the database for instance. Does not count as an attempt.
    #[error("{0}")]
    Unavailable(String),
    /// One of the others, with what is known of where it comes from.
    #[error("{failure}")]
    Traced {
        /// How it failed.
        failure: Box<Self>,
        /// Its chain of causes, or the place of a panic; innermost last, a line each.
        stack: Vec<String>,
    },
}

impl Failure {
    /// The same, with what is known of where it comes from, a line each.
    #[must_use]
    pub fn traced(self, stack: Vec<String>) -> Self {
        if stack.is_empty() {
            return self;
        }
        Self::Traced { failure: Box::new(self), stack }
    }

    /// The same, with the causes of the error it is made of.
    #[must_use]
    pub fn caused_by(self, error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        self.traced(causes.map(ToString::to_string).collect())
    }

    /// The failure alone, and its stack.
    pub(crate) fn untraced(self) -> (Self, Vec<String>) {
        match self {
            Self::Traced { failure, mut stack } => {
                let (failure, outer) = failure.untraced();
                stack.extend(outer);
                (failure, stack)
            }
            failure => (failure, Vec::new()),
        }
    }

    /// The same, with the performer's own patience, if it has one and the failure names none.
    pub(crate) fn with_backoff(self, performers: &Performers, attempt: &Attempt) -> Self {
        match self {
            Self::Retry(error) => {
                let performer = performers.get(&attempt.name);
                match performer.and_then(|performer| performer.backoff(attempt)) {
                    Some(wait) => Self::RetryIn { error, wait },
                    None => Self::Retry(error),
                }
            }
            Self::Traced { failure, stack } => {
                failure.with_backoff(performers, attempt).traced(stack)
            }
            failure => failure,
        }
    }
}
