//! The stager: jobs whose time has come become available, and their queues hear of it.
//!
//! It also looks once a round, for all queues of this node together, whether anything is available:
//! that finds what other nodes enqueued and staged, so a producer need hardly ever look by itself.

use std::time::Duration;

use kernel::Timestamp;
use otp::ChildSpec;
use sqlx::{PgConnection, Row};

use crate::{Queues, database, duty};

/// How often it looks; a job starts this much late at most.
const EVERY: Duration = Duration::from_secs(1);
/// So many jobs are staged in one transaction.
const BATCH: u32 = 5_000;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("stager", EVERY, queues, |queues| async move {
        stage(&queues).await?;
        Ok(())
    })
}

/// Stages every job that is due, nudges the queues of this node that have work, and says how many
/// jobs it staged.
pub async fn stage(queues: &Queues) -> Result<u64, sqlx::Error> {
    let mut staged = 0;
    loop {
        let mut transaction = database::begin(queues.pool()).await?;
        let batch = make_available(&mut transaction, queues.now()).await?;
        let known: Vec<String> = queues.every_slots().iter().map(|s| s.queue.clone()).collect();
        let waiting = queues_with_work(&mut transaction, &known).await?;
        transaction.commit().await?;
        for queue in &waiting {
            queues.nudge(queue);
        }
        staged += batch;
        if batch < u64::from(BATCH) {
            return Ok(staged);
        }
    }
}

async fn make_available(connection: &mut PgConnection, now: Timestamp) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "with due as materialized (
             select id from jobs.jobs
             where state in ('scheduled', 'retryable') and waits_for = 0 and scheduled_at <= $1
             order by scheduled_at, id
             limit $2
             for update skip locked
         )
         update jobs.jobs as job set state = 'available' from due where job.id = due.id",
    )
    .bind(now)
    .bind(i64::from(BATCH))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

async fn queues_with_work(
    connection: &mut PgConnection,
    known: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(
        "select known.queue from unnest($1::text[]) as known (queue)
         where exists (
             select from jobs.jobs as job
             where job.queue = known.queue and job.state = 'available'
         )",
    )
    .bind(known)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.try_get("queue")).collect()
}
