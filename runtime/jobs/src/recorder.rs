//! The recorder: one process per queue that writes down how attempts ended, many at a time.
//!
//! An attempt leaves its end in the book of its queue and is gone; its place is free. Whatever has
//! ended while one transaction was on its way is recorded by the next one, so batches are as large
//! as the load makes them, and a lonely end is recorded at once. A batch that meets an outage is
//! tried again until it is recorded: its jobs are held meanwhile. One end that Postgres refuses to
//! write down spoils no other.

use std::sync::Arc;
use std::time::Duration;

use otp::{ChildSpec, ExitReason, Process, RunContext, Shutdown};
use sqlx::{Postgres, Transaction};

use crate::counters::Count;
use crate::ending::{self, Ended, Ending};
use crate::observe::News;
use crate::slots::Slots;
use crate::{Attempt, Failure, Queues, backoff, database};

/// So many ends are recorded in one transaction.
const BATCH: usize = 500;
/// What has ended is looked for so often without having been told of any.
const SCAN: Duration = Duration::from_secs(5);
/// A stopping recorder has so long to write down what has ended.
pub(crate) const RECORD_WITHIN: Duration = Duration::from_secs(2);

/// The child specification of the recorder of these slots.
pub(crate) fn child(queues: &Queues, slots: &Arc<Slots>) -> ChildSpec {
    let (queues, slots) = (queues.clone(), slots.clone());
    let make = move || Recorder { queues: queues.clone(), slots: slots.clone() };
    ChildSpec::process("recorder", make).shutdown(Shutdown::Timeout(RECORD_WITHIN))
}

/// The process. What is still to be recorded outlives it in the slots.
struct Recorder {
    queues: Queues,
    slots: Arc<Slots>,
}

impl Process for Recorder {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut faults = 0;
        while !context.is_stopping() {
            match self.record_ended().await {
                Ok(()) => {
                    faults = 0;
                    tokio::select! {
                        () = context.stopping() => {}
                        () = self.slots.ends.nudged() => {}
                        () = tokio::time::sleep(SCAN) => {}
                    }
                }
                Err(error) if database::is_outage(&error) => {
                    tracing::warn!(queue = self.slots.queue, %error, "cannot record attempts yet");
                    let pause = backoff::outage(faults, &self.slots.queue);
                    faults += 1;
                    tokio::select! {
                        () = context.stopping() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                Err(error) => {
                    let reason = format!("could not record the end of an attempt: {error}");
                    return Err(ExitReason::Failed(reason));
                }
            }
        }
        self.finish().await;
        Ok(())
    }
}

impl Recorder {
    /// Records everything that has ended.
    async fn record_ended(&self) -> Result<(), sqlx::Error> {
        while self.slots.has_ended() {
            let transaction = database::begin_by_index(self.queues.pool()).await?;
            // What ended while the transaction was opened comes along.
            let batch = self.slots.ended(BATCH, self.queues.now());
            match write(transaction, &self.queues, &self.slots, &batch).await {
                Ok(()) => self.slots.forget_ended(batch.len()),
                Err(error) if is_refused(&error) => {
                    for ended in batch {
                        record(&self.queues, &self.slots, ended).await?;
                        self.slots.forget_ended(1);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stops: nothing runs any more, and what has ended is recorded, if that is possible now.
    async fn finish(&self) {
        match tokio::time::timeout(RECORD_WITHIN * 3 / 4, self.record_ended()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(queue = self.slots.queue, %error, "jobs are left to the lifeline");
            }
            Err(_) => tracing::warn!(queue = self.slots.queue, "jobs are left to the lifeline"),
        }
    }
}

/// Records one end. If Postgres refuses to write it down, that is what the attempt failed of.
pub(crate) async fn record(
    queues: &Queues,
    slots: &Slots,
    ended: Arc<Ended>,
) -> Result<(), sqlx::Error> {
    let transaction = database::begin_by_index(queues.pool()).await?;
    let refusal = match write(transaction, queues, slots, std::slice::from_ref(&ended)).await {
        Err(error) if is_refused(&error) => error,
        done => return done,
    };
    let failure = Failure::Retry(format!("its end could not be recorded: {refusal}"));
    let Some(ending) = ending::decide(&ended.attempt, Err(failure), ended.at) else {
        return Ok(());
    };
    let failed = Arc::new(Ended { attempt: ended.attempt.clone(), ending, at: ended.at });
    let transaction = database::begin_by_index(queues.pool()).await?;
    match write(transaction, queues, slots, &[failed]).await {
        Err(error) if is_refused(&error) => {
            let job_id = ended.attempt.job_id;
            tracing::error!(%job_id, %error, "the end of an attempt is left to the lifeline");
            Ok(())
        }
        done => done,
    }
}

/// Whether it is what was to be written that Postgres refused, and not everything.
fn is_refused(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // Data exceptions, violated constraints, and values larger than a page or an index takes.
    let is_of_the_row = |code: &str| ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    code.is_some_and(|code| is_of_the_row(&code)) || matches!(error, sqlx::Error::Encode(_))
}

/// Records these ends in the transaction, all or none, and tells of them.
async fn write(
    mut transaction: Transaction<'static, Postgres>,
    queues: &Queues,
    slots: &Slots,
    ended: &[Arc<Ended>],
) -> Result<(), sqlx::Error> {
    let owned = ending::record(&mut transaction, ended).await?;
    transaction.commit().await?;
    if ended.iter().any(|ended| ended.attempt.is_followed && ended.ending.is_final()) {
        queues.nudge_sweeper();
    }
    for (ended, is_owner) in ended.iter().zip(owned) {
        if is_owner {
            tell(slots, &ended.attempt, &ended.ending);
        } else {
            slots.counters.add(Count::Superseded, 1);
            slots.meters.observers.tell(&ended.attempt, || News::Superseded);
        }
    }
    if slots.control.is_limited() {
        // A place over all nodes is free from here on only.
        slots.nudge.nudge();
    }
    Ok(())
}

fn tell(slots: &Slots, attempt: &Attempt, ending: &Ending) {
    let counters = &slots.counters;
    slots.meters.observers.tell(attempt, || ending.news());
    let Attempt { job_id, name, number, .. } = attempt;
    match ending {
        Ending::Completed | Ending::CompletedWith { .. } => counters.add(Count::Completed, 1),
        Ending::Cancelled { reason, .. } => {
            counters.add(Count::Cancelled, 1);
            tracing::info!(%job_id, name, number, reason, "job cancelled itself");
        }
        Ending::Retryable { error, until, .. } => {
            counters.add(Count::Failed, 1);
            counters.add(Count::Retried, 1);
            tracing::warn!(%job_id, name, number, error, %until, "attempt failed, to be retried");
        }
        Ending::Discarded { error, .. } => {
            counters.add(Count::Failed, 1);
            counters.add(Count::Discarded, 1);
            tracing::error!(%job_id, name, number, error, "job discarded");
        }
        Ending::Snoozed { .. } => counters.add(Count::Snoozed, 1),
        Ending::Excused { error, until, .. } => {
            counters.add(Count::Excused, 1);
            tracing::warn!(%job_id, name, number, error, %until, "attempt excused, to be retried");
        }
        Ending::Released => counters.add(Count::Excused, 1),
    }
}
