//! Jobs that come back after their end was told: what they wait for, and what counts them.

use kernel::JobId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{JobState, chain};

/// Puts jobs in order that were just brought back into their queues, each with how it had ended:
/// they wait for what is not met, their batches count them as not ended, and one whose chain went
/// on without it joins that at its end.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    back: &[(JobId, JobState)],
) -> Result<(), sqlx::Error> {
    let job_ids: Vec<Uuid> = back.iter().map(|(job_id, _)| job_id.uuid()).collect();
    chain::rejoin(connection, &job_ids).await?;
    sqlx::query(
        "update jobs.jobs as job set waits_for = (
             select count(*) from jobs.dependencies as dependency
             where dependency.job_id = job.id and not dependency.is_met
         )
         where job.id = any ($1) and job.is_followed",
    )
    .bind(&job_ids)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "with back as (
             select job.batch_id, job.queue, job.org_id,
                 count(*) filter (where back.state = 'cancelled')::int as cancelled,
                 count(*) filter (where back.state = 'discarded')::int as discarded
             from unnest($1::uuid[], $2::text[]) as back (id, state)
             join jobs.jobs as job using (id)
             where job.batch_id is not null
             group by job.batch_id, job.queue, job.org_id
         )
         update jobs.batches as batch
         set cancelled_count = greatest(0, batch.cancelled_count - back.cancelled),
             discarded_count = greatest(0, batch.discarded_count - back.discarded)
         from back
         where batch.id = back.batch_id and batch.queue = back.queue
             and batch.org_id = back.org_id",
    )
    .bind(&job_ids)
    .bind(back.iter().map(|(_, state)| state.name()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
