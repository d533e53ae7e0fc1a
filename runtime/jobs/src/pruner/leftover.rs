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

const LEFTOVERS: [Leftover; 5] = [
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
    Leftover {
        what: "workflows",
        remembered: TimeDelta::days(1),
        // With what its steps wait for.
        delete: "delete from jobs.workflows where id in (
             select id from jobs.workflows as workflow
             where inserted_at < $1
                 and not exists (select from jobs.jobs where workflow_id = workflow.id)
                 and not exists (select from jobs.finished where workflow_id = workflow.id)
             limit $2
         )",
    },
    Leftover {
        what: "batches",
        remembered: TimeDelta::days(1),
        // With its callbacks.
        delete: "delete from jobs.batches where id in (
             select id from jobs.batches as batch
             where exhausted_at < $1
                 and not exists (select from jobs.jobs where batch_id = batch.id)
                 and not exists (select from jobs.finished where batch_id = batch.id)
             limit $2
         )",
    },
    Leftover {
        what: "chains",
        remembered: TimeDelta::days(1),
        // By the age of the last job, which its id tells: who adds to a chain at this moment gives
        // it a young one that is not to be seen here yet.
        delete: "delete from jobs.chains where (queue, org_id, chain_key) in (
             select queue, org_id, chain_key from jobs.chains as chain
             where tail < (
                     lpad(to_hex((extract(epoch from $1::timestamptz) * 1000)::bigint), 12, '0')
                     || repeat('0', 20)
                 )::uuid
                 and not exists (select from jobs.jobs where id = chain.tail)
                 and not exists (select from jobs.finished where id = chain.tail)
             limit $2
             for update skip locked
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
