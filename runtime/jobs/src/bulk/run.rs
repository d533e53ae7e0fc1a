//! The duty that brings bulk operations to their end, a batch at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::Timestamp;
use otp::ChildSpec;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Bulk, BulkState, columns, meant};
use crate::admin::{Done, change_all, count_all, page, tell};
use crate::{Queues, database, duty};

/// How often it looks for operations that another node has left behind.
const EVERY: Duration = Duration::from_secs(10);
/// So many jobs are changed in one transaction, which keeps each one short.
const BATCH: u32 = 500;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    let nudge = queues.bulks().clone();
    duty::nudged("bulks", EVERY, &nudge, queues, |queues, context| async move {
        while !context.is_stopping() && advance(&queues).await? {}
        Ok(())
    })
}

/// Does the next batch of the oldest bulk operation that nobody else is at, and says whether there
/// was one.
///
/// # Errors
/// When Postgres cannot be reached; nothing of the batch is done then. An operation that Postgres
/// refuses has failed, and is no error here.
pub async fn advance(queues: &Queues) -> Result<bool, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let Some(bulk) = next(&mut transaction).await? else {
        transaction.commit().await?;
        return Ok(false);
    };
    let now = queues.now();
    match step(&mut transaction, &bulk, now).await {
        Ok(changed) => {
            transaction.commit().await?;
            tell(queues, bulk.change, &changed.changed);
        }
        Err(fault) if fault.passes() => return Err(fault.into_outage()),
        Err(fault) => {
            transaction.rollback().await?;
            tracing::error!(bulk_id = %bulk.bulk_id, %fault, "a bulk operation cannot go on");
            let mut transaction = database::begin(queues.pool()).await?;
            fail(&mut transaction, &bulk, &fault.to_string(), now).await?;
            transaction.commit().await?;
        }
    }
    Ok(true)
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("its filter is not understood any more: {0}")]
    Filter(String),
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
}

impl Fault {
    fn passes(&self) -> bool {
        matches!(self, Self::Database(error) if database::is_outage(error))
    }

    fn into_outage(self) -> sqlx::Error {
        match self {
            Self::Database(error) => error,
            Self::Filter(problem) => sqlx::Error::Protocol(problem),
        }
    }
}

/// The oldest one that runs and that no other node is at. It stays this node's own until the
/// transaction ends.
async fn next(connection: &mut PgConnection) -> Result<Option<Bulk>, sqlx::Error> {
    sqlx::query_as(concat!(
        "select ",
        columns!(),
        " from jobs.bulks where state = 'running' order by id limit 1 for update skip locked"
    ))
    .fetch_optional(connection)
    .await
}

/// Counts first, because nobody watches progress towards an unknown end; then a batch at a time.
async fn step(connection: &mut PgConnection, bulk: &Bulk, now: Timestamp) -> Result<Done, Fault> {
    // A time like `2h` is so long before it was asked for.
    let filter = meant(&bulk.filter, bulk.started_at);
    let filter = filter.map_err(|error| Fault::Filter(error.to_string()))?;
    if bulk.total.is_none() {
        let total = count_all(connection, &filter, bulk.cursor).await?;
        sqlx::query("update jobs.bulks set total = $2, updated_at = $3 where id = $1")
            .bind(bulk.bulk_id)
            .bind(total)
            .bind(now)
            .execute(connection)
            .await?;
        return Ok(Done::default());
    }
    let page = page(connection, &filter, Some(bulk.cursor), BATCH).await?;
    let job_ids: Vec<_> = page.jobs.iter().map(|job| job.job_id).collect();
    let done = change_all(connection, bulk.change, &job_ids, now).await?;
    let state = if page.next.is_some() { BulkState::Running } else { BulkState::Done };
    sqlx::query(
        "update jobs.bulks
         set state = $2, cursor = coalesce($3, cursor), done = done + $4, refused = refused + $5,
             refusals = $6, updated_at = $7, ended_at = case when $2 = 'done' then $7 end
         where id = $1",
    )
    .bind(bulk.bulk_id)
    .bind(state.name())
    .bind(page.next)
    .bind(whole(done.changed.len()))
    .bind(whole(done.refused.len()))
    .bind(Json(refusals(bulk, &done)))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The reasons so far, with those of this batch.
fn refusals(bulk: &Bulk, done: &Done) -> BTreeMap<String, u64> {
    let mut refusals = bulk.refusals.clone();
    for (_, obstacle) in &done.refused {
        *refusals.entry(obstacle.name().to_owned()).or_default() += 1;
    }
    refusals
}

async fn fail(
    connection: &mut PgConnection,
    bulk: &Bulk,
    failure: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update jobs.bulks
         set state = 'failed', failure = $2, updated_at = $3, ended_at = $3
         where id = $1 and state = 'running'",
    )
    .bind(bulk.bulk_id)
    .bind(failure)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}
