//! Claiming: the next jobs of a queue become attempts of this node.

use std::time::Duration;

use kernel::{Scope, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};

use crate::Attempt;
use crate::job::count;

/// The columns an [`Attempt`] is read from, to be spliced into a statement that claims.
macro_rules! attempt_columns {
    () => {
        "job.id, job.queue, job.name, job.args, job.scope, job.attempt, job.excused, \
         job.max_attempts, job.timeout_ms, job.scheduled_at, job.attempted_at, job.priority, \
         job.tags, job.meta, job.is_followed"
    };
}
pub(crate) use attempt_columns;

/// Claims up to `demand` available jobs of a queue for a node, unless the queue is paused or has
/// limits over all nodes: then a claim counts first.
pub async fn claim(
    connection: &mut PgConnection,
    queue: &str,
    demand: u32,
    node: &str,
    now: Timestamp,
) -> Result<Vec<Attempt>, sqlx::Error> {
    // The sub-select is materialised, because the planner may otherwise run it once for each row
    // it updates and so claim more than was asked for. Rows another node holds are skipped.
    sqlx::query_as(concat!(
        "with next as materialized (
             select id from jobs.jobs
             where queue = $1 and state = 'available'
               and not exists (
                   select from jobs.queues
                   where queue = $1 and (paused_at is not null or is_limited)
               )
             order by priority, scheduled_at, id
             limit $2
             for update skip locked
         )
         update jobs.jobs as job
         set state = 'executing', attempt = job.attempt + 1, node = $3, attempted_at = $4,
             duration_us = null
         from next
         where job.id = any (array[next.id])
         returning ",
        attempt_columns!(),
    ))
    .bind(queue)
    .bind(i64::from(demand))
    .bind(node)
    .bind(now)
    .fetch_all(connection)
    .await
    .map(in_order)
}

/// A claimed job with what it is ordered by.
pub(crate) struct Claimed {
    priority: i16,
    attempt: Attempt,
}

/// `returning` keeps no order, so the order of the claim is restored here.
pub(crate) fn in_order(mut claimed: Vec<Claimed>) -> Vec<Attempt> {
    claimed.sort_by_key(|Claimed { priority, attempt }| {
        (*priority, attempt.scheduled_at, attempt.job_id)
    });
    claimed.into_iter().map(|claimed| claimed.attempt).collect()
}

impl FromRow<'_, PgRow> for Claimed {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let attempt = Attempt {
            job_id: row.try_get("id")?,
            queue: row.try_get("queue")?,
            name: row.try_get("name")?,
            args: row.try_get("args")?,
            scope: row.try_get::<Json<Scope>, _>("scope")?.0,
            number: count(row, "attempt")?,
            excused: count(row, "excused")?,
            max_attempts: u16::try_from(count(row, "max_attempts")?).unwrap_or(u16::MAX),
            timeout: Duration::from_millis(row.try_get::<i64, _>("timeout_ms")?.unsigned_abs()),
            scheduled_at: row.try_get("scheduled_at")?,
            attempted_at: row.try_get("attempted_at")?,
            tags: row.try_get("tags")?,
            meta: row.try_get("meta")?,
            is_followed: row.try_get("is_followed")?,
        };
        Ok(Self { priority: row.try_get("priority")?, attempt })
    }
}
