//! The stager: jobs whose time has come become available, and their queues hear of it.
//!
//! The leader stages. Every node looks once a round, for all its queues together, whether anything
//! is available: that finds what other nodes enqueued and staged, so a producer need hardly ever
//! look by itself.

use std::time::Duration;

use kernel::Timestamp;
use otp::ChildSpec;
use sqlx::PgConnection;

use crate::{Queues, database, duty};

/// How often it looks; a job starts this much late at most.
const EVERY: Duration = Duration::from_secs(1);
/// So many jobs are staged in one transaction.
const BATCH: u32 = 5_000;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("stager", EVERY, queues, |queues, _| async move {
        if queues.is_leader() { stage(&queues).await.map(drop) } else { look(&queues).await }
    })
}

/// Stages every job that is due, nudges the queues of this node that have work, and says how many
/// jobs it staged.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was staged before stays so.
pub async fn stage(queues: &Queues) -> Result<u64, sqlx::Error> {
    let known = queues_of(queues);
    let mut staged = 0;
    loop {
        let mut transaction = database::begin(queues.pool()).await?;
        let found = make_available(&mut transaction, queues.now(), &known).await?;
        transaction.commit().await?;
        let batch: u64 = found.iter().map(|(_, count)| count).sum();
        for (queue, staged) in &found {
            if *staged > 0 {
                queues.nudge(queue);
            } else {
                queues.wake(queue);
            }
        }
        staged += batch;
        if batch < u64::from(BATCH) {
            return Ok(staged);
        }
    }
}

/// Nudges the queues of this node that have work.
async fn look(queues: &Queues) -> Result<(), sqlx::Error> {
    let known = queues_of(queues);
    let mut transaction = database::begin(queues.pool()).await?;
    let waiting = queues_with_work(&mut transaction, &known).await?;
    transaction.commit().await?;
    for queue in &waiting {
        queues.wake(queue);
    }
    Ok(())
}

fn queues_of(queues: &Queues) -> Vec<String> {
    queues.every_slots().iter().map(|slots| slots.queue.clone()).collect()
}

/// The queues with work: how many jobs of each were staged, and those of `known` that had some.
async fn make_available(
    connection: &mut PgConnection,
    now: Timestamp,
    known: &[String],
) -> Result<Vec<(String, u64)>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "with due as materialized (
             select id from jobs.jobs
             where state in ('scheduled', 'retryable') and waits_for = 0 and scheduled_at <= $1
             order by scheduled_at, id
             limit $2
             for update skip locked
         ),
         staged as (
             update jobs.jobs as job set state = 'available' from due where job.id = due.id
             returning job.queue
         )
         select queue, count(*) as staged from staged group by queue
         union all
         select known.queue, 0 from unnest($3::text[]) as known (queue)
         where exists (
             select from jobs.jobs as job
             where job.queue = known.queue and job.state = 'available'
         )",
    )
    .bind(now)
    .bind(i64::from(BATCH))
    .bind(known)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(queue, count)| (queue, count.unsigned_abs())).collect())
}

async fn queues_with_work(
    connection: &mut PgConnection,
    known: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select known.queue from unnest($1::text[]) as known (queue)
         where exists (
             select from jobs.jobs as job
             where job.queue = known.queue and job.state = 'available'
         )",
    )
    .bind(known)
    .fetch_all(connection)
    .await
}
