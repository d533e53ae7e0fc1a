//! The pruner: finished jobs are remembered for a week, then deleted in small batches.

use std::time::Duration;

use chrono::TimeDelta;
use kernel::Timestamp;
use otp::ChildSpec;
use sqlx::PgConnection;

use crate::{Queues, database, duty};

/// How often it looks.
const EVERY: Duration = Duration::from_mins(1);
/// A job that ended is remembered for so long.
pub const REMEMBERED: TimeDelta = TimeDelta::days(7);
/// A node that fell silent is remembered for so long.
const NODES_REMEMBERED: TimeDelta = TimeDelta::days(1);
/// So many jobs are deleted in one transaction, which keeps each one short.
const BATCH: u32 = 1_000;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("pruner", EVERY, queues, |queues| async move {
        prune(&queues).await?;
        Ok(())
    })
}

/// Deletes what need not be remembered any more, and says how many jobs that were.
pub async fn prune(queues: &Queues) -> Result<u64, sqlx::Error> {
    let mut pruned = 0;
    loop {
        let now = queues.now();
        let mut transaction = database::begin(queues.pool()).await?;
        let batch = delete_jobs(&mut transaction, now - REMEMBERED).await?;
        if batch < u64::from(BATCH) {
            delete_nodes(&mut transaction, now - NODES_REMEMBERED).await?;
        }
        transaction.commit().await?;
        pruned += batch;
        if batch < u64::from(BATCH) {
            return Ok(pruned);
        }
    }
}

async fn delete_jobs(
    connection: &mut PgConnection,
    ended_before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "with old as materialized (
             select id from jobs.finished
             where state in ('completed', 'cancelled', 'discarded')
               and coalesce(completed_at, cancelled_at, discarded_at) < $1
             limit $2
             for update skip locked
         )
         delete from jobs.finished as job using old where job.id = old.id",
    )
    .bind(ended_before)
    .bind(i64::from(BATCH))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// A node that still holds jobs stays, because the lifeline judges them by its heartbeat.
async fn delete_nodes(
    connection: &mut PgConnection,
    seen_before: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from jobs.nodes as node
         where node.seen_at < $1 and not exists (
             select from jobs.jobs as job where job.state = 'executing' and job.node = node.node
         )",
    )
    .bind(seen_before)
    .execute(connection)
    .await?;
    Ok(())
}
