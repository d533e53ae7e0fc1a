//! What an operator does with queues and jobs: look, pause, retry, cancel, edit.

use std::collections::BTreeMap;

use kernel::{JobId, Timestamp};
use sqlx::{PgConnection, Row};

use crate::{JobState, QueueStats, Queues, database};

mod change;
mod counting;
mod edit;
mod filter;
mod listing;

pub use change::{Change, Obstacle, cancel_job, change_job, retry_job};
pub(crate) use change::{Done, change_all, tell};
pub use counting::{COUNT_MAX, JobCount, count_jobs};
pub(crate) use counting::{count_all, preview};
pub use edit::{EditError, JobEdit, edit_job, version};
pub use filter::{Document, FilterError, JobFilter, Moment, Side, TimeLimit, ValueAt};
pub(crate) use listing::page;
pub use listing::{JobPage, PAGE_MAX, WINDOW, get_job, list_jobs};

/// A queue, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name, which is that of its domain.
    pub queue: String,
    /// Since when it claims no jobs; absent if it does.
    pub paused_at: Option<Timestamp>,
    /// How many jobs are in each state; a state without jobs is absent. Finished jobs are counted
    /// up to [`COUNT_MAX`], so that many means: at least.
    pub counts: BTreeMap<JobState, u64>,
    /// What it does on this node; absent if it has no producer here.
    pub stats: Option<QueueStats>,
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
    /// The job has to wait for others.
    #[error("job {job_id} waits for the end of {count} others, so it cannot be {wish}")]
    Waits {
        /// The job.
        job_id: JobId,
        /// How many others.
        count: u32,
        /// What was to be done to it.
        wish: &'static str,
    },
    /// Others wait for the job.
    #[error("others wait for the end of job {job_id}, so it cannot be {wish}; cancel it instead")]
    Followed {
        /// The job.
        job_id: JobId,
        /// What was to be done to it.
        wish: &'static str,
    },
    /// The job cannot be edited like this.
    #[error("job {job_id} cannot be edited: {problem}")]
    Edit {
        /// The job.
        job_id: JobId,
        /// What is wrong.
        problem: EditError,
    },
    /// The database failed.
    #[error("could not reach the queue tables")]
    Database(#[from] sqlx::Error),
}

/// Every queue that has jobs, was paused or has a producer on this node, by name.
pub async fn list_queues(queues: &Queues) -> Result<Vec<QueueInfo>, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let counts = counting::count_by_state(&mut transaction).await?;
    let paused = paused_queues(&mut transaction).await?;
    transaction.commit().await?;
    let mut infos: BTreeMap<String, QueueInfo> = BTreeMap::new();
    for (queue, state, count) in counts {
        // One that ended is in the queue for a moment and then among the finished.
        *info(&mut infos, &queue).counts.entry(state).or_default() += count;
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

async fn paused_queues(
    connection: &mut PgConnection,
) -> Result<Vec<(String, Option<Timestamp>)>, sqlx::Error> {
    let rows =
        sqlx::query("select queue, paused_at from jobs.queues").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("queue")?, row.try_get("paused_at")?))).collect()
}
