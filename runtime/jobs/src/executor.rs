//! One attempt, from its arguments to what its end means.
//!
//! Resolve, perform within the time allowed, catch a panic, decide: each step is small, and the
//! life of an attempt reads top to bottom. The same steps serve the producer's attempts, each a
//! temporary process of its own, and [`crate::drain`]. The recorder writes down what was decided.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use kernel::Period;
use otp::{ChildSpec, ExitReason, Shutdown};
use tracing::{Instrument as _, Span};

use crate::counters::Count;
use crate::ending::{self, Ending};
use crate::observe::News;
use crate::slots::{Slot, child_id};
use crate::{Attempt, Failure, Performed, Performers, Queues, panics};

/// A temporary child that performs the attempt of this slot: whatever ends it, it is not restarted,
/// because the next attempt is claimed like the first.
///
/// It is not told to stop but killed, after the producer has waited for it.
pub(crate) fn child(queues: &Queues, performers: &Performers, mut slot: Slot) -> ChildSpec {
    let id = child_id(slot.key());
    let label = slot.attempt().name.clone();
    let (queues, performers) = (queues.clone(), performers.clone());
    let work = |_| async move {
        let (ending, exit) = execute(&queues, &performers, &mut slot).await;
        match ending {
            Some(ending) => slot.conclude(ending, queues.now()),
            None => slot.settle(),
        }
        exit
    };
    ChildSpec::task(id, work).shutdown(Shutdown::BrutalKill).label(&label)
}

/// Performs an attempt, and answers what is to be recorded of its end, if anything is, and how its
/// process ends.
pub(crate) async fn execute(
    queues: &Queues,
    performers: &Performers,
    slot: &mut Slot,
) -> (Option<Ending>, Result<(), ExitReason>) {
    slot.begin();
    let attempt = slot.attempt();
    let meters = &slot.slots().meters;
    let waited = (queues.now() - attempt.scheduled_at).to_std().unwrap_or_default();
    meters.wait.add(waited);
    meters.observers.tell(attempt, || News::Started { waited });
    let began = Instant::now();
    let end = perform(performers, attempt).instrument(span(attempt)).await;
    meters.run.add(began.elapsed());
    let exit = end.exit();
    let answer = end.answer(attempt.timeout);
    let answer = answer.map_err(|failure| failure.with_backoff(performers, attempt));
    let ending = ending::decide(attempt, answer, queues.now());
    if ending.is_none() {
        slot.slots().counters.add(Count::Completed, 1);
        meters.observers.tell(attempt, || News::Completed);
        if attempt.is_followed {
            queues.nudge_sweeper();
        }
    }
    (ending, exit)
}

/// Everything an attempt logs is found by its job, and by the request that caused it.
fn span(attempt: &Attempt) -> Span {
    tracing::info_span!(
        "attempt",
        queue = attempt.queue,
        job = attempt.name,
        job_id = %attempt.job_id,
        number = attempt.number,
        org_id = %attempt.scope.org_id,
        correlation_id = %attempt.scope.correlation_id,
        traceparent = attempt.scope.traceparent.map(tracing::field::display),
    )
}

/// How performing an attempt ended.
enum End {
    Answered(Result<Performed, Failure>),
    Panicked { message: String, stack: Vec<String> },
    TimedOut,
}

impl End {
    /// What it means for the job.
    fn answer(self, timeout: Duration) -> Result<Performed, Failure> {
        match self {
            Self::Answered(answer) => answer,
            Self::Panicked { message, stack } => {
                Err(Failure::Retry(format!("panicked: {message}")).traced(stack))
            }
            Self::TimedOut => {
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                let period = Period::milliseconds(timeout_ms);
                Err(Failure::Retry(format!("timed out after {period}")))
            }
        }
    }

    /// What it means for the process: a panic shows in the tree, a failure of the job does not.
    fn exit(&self) -> Result<(), ExitReason> {
        match self {
            Self::Panicked { message, .. } => {
                Err(ExitReason::Failed(format!("panicked: {message}")))
            }
            Self::Answered(_) | Self::TimedOut => Ok(()),
        }
    }
}

async fn perform(performers: &Performers, attempt: &Attempt) -> End {
    let Some(performer) = performers.get(&attempt.name) else {
        // Another node, or a later deploy, may know the name.
        let error = format!("queue `{}` has no performer for `{}`", attempt.queue, attempt.name);
        return End::Answered(Err(Failure::Retry(error)));
    };
    let performing = async { performer.perform(attempt.clone()).await };
    let caught = AssertUnwindSafe(performing).catch_unwind();
    match tokio::time::timeout(attempt.timeout, caught).await {
        Ok(Ok(answer)) => End::Answered(answer),
        Ok(Err(panic)) => {
            End::Panicked { message: panics::message(&*panic), stack: panics::stack_of(&*panic) }
        }
        Err(_) => End::TimedOut,
    }
}
