//! Performing one job by hand, here and now, whatever its queue does. For tests and tools.

use std::sync::Arc;

use kernel::JobId;
use sqlx::PgConnection;

use crate::admin::{self, AdminError};
use crate::counters::Count;
use crate::ending::Ended;
use crate::fetch::{Claimed, attempt_columns, in_order};
use crate::{
    Attempt, EnqueueError, Enqueued, JobRow, NewJob, Performers, Queues, database, enqueue,
    executor, recorder,
};

/// A job was not performed by hand.
#[derive(Debug, thiserror::Error)]
pub enum InlineError {
    /// It could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// There is one like it already, this one.
    #[error("job {0} makes it superfluous")]
    Duplicate(JobId),
    /// What became of it could not be read.
    #[error(transparent)]
    Read(#[from] AdminError),
    /// The database failed.
    #[error("could not reach the queue tables")]
    Database(#[from] sqlx::Error),
}

/// Enqueues a job and performs one attempt of it at once, in the calling task; what became of it.
///
/// Nobody else can claim it: it is committed as an attempt under way. Neither its time nor a limit
/// or pause of its queue matters.
///
/// # Errors
/// [`InlineError`]; a failure of the job itself is no error but stands in the answer.
pub async fn perform(
    queues: &Queues,
    performers: &Performers,
    job: &NewJob,
) -> Result<JobRow, InlineError> {
    let slots = queues.slots(&job.queue);
    let alone = slots.by_hand.lock().await;
    let under_way = slots.begin_claim();
    let mut transaction = database::begin(queues.pool()).await?;
    if let Enqueued::Duplicate(holder) = enqueue(&mut transaction, job, queues.now()).await? {
        return Err(InlineError::Duplicate(holder));
    }
    let attempt = take(&mut transaction, queues, job.job_id).await?;
    transaction.commit().await?;
    slots.counters.add(Count::Claimed, 1);
    let mut slot = slots.occupy(attempt);
    drop((under_way, alone));
    // A panic is recorded like any other failure of the job.
    let (ending, _) = executor::execute(queues, performers, &mut slot).await;
    if let Some(ending) = ending {
        let ended = Ended { attempt: slot.attempt().clone(), ending, at: queues.now() };
        recorder::record(queues, &slots, Arc::new(ended)).await?;
    }
    slot.settle();
    Ok(admin::get_job(queues, job.job_id).await?)
}

async fn take(
    connection: &mut PgConnection,
    queues: &Queues,
    job_id: JobId,
) -> Result<Attempt, sqlx::Error> {
    let claimed: Claimed = sqlx::query_as(concat!(
        "update jobs.jobs as job
         set state = 'executing', attempt = job.attempt + 1, node = $2, attempted_at = $3
         where job.id = $1
         returning ",
        attempt_columns!(),
    ))
    .bind(job_id)
    .bind(queues.node_id())
    .bind(queues.now())
    .fetch_one(connection)
    .await?;
    Ok(in_order(vec![claimed]).remove(0))
}
