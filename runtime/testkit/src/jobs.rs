//! Jobs in a test: what is enqueued, performing by hand, and the account of every job at the end.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use platform::jobs::{JobRow, JobState, admin};
use platform::{Job, JobId, Result, Scope};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::system::TestSystem;

/// Remembers which jobs were enqueued and not pruned since, so that one that vanished is noticed.
pub(crate) const LEDGER: &str = "
create schema testkit;
create table testkit.enqueued (job_id uuid primary key);
create function testkit.note_enqueued() returns trigger language plpgsql security definer as $$
begin
    insert into testkit.enqueued select id from added on conflict do nothing;
    return null;
end $$;
create trigger note_enqueued after insert on jobs.jobs referencing new table as added
    for each statement execute function testkit.note_enqueued();
create function testkit.note_pruned() returns trigger language plpgsql security definer as $$
begin
    delete from testkit.enqueued where job_id in (select id from pruned);
    return null;
end $$;
create trigger note_pruned after delete on jobs.finished referencing old table as pruned
    for each statement execute function testkit.note_pruned();
";

/// A job that is not finished, as it was enqueued.
#[derive(Debug)]
pub struct EnqueuedJob<J> {
    /// What is to be done.
    pub job: J,
    /// What is known about it.
    pub row: JobRow,
}

impl TestSystem {
    /// Every job of a kind that is not finished, oldest first.
    ///
    /// # Panics
    /// When the database does not answer, or the arguments of one cannot be read.
    pub async fn all_enqueued<J: Job>(&self) -> Vec<EnqueuedJob<J>> {
        let mut enqueued = Vec::new();
        for row in self.unfinished_jobs().await {
            if row.name == J::NAME {
                let job = serde_json::from_value(row.args.clone());
                let job = job.expect("the arguments of an enqueued job can be read");
                enqueued.push(EnqueuedJob { job, row });
            }
        }
        enqueued
    }

    /// Asserts that a job of a kind is enqueued of which `is_it` is true, and answers the first.
    ///
    /// # Panics
    /// When there is none; the message lists what is enqueued instead.
    #[track_caller]
    pub fn assert_enqueued<J: Job>(
        &self,
        is_it: impl Fn(&EnqueuedJob<J>) -> bool,
    ) -> impl Future<Output = EnqueuedJob<J>> {
        let place = std::panic::Location::caller();
        async move {
            match self.all_enqueued().await.into_iter().find(is_it) {
                Some(enqueued) => enqueued,
                None => panic!(
                    "no such job `{}` is enqueued, at {place}; there is {}",
                    J::NAME,
                    self.enqueued_text().await
                ),
            }
        }
    }

    /// Asserts that no job of a kind is enqueued of which `is_it` is true.
    ///
    /// # Panics
    /// When there is one; the message shows it.
    #[track_caller]
    pub fn refute_enqueued<J: Job>(
        &self,
        is_it: impl Fn(&EnqueuedJob<J>) -> bool,
    ) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            if let Some(enqueued) = self.all_enqueued().await.into_iter().find(is_it) {
                panic!("this is enqueued, at {place}:{}", told(&enqueued.row));
            }
        }
    }

    /// Performs one attempt of a job at once, whatever its queue does, and tells what became of it.
    ///
    /// # Errors
    /// As [`platform::System::perform_job`].
    pub async fn perform_job<J: Job>(&self, scope: &Scope, job: &J) -> Result<JobRow> {
        self.system().perform_job(scope, job).await
    }

    /// From now on jobs are performed inline: those that a member's call enqueues, and those they
    /// enqueue, before the call answers, one after another by priority, time and age. The queues
    /// perform nothing by themselves; what follows from events is performed by
    /// [`TestSystem::settle`].
    pub fn perform_inline(&self) {
        self.system().perform_inline();
        self.inline.store(true, Ordering::Release);
    }

    /// Performs what is due, if jobs are performed inline.
    pub(crate) async fn perform_due(&self) {
        if self.inline.load(Ordering::Acquire) {
            self.system().drain_jobs().await.expect("the jobs can be performed");
        }
    }

    /// Asserts that no job waits, executes or was discarded: that the test left nothing undone.
    ///
    /// # Panics
    /// When there is one; the message lists them with their last errors.
    pub async fn assert_no_job_left(&self) {
        let mut left = self.unfinished_jobs().await;
        left.extend(self.jobs_in(JobState::Discarded).await);
        let text: String = left.iter().map(told).collect();
        assert!(left.is_empty(), "jobs are left:{text}");
    }

    async fn unfinished_jobs(&self) -> Vec<JobRow> {
        let mut rows = Vec::new();
        for state in JobState::ALL.into_iter().filter(|state| !state.is_final()) {
            rows.extend(self.jobs_in(state).await);
        }
        rows.sort_by_key(|row| row.job_id);
        rows
    }

    async fn jobs_in(&self, state: JobState) -> Vec<JobRow> {
        let statement = "select id from jobs.every_job where state = $1 order by id";
        let job_ids: Vec<JobId> = sqlx::query_scalar(statement)
            .bind(state.name())
            .fetch_all(&mut self.owner().await)
            .await
            .expect("the owner may read");
        let mut rows = Vec::new();
        for job_id in job_ids {
            let row = admin::get_job(self.system().queues(), job_id).await;
            rows.push(row.expect("the job is there"));
        }
        rows
    }

    async fn enqueued_text(&self) -> String {
        let rows = self.unfinished_jobs().await;
        if rows.is_empty() { "nothing".to_owned() } else { rows.iter().map(told).collect() }
    }

    /// Loses jobs on purpose: those of which the SQL condition holds are gone without a trace, and
    /// the account at the end does not miss them.
    ///
    /// # Panics
    /// When the condition is none.
    pub async fn lose_jobs(&self, condition: &str) {
        let statement = format!(
            "with queued as (delete from jobs.jobs where {condition} returning id),
             done as (delete from jobs.finished where {condition} returning id)
             delete from testkit.enqueued
             where job_id in (select id from queued union all select id from done)"
        );
        // Safe: a test says what it loses.
        let lost = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.owner().await).await;
        lost.expect("the condition is one on jobs");
    }

    /// Every job that was ever enqueued and is lost, one sentence each: it is in no table though
    /// nobody deleted it, or a node that is no more has it in its hands. Ask when the system has
    /// stopped.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn lost_jobs(&self) -> Vec<String> {
        let mut owner = self.owner().await;
        let node = self.system().queues().node_id();
        let mut lost = held(&mut owner, node).await.expect("the owner may read");
        lost.extend(vanished(&mut owner).await.expect("the owner may read"));
        lost
    }
}

/// What the node has in hand: nothing, once it has stopped in good order.
async fn held(owner: &mut PgConnection, node: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(
        "select id, queue, name, attempt from jobs.jobs where state = 'executing' and node = $1",
    )
    .bind(node)
    .fetch_all(owner)
    .await?;
    let tell = |row| {
        let (job_id, attempt): (JobId, i32) =
            (Row::try_get(row, "id")?, Row::try_get(row, "attempt")?);
        let (queue, name): (&str, &str) = (Row::try_get(row, "queue")?, Row::try_get(row, "name")?);
        Ok(format!(
            "`{name}` {job_id} of {queue} is executing, but its node has stopped and nothing is \
             left of attempt {attempt}"
        ))
    };
    rows.iter().map(tell).collect()
}

/// What is in no table any more, unless jobs were deleted by an operation, which is on record.
async fn vanished(owner: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let job_ids: Vec<JobId> = sqlx::query_scalar(
        "select job_id from testkit.enqueued
         where not exists (select from jobs.every_job as job where job.id = job_id)
             and not exists (
                 select from events.domain_events
                 where domain = 'operator' and event_type like 'action_requested%'
                     and convert_from(payload, 'utf8')::jsonb ->> 'operation' like 'delete_job%'
             )",
    )
    .fetch_all(owner)
    .await?;
    let tell = |job_id| format!("job {job_id} was enqueued and is in no table any more");
    Ok(job_ids.into_iter().map(tell).collect())
}

fn told(row: &JobRow) -> String {
    let mut text = format!("\n  - {} `{}` {} of {}", row.state, row.name, row.job_id, row.queue);
    let said = write!(text, ", attempt {}, with {}", row.attempt, row.args);
    said.expect("writing to a string succeeds");
    if let Some(last) = row.errors.last() {
        write!(text, ": {}", last.error).expect("writing to a string succeeds");
    }
    text
}
