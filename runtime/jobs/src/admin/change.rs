//! Changes: what an operator does to jobs, one or many, by one rule.
//!
//! Whether a job can be changed is decided here without a database, by what was seen of it while it
//! was locked. So one job, a list of them and a preview are answered by the same rule.
//!
//! **Invariant:** an attempt under way loses its job by the state of that job and by nothing else;
//! a change never touches the number that guards attempts.

use std::collections::BTreeSet;

use kernel::{JobId, Timestamp};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{AdminError, listing};
use crate::job::all_columns;
use crate::{JobRow, JobState, Queues, database, returned};

/// What can be done to jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Make it available now, finished or not, with at least one attempt left.
    Retry,
    /// Make it available now instead of at its time.
    RunNow,
    /// Give it up on purpose.
    Cancel,
    /// Give it up as one that has failed for good.
    Discard,
    /// Forget it.
    Delete,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Retry, Self::RunNow, Self::Cancel, Self::Discard, Self::Delete];

    /// The name used in storage and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RunNow => "run_now",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
            Self::Delete => "delete",
        }
    }

    /// The change of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.name() == name)
    }

    /// What a job is afterwards, as a participle.
    const fn wish(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::RunNow => "run now",
            Self::Cancel => "cancelled",
            Self::Discard => "discarded",
            Self::Delete => "deleted",
        }
    }

    /// What stands in the way of changing a job like this.
    pub(super) const fn obstacle(self, job: &Seen) -> Option<Obstacle> {
        let is_due_later = matches!(job.state, JobState::Scheduled | JobState::Retryable);
        let is_wrong = match self {
            Self::Retry => matches!(job.state, JobState::Executing | JobState::Completed),
            Self::RunNow => !is_due_later,
            Self::Cancel | Self::Discard => job.state.is_final(),
            Self::Delete => matches!(job.state, JobState::Executing),
        };
        match self {
            _ if is_wrong => Some(Obstacle::State(job.state)),
            Self::Retry | Self::RunNow if is_due_later && job.waits_for > 0 => {
                Some(Obstacle::Waits(job.waits_for))
            }
            Self::Delete if job.is_followed && !job.is_swept => Some(Obstacle::Followed),
            _ => None,
        }
    }
}

/// Why a job is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its state does not allow it.
    State(JobState),
    /// So many other jobs have to end before it.
    Waits(u32),
    /// Others wait for its end, so it must have one.
    Followed,
}

impl Obstacle {
    /// The reason in a word or two, the same for all jobs it is true of.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State(state) => state.name(),
            Self::Waits(_) => "waits for others",
            Self::Followed => "others wait for it",
        }
    }

    fn of(self, job_id: JobId, change: Change) -> AdminError {
        let wish = change.wish();
        match self {
            Self::State(state) => AdminError::WrongState { job_id, state, wish },
            Self::Waits(count) => AdminError::Waits { job_id, count, wish },
            Self::Followed => AdminError::Followed { job_id, wish },
        }
    }
}

/// What decides whether a job can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(super) job_id: JobId,
    pub(super) queue: String,
    pub(super) state: JobState,
    pub(super) waits_for: u32,
    /// Whether its end matters to others.
    pub(super) is_followed: bool,
    /// Whether they have been told.
    pub(super) is_swept: bool,
}

/// What became of jobs that were to be changed.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Those that are changed.
    pub(crate) changed: Vec<Seen>,
    /// Those that are not, with the reason.
    pub(crate) refused: Vec<(JobId, Obstacle)>,
}

/// Changes one job, and says how it is then; how it was, if it is deleted.
pub async fn change_job(
    queues: &Queues,
    change: Change,
    job_id: JobId,
) -> Result<JobRow, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let before = listing::find(&mut transaction, job_id).await?;
    let done = change_all(&mut transaction, change, &[job_id], queues.now()).await?;
    if let Some((_, obstacle)) = done.refused.first() {
        return Err(obstacle.of(job_id, change));
    }
    if done.changed.is_empty() {
        return Err(AdminError::NoSuchJob(job_id));
    }
    let after = match change {
        Change::Delete => before,
        _ => listing::find(&mut transaction, job_id).await?,
    };
    transaction.commit().await?;
    tell(queues, change, &done.changed);
    Ok(after)
}

/// Makes a job available now that waits, was cancelled or was discarded, with at least one attempt
/// left. A completed job is not performed again: its effect would happen twice.
pub async fn retry_job(queues: &Queues, job_id: JobId) -> Result<JobRow, AdminError> {
    change_job(queues, Change::Retry, job_id).await
}

/// Cancels a job that has not ended. An attempt under way can no longer complete it, and is ended,
/// at once if it runs on this node.
pub async fn cancel_job(queues: &Queues, job_id: JobId) -> Result<JobRow, AdminError> {
    change_job(queues, Change::Cancel, job_id).await
}

/// Changes those of the jobs that can be, in the caller's transaction. Jobs that are not there are
/// passed over.
pub(crate) async fn change_all(
    connection: &mut PgConnection,
    change: Change,
    job_ids: &[JobId],
    now: Timestamp,
) -> Result<Done, sqlx::Error> {
    let mut done = Done::default();
    for job in lock(connection, job_ids).await? {
        match change.obstacle(&job) {
            Some(obstacle) => done.refused.push((job.job_id, obstacle)),
            None => done.changed.push(job),
        }
    }
    let job_ids: Vec<Uuid> = done.changed.iter().map(|job| job.job_id.uuid()).collect();
    match change {
        _ if job_ids.is_empty() => {}
        Change::Retry => retry(connection, &done.changed, now).await?,
        Change::RunNow => run_now(connection, &job_ids, now).await?,
        Change::Cancel => end(connection, &job_ids, JobState::Cancelled, now).await?,
        Change::Discard => end(connection, &job_ids, JobState::Discarded, now).await?,
        Change::Delete => delete(connection, &job_ids).await?,
    }
    Ok(done)
}

/// Tells the queues of this node what was changed, after the commit.
pub(crate) fn tell(queues: &Queues, change: Change, changed: &[Seen]) {
    match change {
        Change::Retry | Change::RunNow => {
            let names: BTreeSet<&str> = changed.iter().map(|job| job.queue.as_str()).collect();
            for queue in names {
                queues.nudge(queue);
            }
        }
        Change::Cancel | Change::Discard => {
            if changed.iter().any(|job| job.is_followed) {
                queues.nudge_sweeper();
            }
            for job in changed.iter().filter(|job| job.state == JobState::Executing) {
                queues.tell_unwanted(&job.queue, job.job_id);
                if let Some(slots) = queues.find_slots(&job.queue) {
                    slots.unwant(job.job_id);
                }
            }
        }
        Change::Delete => {}
    }
}

/// What is to be seen of jobs, which nobody else changes until the transaction ends.
async fn lock(connection: &mut PgConnection, job_ids: &[JobId]) -> Result<Vec<Seen>, sqlx::Error> {
    let mut wanted: Vec<Uuid> = job_ids.iter().map(|job_id| job_id.uuid()).collect();
    wanted.sort_unstable();
    // What was swept after the first statement is found by the second.
    let statements = [
        "select id, queue, state, waits_for, is_followed, false as is_swept from jobs.jobs
         where id = any($1) order by id for update",
        "select id, queue, state, waits_for, is_followed, true as is_swept from jobs.finished
         where id = any($1) order by id for update",
    ];
    let mut seen = Vec::new();
    for statement in statements {
        let rows = sqlx::query(statement).bind(&wanted).fetch_all(&mut *connection).await?;
        for row in rows {
            seen.push(Seen {
                job_id: row.try_get("id")?,
                queue: row.try_get("queue")?,
                state: crate::job::state(&row)?,
                waits_for: crate::job::count(&row, "waits_for")?,
                is_followed: row.try_get("is_followed")?,
                is_swept: row.try_get("is_swept")?,
            });
        }
    }
    Ok(seen)
}

/// What was swept comes back into its queue, and what waits for other jobs goes on waiting.
async fn retry(
    connection: &mut PgConnection,
    jobs: &[Seen],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let job_ids: Vec<Uuid> = jobs.iter().map(|job| job.job_id.uuid()).collect();
    sqlx::query(concat!(
        "with back as (delete from jobs.finished where id = any($1) returning *)
         insert into jobs.jobs (",
        all_columns!(""),
        ") select ",
        all_columns!(""),
        " from back",
    ))
    .bind(&job_ids)
    .execute(&mut *connection)
    .await?;
    let swept = jobs.iter().filter(|job| job.is_swept && job.is_followed);
    let swept: Vec<_> = swept.map(|job| (job.job_id, job.state)).collect();
    if !swept.is_empty() {
        returned::settle(connection, &swept).await?;
    }
    sqlx::query(
        "update jobs.jobs as job
         set state = case when job.waits_for > 0 then 'scheduled' else 'available' end,
             scheduled_at = $2, cancelled_at = null, discarded_at = null,
             excused = greatest(job.excused, job.attempt - job.max_attempts + 1)
         where job.id = any($1)",
    )
    .bind(&job_ids)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn run_now(
    connection: &mut PgConnection,
    job_ids: &[Uuid],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("update jobs.jobs set state = 'available', scheduled_at = $2 where id = any($1)")
        .bind(job_ids)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Marks jobs as ended; they are swept like all that end where they stand.
async fn end(
    connection: &mut PgConnection,
    job_ids: &[Uuid],
    state: JobState,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update jobs.jobs
         set state = $2, cancelled_at = case when $2 = 'cancelled' then $3 end,
             discarded_at = case when $2 = 'discarded' then $3 end
         where id = any($1)",
    )
    .bind(job_ids)
    .bind(state.name())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete(connection: &mut PgConnection, job_ids: &[Uuid]) -> Result<(), sqlx::Error> {
    for statement in
        ["delete from jobs.jobs where id = any($1)", "delete from jobs.finished where id = any($1)"]
    {
        sqlx::query(statement).bind(job_ids).execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: JobState) -> Seen {
        Seen {
            job_id: JobId::new(),
            queue: "recruit".into(),
            state,
            waits_for: 0,
            is_followed: false,
            is_swept: state.is_final(),
        }
    }

    #[test]
    fn each_change_is_for_certain_states() {
        let cases = [
            (Change::Retry, "available scheduled retryable cancelled discarded"),
            (Change::RunNow, "scheduled retryable"),
            (Change::Cancel, "available scheduled executing retryable"),
            (Change::Discard, "available scheduled executing retryable"),
            (Change::Delete, "available scheduled retryable completed cancelled discarded"),
        ];

        for (change, expected) in cases {
            let fits = |state: &JobState| change.obstacle(&seen(*state)).is_none();
            let states: Vec<&str> =
                JobState::ALL.into_iter().filter(fits).map(JobState::name).collect();
            assert_eq!(states.join(" "), expected, "{}", change.name());
        }
    }

    #[test]
    fn a_job_that_waits_for_others_is_not_hurried() {
        let waiting = Seen { waits_for: 2, ..seen(JobState::Scheduled) };

        for change in [Change::Retry, Change::RunNow] {
            assert_eq!(change.obstacle(&waiting), Some(Obstacle::Waits(2)));
        }
        assert_eq!(Change::Cancel.obstacle(&waiting), None);
    }

    #[test]
    fn a_job_that_others_wait_for_is_deleted_only_when_they_have_been_told() {
        let followed = Seen { is_followed: true, ..seen(JobState::Available) };
        let ended = Seen { is_followed: true, is_swept: false, ..seen(JobState::Cancelled) };
        let swept = Seen { is_followed: true, ..seen(JobState::Cancelled) };

        assert_eq!(Change::Delete.obstacle(&followed), Some(Obstacle::Followed));
        assert_eq!(Change::Delete.obstacle(&ended), Some(Obstacle::Followed));
        assert_eq!(Change::Delete.obstacle(&swept), None);
    }
}
