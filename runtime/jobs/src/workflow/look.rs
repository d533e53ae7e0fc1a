//! Looking at a workflow: its steps, where they are, and what they came to.

use std::collections::BTreeMap;

use kernel::{JobId, Timestamp};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::JobState;
use crate::job::count;

/// A workflow, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowView {
    /// Its identifier.
    pub workflow_id: Uuid,
    /// The queue of its steps.
    pub queue: String,
    /// What it was called.
    pub name: String,
    /// When it was enqueued.
    pub inserted_at: Timestamp,
    /// Its steps, in the order of their making.
    pub steps: Vec<StepView>,
}

/// A step of a workflow, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// Its name within the workflow.
    pub step: String,
    /// Its job.
    pub job_id: JobId,
    /// Where that is in its life.
    pub state: JobState,
    /// For how many others it still waits.
    pub waits_for: u32,
    /// The steps that it depends on.
    pub after: Vec<String>,
}

impl WorkflowView {
    /// Whether every step has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.steps.iter().all(|step| step.state.is_final())
    }
}

/// A workflow as it is now, if the caller may know of it. Steps that are not remembered any more
/// are absent.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn workflow(
    connection: &mut PgConnection,
    workflow_id: Uuid,
) -> Result<Option<WorkflowView>, sqlx::Error> {
    let found = sqlx::query("select queue, name, inserted_at from jobs.workflows where id = $1")
        .bind(workflow_id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let rows = sqlx::query(
        "select job.workflow_step, job.id, job.state, job.waits_for, array(
             select before.workflow_step from jobs.dependencies as dependency
             join jobs.every_job as before on before.id = dependency.depends_on
             where dependency.job_id = job.id and dependency.workflow_id = $1
             order by before.workflow_step
         ) as after
         from jobs.every_job as job
         where job.workflow_id = $1
         order by job.id",
    )
    .bind(workflow_id)
    .fetch_all(connection)
    .await?;
    Ok(Some(WorkflowView {
        workflow_id,
        queue: found.try_get("queue")?,
        name: found.try_get("name")?,
        inserted_at: found.try_get("inserted_at")?,
        steps: rows.iter().map(read_step).collect::<Result<_, _>>()?,
    }))
}

fn read_step(row: &PgRow) -> Result<StepView, sqlx::Error> {
    Ok(StepView {
        step: row.try_get("workflow_step")?,
        job_id: row.try_get("id")?,
        state: JobState::from_name(row.try_get("state")?).unwrap_or(JobState::Scheduled),
        waits_for: count(row, "waits_for")?,
        after: row.try_get("after")?,
    })
}

/// What the steps came to that this job depends on, by their names; `None` for one that left no
/// result, or one too large to be kept.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn dependency_results(
    connection: &mut PgConnection,
    job_id: JobId,
) -> Result<BTreeMap<String, Option<Value>>, sqlx::Error> {
    let rows = sqlx::query(
        "select before.workflow_step, before.result
         from jobs.dependencies as dependency
         join jobs.every_job as before on before.id = dependency.depends_on
         where dependency.job_id = $1 and dependency.workflow_id is not null",
    )
    .bind(job_id)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("workflow_step")?, row.try_get("result")?))).collect()
}
