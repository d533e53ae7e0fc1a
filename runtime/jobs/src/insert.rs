//! Enqueueing: one insert in the transaction of whatever causes the work.

use kernel::{JobId, Timestamp};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::{JobState, NewJob};

/// Arguments larger than this belong into a table of the domain; the job carries their id.
pub const ARGS_BYTES_MAX: usize = 256 * 1024;

/// A key that is taken and free again this often is not a coincidence.
const INSERTS_MAX: u8 = 3;

/// What became of a job that was to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in its queue.
    New(JobId),
    /// This job has had the same unique key before, so no second one was enqueued.
    Duplicate(JobId),
}

impl Enqueued {
    /// The job that is in the queue now.
    #[must_use]
    pub const fn job_id(self) -> JobId {
        match self {
            Self::New(job_id) | Self::Duplicate(job_id) => job_id,
        }
    }
}

/// A job was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The arguments are too large.
    #[error("the arguments of job `{name}` are {bytes} bytes long, more than {ARGS_BYTES_MAX}")]
    ArgsTooLarge {
        /// The name of the job.
        name: String,
        /// The size of its arguments.
        bytes: usize,
    },
    /// The database refused or failed.
    #[error("could not enqueue job `{name}` into queue `{queue}`")]
    Database {
        /// The name of the job.
        name: String,
        /// The queue.
        queue: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

/// Enqueues a job in the caller's transaction, under the caller's role: a domain reaches its own
/// queue for the tenant at hand, the runtime every queue.
///
/// The queue hears of it through [`crate::Queues::nudge`], which the caller does after its commit.
pub async fn enqueue(
    connection: &mut PgConnection,
    job: &NewJob,
    now: Timestamp,
) -> Result<Enqueued, EnqueueError> {
    let bytes = job.args.to_string().len();
    if bytes > ARGS_BYTES_MAX {
        return Err(EnqueueError::ArgsTooLarge { name: job.name.clone(), bytes });
    }
    let failed = |source| EnqueueError::Database {
        name: job.name.clone(),
        queue: job.queue.clone(),
        source,
    };
    // A duplicate may be pruned between the two statements; then the key is free again.
    for _ in 0..INSERTS_MAX {
        if insert(connection, job, now).await.map_err(failed)? {
            return Ok(Enqueued::New(job.job_id));
        }
        if let Some(job_id) = find_duplicate(connection, job).await.map_err(failed)? {
            return Ok(Enqueued::Duplicate(job_id));
        }
    }
    Err(failed(sqlx::Error::RowNotFound))
}

async fn insert(
    connection: &mut PgConnection,
    job: &NewJob,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let scheduled_at = job.scheduled_at.unwrap_or(now);
    let state = if scheduled_at > now { JobState::Scheduled } else { JobState::Available };
    let done = sqlx::query(
        "insert into jobs.jobs (id, org_id, queue, name, state, args, scope, priority, \
         max_attempts, timeout_ms, unique_key, inserted_at, scheduled_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (queue, org_id, unique_key) where unique_key is not null do nothing",
    )
    .bind(job.job_id)
    .bind(job.scope.org_id)
    .bind(&job.queue)
    .bind(&job.name)
    .bind(state.name())
    .bind(&job.args)
    .bind(Json(&job.scope))
    .bind(job.priority)
    .bind(i32::from(job.max_attempts))
    .bind(i64::try_from(job.timeout.as_millis()).unwrap_or(i64::MAX))
    .bind(&job.unique_key)
    .bind(now)
    .bind(scheduled_at)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The job that has the unique key of `job`, if there is one.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn find_duplicate(
    connection: &mut PgConnection,
    job: &NewJob,
) -> Result<Option<JobId>, sqlx::Error> {
    let row = sqlx::query(
        "select id from jobs.jobs where queue = $1 and org_id = $2 and unique_key = $3",
    )
    .bind(&job.queue)
    .bind(job.scope.org_id)
    .bind(&job.unique_key)
    .fetch_optional(connection)
    .await?;
    row.map(|row| row.try_get("id")).transpose()
}
