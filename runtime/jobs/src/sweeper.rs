//! The sweeper: jobs that ended where they stood leave the queue.
//!
//! A domain completes a job in the transaction of its effect by marking it, and so does whoever
//! ends one whose end matters to others. The sweeper moves what is marked to the finished jobs, in
//! batches, and in the same transaction tells those who wait for it.
//!
//! **Invariant:** it waits for nobody. What somebody else holds (a job that is being depended on, a
//! batch that is being added to, a job that an operator cancels) it leaves for its next round; so
//! any number of sweepers may run at once, and none is ever in a circle of waiting.

mod tell;

use std::time::Duration;

use otp::ChildSpec;
use sqlx::PgConnection;

use crate::job::all_columns;
use crate::{Queues, database, duty};
pub(crate) use tell::Ended;

/// How often it looks without having been told that there is something.
const EVERY: Duration = Duration::from_secs(1);
/// So many jobs are swept in one transaction.
const BATCH: u32 = 1_000;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::nudged("sweeper", EVERY, queues.ended_nudge(), queues, |queues, _| async move {
        // What others wait for comes first.
        tell::sweep(&queues).await?;
        sweep_ordinary(&queues).await?;
        Ok(())
    })
}

/// Moves every job that ended where it stood, tells those who wait for them, and says how many
/// those were. What somebody else holds at the moment is left.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was swept before stays so.
pub async fn sweep(queues: &Queues) -> Result<u64, sqlx::Error> {
    Ok(tell::sweep(queues).await? + sweep_ordinary(queues).await?)
}

/// Moves the jobs whose end matters to nobody.
async fn sweep_ordinary(queues: &Queues) -> Result<u64, sqlx::Error> {
    let mut swept = 0;
    loop {
        let mut transaction = database::begin(queues.pool()).await?;
        let batch = move_ordinary(&mut transaction).await?;
        transaction.commit().await?;
        swept += batch;
        if batch < u64::from(BATCH) {
            return Ok(swept);
        }
    }
}

async fn move_ordinary(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(concat!(
        "with ended as materialized (
             select id from jobs.jobs
             where state in ('completed', 'cancelled', 'discarded') and not is_followed
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
