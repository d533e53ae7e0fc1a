//! Rows of other tables that nobody needs any more, deleted after the jobs of a round.
//!
//! A table that wants the same gets a line in [`LEFTOVERS`].

use chrono::TimeDelta;
use kernel::Timestamp;

use crate::{Queues, database};

/// So many rows of one kind are deleted in a round.
const ROWS_MAX: u32 = 10_000;

/// A kind of rows that is deleted when it is old.
struct Leftover {
    what: &'static str,
    remembered: TimeDelta,
    /// Deletes what is older than `$1`, at most `$2` rows.
    delete: &'static str,
}

const LEFTOVERS: [Leftover; 2] = [
    Leftover {
        what: "nodes",
        remembered: TimeDelta::days(1),
        // One that still holds jobs stays, because the lifeline judges them by its heartbeat.
        delete: "delete from jobs.nodes where node in (
             select node.node from jobs.nodes as node
             where node.seen_at < $1 and not exists (
                 select from jobs.jobs as job where job.state = 'executing' and job.node = node.node
             )
             limit $2
         )",
    },
    Leftover {
        what: "schedules",
        remembered: TimeDelta::days(30),
        // Neither declared any more nor made by an operator.
        delete: "delete from jobs.schedules where name in (
             select name from jobs.schedules
             where coalesce(declared_at, ticked_at) < $1 and ticked_at < $1 and definition is null
             limit $2
         )",
    },
];

pub(super) async fn delete(queues: &Queues, now: Timestamp) -> Result<(), sqlx::Error> {
    for leftover in &LEFTOVERS {
        let mut transaction = database::begin(queues.pool()).await?;
        let done = sqlx::query(leftover.delete)
            .bind(now.checked_sub_signed(leftover.remembered).unwrap_or(Timestamp::MIN_UTC))
            .bind(i64::from(ROWS_MAX))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        if done.rows_affected() > 0 {
            tracing::debug!(what = leftover.what, rows = done.rows_affected(), "pruned leftovers");
        }
    }
    Ok(())
}
