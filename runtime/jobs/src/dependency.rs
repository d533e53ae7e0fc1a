//! Dependencies: which job waits for the end of which.
//!
//! Steps of a workflow and links of a chain wait by the same rows, and the sweeper settles both.
//!
//! **Invariant:** `waits_for` of a job is the number of its dependencies that are not met, and
//! whoever adds one on a job that is still in its queue keeps that job from being swept until his
//! transaction ends. So no end is missed.

use std::collections::BTreeSet;

use kernel::{JobId, OrgId};
use sqlx::PgConnection;
use uuid::Uuid;

/// What becomes of a job when one that it waits for does not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downstream {
    /// It is cancelled, and so is what waits for it.
    Cancel,
    /// It goes on as if the other had completed.
    Ignore,
    /// It waits until the other is retried and completes, or until an operator decides.
    Hold,
}

impl Downstream {
    const fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Ignore => "ignore",
            Self::Hold => "hold",
        }
    }
}

/// One job waits for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) job_id: JobId,
    pub(crate) depends_on: JobId,
    pub(crate) queue: String,
    pub(crate) org_id: OrgId,
    /// Absent for a link of a chain.
    pub(crate) workflow_id: Option<Uuid>,
    pub(crate) if_cancelled: Downstream,
    pub(crate) if_discarded: Downstream,
    pub(crate) is_met: bool,
}

/// Those of these jobs that are still in their queue. They stay there until the caller's
/// transaction ends, whatever becomes of them; one that is just being swept is waited for.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    job_ids: &[JobId],
) -> Result<BTreeSet<JobId>, sqlx::Error> {
    let kept: Vec<JobId> = sqlx::query_scalar(
        "select id from jobs.jobs where id = any ($1) order by id for key share",
    )
    .bind(job_ids)
    .fetch_all(connection)
    .await?;
    Ok(kept.into_iter().collect())
}

pub(crate) async fn insert(
    connection: &mut PgConnection,
    dependencies: &[Dependency],
) -> Result<(), sqlx::Error> {
    if dependencies.is_empty() {
        return Ok(());
    }
    let each = || dependencies.iter();
    sqlx::query(
        "insert into jobs.dependencies (job_id, depends_on, queue, org_id, workflow_id, \
         if_cancelled, if_discarded, is_met)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], \
             $6::text[], $7::text[], $8::boolean[])",
    )
    .bind(each().map(|dependency| dependency.job_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|dependency| dependency.depends_on.uuid()).collect::<Vec<_>>())
    .bind(each().map(|dependency| dependency.queue.as_str()).collect::<Vec<_>>())
    .bind(each().map(|dependency| dependency.org_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|dependency| dependency.workflow_id).collect::<Vec<_>>())
    .bind(each().map(|dependency| dependency.if_cancelled.name()).collect::<Vec<_>>())
    .bind(each().map(|dependency| dependency.if_discarded.name()).collect::<Vec<_>>())
    .bind(each().map(|dependency| dependency.is_met).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
