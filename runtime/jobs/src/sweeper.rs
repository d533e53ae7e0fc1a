//! The sweeper: jobs that ended where they stood leave the queue.
//!
//! A domain completes a job in the transaction of its effect by marking it, and so does whoever
//! ends one whose end matters to others. The sweeper moves what is marked to the finished jobs, in
//! batches, and in the same transaction tells those who wait for it.

use std::time::Duration;

use otp::ChildSpec;
use sqlx::PgConnection;

use crate::job::all_columns;
use crate::{Queues, database, duty};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// So many jobs are swept in one transaction.
const BATCH: u32 = 1_000;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("sweeper", EVERY, queues, |queues, _| async move {
        sweep(&queues).await?;
        Ok(())
    })
}

/// Moves every job that ended where it stood, and says how many those were.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was swept before stays so.
pub async fn sweep(queues: &Queues) -> Result<u64, sqlx::Error> {
    let mut swept = 0;
    loop {
        let mut transaction = database::begin(queues.pool()).await?;
        let batch = move_finished(&mut transaction).await?;
        transaction.commit().await?;
        swept += batch;
        if batch < u64::from(BATCH) {
            return Ok(swept);
        }
    }
}

async fn move_finished(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(concat!(
        "with ended as materialized (
             select id from jobs.jobs
             where state in ('completed', 'cancelled', 'discarded')
             limit $1
             for update skip locked
         ),
         gone as (
             delete from jobs.jobs as job using ended where job.id = ended.id returning job.*
         )
         insert into jobs.finished (",
        all_columns!(""),
        ") select ",
        all_columns!(""),
        " from gone",
    ))
    .bind(i64::from(BATCH))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
