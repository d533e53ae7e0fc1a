//! Editing: what a job that has not been performed yet is to do, when, and how often.

use kernel::{JobId, Timestamp};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{AdminError, listing};
use crate::job::job_columns;
use crate::{ARGS_BYTES_MAX, BadJob, EnqueueError, JobRow, JobState, NewJob, Queues, database};

/// What is to be different about a job; absent means: as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobEdit {
    /// What the performer is given. The unique key stays what it was.
    pub args: Option<Value>,
    /// From 0 (first) to 9 (last).
    pub priority: Option<i16>,
    /// Not before this time.
    pub scheduled_at: Option<Timestamp>,
    /// After so many attempts that count it is discarded.
    pub max_attempts: Option<u16>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// What is noted about it; an object.
    pub meta: Option<Value>,
    /// The [`version`] that the editor has seen. If the job is another since, nothing is edited.
    pub version: Option<String>,
}

/// What is wrong with an edit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// An attempt works with what it was given, and a finished job has no further use for it.
    #[error("it is {0}")]
    State(JobState),
    /// It is not what the editor has seen.
    #[error("it was changed meanwhile; look at it again")]
    Changed,
    /// A job like this could not have been enqueued either.
    #[error("{0}")]
    Rule(BadJob),
    /// It would never be performed.
    #[error("it has used {0} attempts, so it needs more than that")]
    MaxAttempts(u32),
    /// The arguments are too large.
    #[error("the arguments are {0} bytes long, more than {ARGS_BYTES_MAX}")]
    ArgsTooLarge(usize),
}

/// Changes what a job is to do, if it is neither under way nor finished.
pub async fn edit_job(
    queues: &Queues,
    job_id: JobId,
    edit: &JobEdit,
) -> Result<JobRow, AdminError> {
    let refuse = |problem| AdminError::Edit { job_id, problem };
    let mut transaction = database::begin(queues.pool()).await?;
    let Some(job) = lock(&mut transaction, job_id).await? else {
        let finished = listing::find(&mut transaction, job_id).await?;
        return Err(refuse(EditError::State(finished.state)));
    };
    edit.check(&job).map_err(refuse)?;
    let job = write(&mut transaction, &job, edit, queues.now()).await?;
    transaction.commit().await?;
    queues.nudge(&job.queue);
    Ok(job)
}

impl JobEdit {
    fn check(&self, job: &JobRow) -> Result<(), EditError> {
        if job.state.is_final() || job.state == JobState::Executing {
            return Err(EditError::State(job.state));
        }
        if self.version.as_ref().is_some_and(|seen| *seen != version(job)) {
            return Err(EditError::Changed);
        }
        let used = job.used_attempts();
        if self.max_attempts.is_some_and(|most| u32::from(most) <= used) {
            return Err(EditError::MaxAttempts(used));
        }
        self.check_rules(job)
    }

    /// What is to be different must be what could have been enqueued.
    fn check_rules(&self, job: &JobRow) -> Result<(), EditError> {
        let args = self.args.clone().unwrap_or_default();
        let mut edited =
            NewJob::new(job.queue.as_str(), job.name.as_str(), args, job.scope.clone());
        edited.priority = self.priority.unwrap_or(edited.priority);
        edited.tags = self.tags.clone().unwrap_or_default();
        edited.meta = self.meta.clone().unwrap_or(edited.meta);
        match edited.check() {
            Ok(()) => Ok(()),
            Err(EnqueueError::Malformed { rule, .. }) => Err(EditError::Rule(rule)),
            Err(EnqueueError::ArgsTooLarge { bytes, .. }) => Err(EditError::ArgsTooLarge(bytes)),
            Err(other) => unreachable!("a rule is checked without a database: {other}"),
        }
    }
}

/// A word that is another whenever something about the job is that an editor would want to know.
#[must_use]
pub fn version(job: &JobRow) -> String {
    let seen = json!([
        job.state,
        job.attempt,
        job.excused,
        job.max_attempts,
        job.priority,
        job.scheduled_at,
        job.args,
        job.tags,
        job.meta,
        job.waits_for,
    ]);
    // FNV-1a, which is the same on every node and of every build; nobody is kept out by it.
    let hash = seen.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

async fn lock(connection: &mut PgConnection, job_id: JobId) -> Result<Option<JobRow>, sqlx::Error> {
    let statement =
        concat!("select ", job_columns!(), " from jobs.jobs as job where job.id = $1 for update");
    sqlx::query_as(statement).bind(job_id).fetch_optional(connection).await
}

/// A job whose time is moved ahead waits for it again; one whose time has come is staged.
async fn write(
    connection: &mut PgConnection,
    job: &JobRow,
    edit: &JobEdit,
    now: Timestamp,
) -> Result<JobRow, sqlx::Error> {
    sqlx::query_as(concat!(
        "update jobs.jobs as job
         set args = coalesce($2, job.args), priority = coalesce($3, job.priority),
             scheduled_at = coalesce($4, job.scheduled_at),
             state = case when job.state = 'available' and $4 > $8 then 'scheduled'
                 else job.state end,
             max_attempts = coalesce($5, job.max_attempts), tags = coalesce($6, job.tags),
             meta = coalesce($7, job.meta)
         where job.id = $1
         returning ",
        job_columns!(),
    ))
    .bind(job.job_id)
    .bind(&edit.args)
    .bind(edit.priority)
    .bind(edit.scheduled_at)
    .bind(edit.max_attempts.map(i32::from))
    .bind(&edit.tags)
    .bind(&edit.meta)
    .bind(now)
    .fetch_one(connection)
    .await
}
