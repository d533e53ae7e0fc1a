//! One attempt, from its arguments to the record of its end.
//!
//! Resolve, perform within the time allowed, catch a panic, decide, record: each step is small, and
//! the life of an attempt reads top to bottom. The same steps serve the producer's attempts, each a
//! temporary process of its own, and [`crate::drain`].

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use kernel::Period;
use otp::{ChildSpec, ExitReason, Shutdown};

use crate::counters::Count;
use crate::ending::{self, Ending};
use crate::slots::{Slot, Slots, child_id};
use crate::{Attempt, Failure, Performed, Performers, Queues, backoff, database};

/// A temporary child that performs the attempt of this slot: whatever ends it, it is not restarted,
/// because the next attempt is claimed like the first.
///
/// It is not told to stop but killed, after the producer has waited for it.
pub(crate) fn child(queues: &Queues, performers: &Performers, mut slot: Slot) -> ChildSpec {
    let id = child_id(slot.key());
    let label = slot.attempt().name.clone();
    let (queues, performers) = (queues.clone(), performers.clone());
    let work = |_| async move { execute(&queues, &performers, &mut slot).await };
    ChildSpec::task(id, work).shutdown(Shutdown::BrutalKill).label(&label)
}

/// Performs an attempt and records its end. Dropped half-way, it leaves the slot lost.
pub(crate) async fn execute(
    queues: &Queues,
    performers: &Performers,
    slot: &mut Slot,
) -> Result<(), ExitReason> {
    slot.begin();
    let attempt = slot.attempt();
    let end = perform(performers, attempt).await;
    let exit = end.exit();
    let answer = end.answer(attempt.timeout);
    settle(queues, slot.slots(), attempt, answer).await.map_err(|error| {
        ExitReason::failed(format!("could not record the end of an attempt: {error}"))
    })?;
    slot.settle();
    exit
}

/// How performing an attempt ended.
enum End {
    Answered(Result<Performed, Failure>),
    Panicked(String),
    TimedOut,
}

impl End {
    /// What it means for the job.
    fn answer(self, timeout: Duration) -> Result<Performed, Failure> {
        match self {
            Self::Answered(answer) => answer,
            Self::Panicked(message) => Err(Failure::Retry(format!("panicked: {message}"))),
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
            Self::Panicked(message) => Err(ExitReason::Failed(format!("panicked: {message}"))),
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
        Ok(Err(panic)) => End::Panicked(panic_message(&*panic)),
        Err(_) => End::TimedOut,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned())
}

/// Records what an answer means, for as long as that takes: the job is held meanwhile.
async fn settle(
    queues: &Queues,
    slots: &Slots,
    attempt: &Attempt,
    answer: Result<Performed, Failure>,
) -> Result<(), sqlx::Error> {
    let Some(ending) = ending::decide(attempt, answer, queues.now()) else {
        slots.counters.add(Count::Completed, 1);
        return Ok(());
    };
    for rounds in 0_u32.. {
        match record(queues, slots, attempt, &ending).await {
            Err(error) if database::is_outage(&error) => {
                tracing::warn!(job_id = %attempt.job_id, %error, "cannot record an attempt yet");
                tokio::time::sleep(backoff::outage(rounds, attempt.job_id)).await;
            }
            done => return done,
        }
    }
    Ok(())
}

/// Records an ending once, in a transaction of its own.
pub(crate) async fn record(
    queues: &Queues,
    slots: &Slots,
    attempt: &Attempt,
    ending: &Ending,
) -> Result<(), sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let owned = ending::record(&mut transaction, &[(attempt, ending)], queues.now()).await?;
    transaction.commit().await?;
    if owned == [true] {
        tell(slots, attempt, ending);
    } else {
        slots.counters.add(Count::Superseded, 1);
    }
    Ok(())
}

fn tell(slots: &Slots, attempt: &Attempt, ending: &Ending) {
    let counters = &slots.counters;
    let Attempt { job_id, name, number, .. } = attempt;
    match ending {
        Ending::Completed => counters.add(Count::Completed, 1),
        Ending::Cancelled { reason } => {
            counters.add(Count::Cancelled, 1);
            tracing::info!(%job_id, name, number, reason, "job cancelled itself");
        }
        Ending::Retryable { error, until } => {
            counters.add(Count::Failed, 1);
            counters.add(Count::Retried, 1);
            tracing::warn!(%job_id, name, number, error, %until, "attempt failed, to be retried");
        }
        Ending::Discarded { error } => {
            counters.add(Count::Failed, 1);
            counters.add(Count::Discarded, 1);
            tracing::error!(%job_id, name, number, error, "job discarded after its last attempt");
        }
        Ending::Snoozed { .. } => counters.add(Count::Snoozed, 1),
        Ending::Excused { error, until } => {
            counters.add(Count::Excused, 1);
            tracing::warn!(%job_id, name, number, error, %until, "attempt excused, to be retried");
        }
        Ending::Released => counters.add(Count::Excused, 1),
    }
}
