//! The pruner: what ended is remembered for a while, then deleted in small batches.
//!
//! How long depends on the state a job ended in, and operators may change that, for all queues or
//! for one (see [`Retention`]). A round follows an index in the order of the ends, each batch from
//! where the last one stopped, so it costs what it deletes and not what is kept. It holds locks on
//! nothing but finished jobs, which nobody claims, and pauses between batches. A failed job that
//! holds others back stays for as long as they wait: once it is retried, they may go on.

mod leftover;
mod retention;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use kernel::Timestamp;
use otp::{ChildSpec, PeriodicContext};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{JobState, Queues, database, duty};
pub use retention::{EVERY_QUEUE, Retention, forget, list, remember};

/// How often it looks.
const EVERY: Duration = Duration::from_mins(1);
/// So many rows are deleted in one transaction, which keeps each one short.
const BATCH: u32 = 1_000;
/// Between two batches, so that a backlog of millions does not take the disk for itself.
const PAUSE: Duration = Duration::from_millis(20);

/// What the pruner of this node does and did.
#[derive(Debug, Default)]
pub(crate) struct Pruning {
    is_under_way: AtomicBool,
    pruned: AtomicU64,
}

/// How far pruning has come on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruningStats {
    /// Whether a round is under way.
    pub is_under_way: bool,
    /// How many jobs were deleted since the process started.
    pub pruned: u64,
}

impl Pruning {
    pub(crate) fn stats(&self) -> PruningStats {
        PruningStats {
            is_under_way: self.is_under_way.load(Ordering::Relaxed),
            pruned: self.pruned.load(Ordering::Relaxed),
        }
    }
}

/// A round is under way until this is dropped.
struct UnderWay<'a>(&'a Pruning);

impl<'a> UnderWay<'a> {
    fn begin(pruning: &'a Pruning) -> Self {
        pruning.is_under_way.store(true, Ordering::Relaxed);
        Self(pruning)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.is_under_way.store(false, Ordering::Relaxed);
    }
}

/// How far pruning has come on this node.
#[must_use]
pub fn stats(queues: &Queues) -> PruningStats {
    queues.pruning().stats()
}

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("pruner", EVERY, queues, |queues, context| async move {
        if queues.is_leader() {
            round(&queues, &Pace::Duty(context)).await?;
        }
        Ok(())
    })
}

/// Deletes what need not be remembered any more, without pauses, and says how many jobs that were.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was deleted before stays so.
pub async fn prune(queues: &Queues) -> Result<u64, sqlx::Error> {
    round(queues, &Pace::AtOnce).await
}

/// How fast a round goes, and how it is ended.
enum Pace {
    AtOnce,
    /// With pauses, until it is told to stop or another node leads.
    Duty(PeriodicContext),
}

impl Pace {
    /// Whether the round goes on, after a pause.
    async fn goes_on(&self, queues: &Queues) -> bool {
        let Self::Duty(context) = self else { return true };
        tokio::select! {
            () = context.stopping() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
        !context.is_stopping() && queues.is_leader()
    }
}

async fn round(queues: &Queues, pace: &Pace) -> Result<u64, sqlx::Error> {
    let _under_way = UnderWay::begin(queues.pruning());
    let now = queues.now();
    let mut transaction = database::begin(queues.pool()).await?;
    let parts = retention::plan(&mut transaction, now).await?;
    transaction.commit().await?;
    let mut pruned = 0;
    for part in parts {
        let mut walk = Walk::of(part);
        loop {
            let mut transaction = database::begin(queues.pool()).await?;
            let batch = walk.step(&mut transaction).await?;
            transaction.commit().await?;
            queues.pruning().pruned.fetch_add(batch, Ordering::Relaxed);
            pruned += batch;
            if batch < u64::from(BATCH) {
                break;
            }
            if !pace.goes_on(queues).await {
                return Ok(pruned);
            }
        }
    }
    leftover::delete(queues, now).await?;
    Ok(pruned)
}

/// What one walk along an index deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    state: JobState,
    /// Of this queue only; of every queue if absent.
    queue: Option<String>,
    /// What ended before this time.
    ended_before: Timestamp,
}

/// A walk along an index, and where it is.
struct Walk {
    part: Part,
    /// The end of the last job deleted; for the walk along the ends of all queues.
    ended_at: Timestamp,
    /// The last job deleted; for the walk along the jobs of one queue.
    job_id: Uuid,
}

impl Walk {
    fn of(part: Part) -> Self {
        Self { part, ended_at: DateTime::UNIX_EPOCH, job_id: Uuid::nil() }
    }

    /// Deletes the next batch, and says how many jobs that were.
    async fn step(&mut self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let row = match &self.part.queue {
            None => self.along_the_ends(connection).await?,
            Some(queue) => self.along_the_jobs(connection, queue).await?,
        };
        let count: i64 = row.try_get("count")?;
        self.ended_at = row.try_get::<Option<_>, _>("ended_at")?.unwrap_or(self.ended_at);
        self.job_id = row.try_get::<Option<_>, _>("job_id")?.unwrap_or(self.job_id);
        Ok(count.unsigned_abs())
    }

    async fn along_the_ends(&self, connection: &mut PgConnection) -> Result<PgRow, sqlx::Error> {
        sqlx::query(
            "with old as materialized (
                 select id, coalesce(completed_at, cancelled_at, discarded_at) as ended_at
                 from jobs.finished as job
                 where state = $1
                   and coalesce(completed_at, cancelled_at, discarded_at) >= $2
                   and coalesce(completed_at, cancelled_at, discarded_at) < $3
                   and not exists (
                       select from jobs.dependencies as held
                       where held.depends_on = job.id and not held.is_met
                   )
                 order by state, coalesce(completed_at, cancelled_at, discarded_at)
                 limit $4
                 for update skip locked
             ),
             gone as (delete from jobs.finished as job using old where job.id = old.id)
             select count(*), max(ended_at) as ended_at, null::uuid as job_id from old",
        )
        .bind(self.part.state.name())
        .bind(self.ended_at)
        .bind(self.part.ended_before)
        .bind(i64::from(BATCH))
        .fetch_one(connection)
        .await
    }

    /// A job has an id that was made before it ended, so the walk stops where later ids begin.
    async fn along_the_jobs(
        &self,
        connection: &mut PgConnection,
        queue: &str,
    ) -> Result<PgRow, sqlx::Error> {
        sqlx::query(
            "with old as materialized (
                 select id from jobs.finished as job
                 where queue = $5 and state = $1 and id > $2 and id < $6
                   and coalesce(completed_at, cancelled_at, discarded_at) < $3
                   and not exists (
                       select from jobs.dependencies as held
                       where held.depends_on = job.id and not held.is_met
                   )
                 order by id
                 limit $4
                 for update skip locked
             ),
             gone as (delete from jobs.finished as job using old where job.id = old.id)
             select count(*), null::timestamptz as ended_at,
                 (select id from old order by id desc limit 1) as job_id
             from old",
        )
        .bind(self.part.state.name())
        .bind(self.job_id)
        .bind(self.part.ended_before)
        .bind(i64::from(BATCH))
        .bind(queue)
        .bind(first_id_after(self.part.ended_before))
        .fetch_one(connection)
        .await
    }
}

/// No id made before this time is as high.
fn first_id_after(time: Timestamp) -> Uuid {
    let milliseconds = u64::try_from(time.timestamp_millis()).unwrap_or(0).saturating_add(1);
    Uuid::from_u128(u128::from(milliseconds) << 80)
}
