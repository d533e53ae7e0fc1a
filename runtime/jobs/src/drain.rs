//! Draining: perform everything that is due now, here and one after another. For tests and tools.

use std::fmt;
use std::sync::Arc;

use kernel::Timestamp;
use sqlx::{PgConnection, Row};

use crate::counters::Count;
use crate::ending::Ended;
use crate::limited::claim_by;
use crate::slots::Slots;
use crate::{Attempt, Performers, Queues, database, executor, recorder, settings, stager, sweeper};

/// A queue whose jobs cause more than this many others is not drained to its end.
const DRAINED_MAX: usize = 10_000;

/// A queue was not drained.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The jobs keep causing others.
    #[error("queue `{queue}` still has work after {DRAINED_MAX} jobs")]
    Endless {
        /// The queue.
        queue: String,
    },
    /// The end of an attempt could not be recorded.
    #[error("could not record an attempt of queue `{queue}`: {reason}")]
    Unrecorded {
        /// The queue.
        queue: String,
        /// Why.
        reason: String,
    },
    /// The database failed.
    #[error("could not reach the queue tables")]
    Database(#[from] sqlx::Error),
}

/// Performs the jobs of a queue that are due now, those they enqueue included, and says how many
/// attempts that took. What is to be retried later stays, and so does a queue that is paused.
pub async fn drain(
    queues: &Queues,
    queue: &str,
    performers: &Performers,
) -> Result<usize, DrainError> {
    let slots = queues.slots(queue);
    settings::settle(queues, &slots).await?;
    let unrecorded = |error: sqlx::Error| DrainError::Unrecorded {
        queue: queue.to_owned(),
        reason: error.to_string(),
    };
    let mut drained = 0;
    while drained < DRAINED_MAX {
        stager::stage(queues).await?;
        let alone = slots.by_hand.lock().await;
        let under_way = slots.begin_claim();
        let Some(attempt) = claim_one(queues, &slots).await? else {
            drop((under_way, alone));
            // What ended may have been waited for.
            if sweeper::sweep(queues).await? == 0 {
                return Ok(drained);
            }
            continue;
        };
        drained += 1;
        slots.counters.add(Count::Claimed, 1);
        let mut slot = slots.occupy(attempt);
        drop((under_way, alone));
        // A panic is recorded like any other failure of the job, and is no fault of the drain.
        let (ending, _) = executor::execute(queues, performers, &mut slot).await;
        if let Some(ending) = ending {
            let ended = Ended { attempt: slot.attempt().clone(), ending, at: queues.now() };
            recorder::record(queues, &slots, Arc::new(ended)).await.map_err(unrecorded)?;
        }
        slot.settle();
    }
    Err(DrainError::Endless { queue: queue.to_owned() })
}

async fn claim_one(queues: &Queues, slots: &Slots) -> Result<Option<Attempt>, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let claimed = claim_by(&mut transaction, queues, slots, 1).await?;
    transaction.commit().await?;
    Ok(claimed.into_iter().next())
}

/// What is under way or due in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The queue.
    pub queue: String,
    /// How many jobs.
    pub count: u64,
    /// Their states and names, each once.
    pub kinds: Vec<String>,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} jobs of {}: {}", self.count, self.queue, self.kinds.join(", "))
    }
}

/// How many jobs of each queue are under way, due or ended without those who wait for them having
/// been told, so that a test can wait until none is.
///
/// Jobs of a paused queue do not count: nothing moves there.
pub async fn unsettled(queues: &Queues) -> Result<Vec<Unsettled>, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let unsettled = count_unsettled(&mut transaction, queues.now()).await?;
    transaction.commit().await?;
    Ok(unsettled)
}

/// As [`unsettled`], in the caller's transaction, which must run as the runtime.
///
/// Whoever asks about the log too needs one snapshot for both: a job that ends between two
/// questions has become an event that the first one did not see.
pub async fn count_unsettled(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<Vec<Unsettled>, sqlx::Error> {
    let rows = sqlx::query(
        "select job.queue, count(*), array_agg(distinct job.state || ' `' || job.name || '`')
             as kinds
         from jobs.jobs as job
         left join jobs.queues as queue on queue.queue = job.queue
         where job.state = 'executing'
            or job.is_followed and job.state in ('completed', 'cancelled', 'discarded')
                and not exists (
                    select from jobs.dependencies as link
                    join jobs.jobs as before on before.id = link.depends_on
                    where link.job_id = job.id and link.workflow_id is null
                )
            or queue.paused_at is null and (
                job.state = 'available'
                or job.state in ('scheduled', 'retryable') and job.scheduled_at <= $1
                    and job.waits_for = 0
            )
         group by job.queue
         order by job.queue",
    )
    .bind(now)
    .fetch_all(connection)
    .await?;
    let read = |row| {
        let count: i64 = Row::try_get(row, "count")?;
        let (queue, kinds) = (Row::try_get(row, "queue")?, Row::try_get(row, "kinds")?);
        Ok(Unsettled { queue, count: count.unsigned_abs(), kinds })
    };
    rows.iter().map(read).collect()
}
