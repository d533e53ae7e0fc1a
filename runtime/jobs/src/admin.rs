//! What an operator does with queues and jobs: look, pause, retry, cancel.

use std::collections::BTreeMap;

use kernel::{JobId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::job::{all_columns, job_columns};
use crate::{JobRow, JobState, QueueStats, Queues, database};

/// A page of jobs has at most so many.
pub const PAGE_MAX: u32 = 500;

/// A queue, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name, which is that of its domain.
    pub queue: String,
    /// Since when it claims no jobs; absent if it does.
    pub paused_at: Option<Timestamp>,
    /// How many jobs are in each state; a state without jobs is absent.
    pub counts: BTreeMap<JobState, u64>,
    /// What it does on this node; absent if it has no producer here.
    pub stats: Option<QueueStats>,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only those of this queue.
    pub queue: Option<String>,
    /// Only those in this state.
    pub state: Option<JobState>,
}

/// Some jobs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobRow>,
    /// Where the next page begins, if there may be one: the cursor to ask for it with.
    pub next: Option<JobId>,
}

/// An operator's wish that cannot be granted, or a fault.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// The job is in a state that does not allow it.
    #[error("job {job_id} is {state}, so it cannot be {wish}")]
    WrongState {
        /// The job.
        job_id: JobId,
        /// Its state.
        state: JobState,
        /// What was to be done to it.
        wish: &'static str,
    },
    /// The database failed.
    #[error("could not reach the queue tables")]
    Database(#[from] sqlx::Error),
}

/// Every queue that has jobs, was paused or has a producer on this node, by name.
pub async fn list_queues(queues: &Queues) -> Result<Vec<QueueInfo>, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let counts = count_jobs(&mut transaction).await?;
    let paused = paused_queues(&mut transaction).await?;
    transaction.commit().await?;
    let mut infos: BTreeMap<String, QueueInfo> = BTreeMap::new();
    for (queue, state, count) in counts {
        info(&mut infos, &queue).counts.insert(state, count);
    }
    for (queue, paused_at) in paused {
        info(&mut infos, &queue).paused_at = paused_at;
    }
    for stats in queues.stats() {
        let queue = stats.queue.clone();
        info(&mut infos, &queue).stats = Some(stats);
    }
    Ok(infos.into_values().collect())
}

fn info<'a>(infos: &'a mut BTreeMap<String, QueueInfo>, queue: &str) -> &'a mut QueueInfo {
    infos.entry(queue.to_owned()).or_insert_with(|| QueueInfo {
        queue: queue.to_owned(),
        paused_at: None,
        counts: BTreeMap::new(),
        stats: None,
    })
}

/// Jobs that fit a filter, newest first, older than the cursor; a page of them.
pub async fn list_jobs(
    queues: &Queues,
    filter: &JobFilter,
    cursor: Option<JobId>,
    limit: u32,
) -> Result<JobPage, AdminError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut transaction = database::begin(queues.pool()).await?;
    let jobs: Vec<JobRow> = sqlx::query_as(concat!(
        "select ",
        job_columns!(),
        " from jobs.every_job as job
         where ($1::text is null or job.queue = $1)
           and ($2::text is null or job.state = $2)
           and ($3::uuid is null or job.id < $3)
         order by job.id desc
         limit $4",
    ))
    .bind(&filter.queue)
    .bind(filter.state.map(JobState::name))
    .bind(cursor)
    .bind(i64::from(limit))
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let is_full = jobs.len() == limit as usize;
    let next = jobs.last().filter(|_| is_full).map(|job| job.job_id);
    Ok(JobPage { jobs, next })
}

/// One job.
pub async fn get_job(queues: &Queues, job_id: JobId) -> Result<JobRow, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let job = find_job(&mut transaction, job_id, Lock::None).await?;
    transaction.commit().await?;
    Ok(job)
}

/// Makes a job available now that waits, was cancelled or was discarded, with at least one attempt
/// left. A completed job is not performed again: its effect would happen twice.
pub async fn retry_job(queues: &Queues, job_id: JobId) -> Result<JobRow, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    // A finished job comes back into its queue first; whatever then refuses it takes that back.
    bring_back(&mut transaction, job_id).await?;
    let job = find_job(&mut transaction, job_id, Lock::Update).await?;
    if matches!(job.state, JobState::Executing | JobState::Completed) {
        return Err(AdminError::WrongState { job_id, state: job.state, wish: "retried" });
    }
    let job: JobRow = sqlx::query_as(concat!(
        "update jobs.jobs as job
         set state = 'available', scheduled_at = $2, cancelled_at = null, discarded_at = null,
             excused = greatest(job.excused, job.attempt - job.max_attempts + 1)
         where job.id = $1
         returning ",
        job_columns!(),
    ))
    .bind(job_id)
    .bind(queues.now())
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    queues.nudge(&job.queue);
    Ok(job)
}

/// Moves a job that was swept back among those to be done.
async fn bring_back(connection: &mut PgConnection, job_id: JobId) -> Result<(), sqlx::Error> {
    sqlx::query(concat!(
        "with back as (delete from jobs.finished where id = $1 returning *)
         insert into jobs.jobs (",
        all_columns!(""),
        ") select ",
        all_columns!(""),
        " from back",
    ))
    .bind(job_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Cancels a job that has not ended. An attempt under way can no longer complete it, and is ended
/// if it runs on this node.
pub async fn cancel_job(queues: &Queues, job_id: JobId) -> Result<JobRow, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let job = match find_job(&mut transaction, job_id, Lock::Update).await {
        // Perhaps it was swept.
        Err(AdminError::NoSuchJob(_)) => find_job(&mut transaction, job_id, Lock::None).await?,
        found => found?,
    };
    if job.state.is_final() {
        return Err(AdminError::WrongState { job_id, state: job.state, wish: "cancelled" });
    }
    let job: JobRow = sqlx::query_as(concat!(
        "update jobs.jobs as job set state = 'cancelled', cancelled_at = $2
         where job.id = $1
         returning ",
        job_columns!(),
    ))
    .bind(job_id)
    .bind(queues.now())
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    if let Some(slots) = queues.find_slots(&job.queue) {
        slots.unwant(job_id);
    }
    Ok(job)
}

/// Pauses or resumes a queue in the caller's transaction.
pub(crate) async fn set_paused(
    connection: &mut PgConnection,
    queue: &str,
    is_paused: bool,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    // A queue that is paused already keeps the time since when.
    sqlx::query(
        "insert into jobs.queues as queue (queue, paused_at, updated_at)
         values ($1, case when $2 then $3 end, $3)
         on conflict (queue) do update set updated_at = excluded.updated_at, paused_at = case
             when excluded.paused_at is null then null
             else coalesce(queue.paused_at, excluded.paused_at) end",
    )
    .bind(queue)
    .bind(is_paused)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Lock {
    None,
    Update,
}

async fn find_job(
    connection: &mut PgConnection,
    job_id: JobId,
    lock: Lock,
) -> Result<JobRow, AdminError> {
    let statement = match lock {
        Lock::None => {
            concat!("select ", job_columns!(), " from jobs.every_job as job where job.id = $1")
        }
        Lock::Update => {
            concat!(
                "select ",
                job_columns!(),
                " from jobs.jobs as job where job.id = $1 for update"
            )
        }
    };
    let job = sqlx::query_as(statement).bind(job_id).fetch_optional(connection).await?;
    job.ok_or(AdminError::NoSuchJob(job_id))
}

async fn count_jobs(
    connection: &mut PgConnection,
) -> Result<Vec<(String, JobState, u64)>, sqlx::Error> {
    let rows =
        sqlx::query("select queue, state, count(*) from jobs.every_job group by queue, state")
            .fetch_all(connection)
            .await?;
    rows.iter().filter_map(|row| read_count(row).transpose()).collect()
}

fn read_count(row: &PgRow) -> Result<Option<(String, JobState, u64)>, sqlx::Error> {
    let count: i64 = row.try_get("count")?;
    let queue = row.try_get("queue")?;
    let state = JobState::from_name(row.try_get("state")?);
    Ok(state.map(|state| (queue, state, count.unsigned_abs())))
}

async fn paused_queues(
    connection: &mut PgConnection,
) -> Result<Vec<(String, Option<Timestamp>)>, sqlx::Error> {
    let rows =
        sqlx::query("select queue, paused_at from jobs.queues").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("queue")?, row.try_get("paused_at")?))).collect()
}
