//! Workflows: jobs that wait for each other, enqueued at once.
//!
//! The steps of a workflow are jobs of one queue and organisation, and each names the steps that it
//! waits for. What is wrong with such a plan is said before anything is inserted. From then on the
//! sweeper moves it forward; nobody leads it, and nothing is lost with whoever enqueued it.

mod change;
mod look;
mod plan;

use std::collections::BTreeMap;

use kernel::{JobId, OrgId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::dependency::{self, Dependency, Downstream};
use crate::insert::{self, Entry};
use crate::{EnqueueError, JobState, NewJob};
pub use change::{cancel_workflow, retry_workflow};
pub use look::{StepView, WorkflowView, dependency_results, workflow};

/// A workflow to be enqueued, or steps to be added to one.
///
/// # Examples
///
/// ```
/// # use jobs::{After, Downstream, NewJob, Workflow};
/// # fn example(fetch: NewJob, score: NewJob, check: NewJob, offer: NewJob) -> Workflow {
/// Workflow::new("hire")
///     .step("fetch", fetch)
///     .step_after("score", score, ["fetch"])
///     .step_after("check", check, ["fetch"])
///     .step_after("offer", offer, [
///         After::step("score"),
///         After::step("check").if_discarded(Downstream::Ignore),
///     ])
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    /// Its identifier.
    pub workflow_id: Uuid,
    /// Absent if it exists already.
    name: Option<String>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
struct Step {
    name: String,
    job: NewJob,
    after: Vec<After>,
}

/// A step that another one waits for, and what becomes of that other one if it does not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    step: String,
    if_cancelled: Downstream,
    if_discarded: Downstream,
}

impl After {
    /// Waits for this step, and is cancelled with it unless said otherwise.
    #[must_use]
    pub fn step(name: impl Into<String>) -> Self {
        let (if_cancelled, if_discarded) = (Downstream::Cancel, Downstream::Cancel);
        Self { step: name.into(), if_cancelled, if_discarded }
    }

    /// What becomes of the one that waits if this step is cancelled.
    #[must_use]
    pub const fn if_cancelled(mut self, downstream: Downstream) -> Self {
        self.if_cancelled = downstream;
        self
    }

    /// What becomes of the one that waits if this step is discarded.
    #[must_use]
    pub const fn if_discarded(mut self, downstream: Downstream) -> Self {
        self.if_discarded = downstream;
        self
    }

    /// What becomes of the one that waits now that this step has ended so.
    fn downstream(&self, state: JobState) -> Downstream {
        match state {
            JobState::Cancelled => self.if_cancelled,
            JobState::Discarded => self.if_discarded,
            _ => Downstream::Ignore,
        }
    }
}

impl<S: Into<String>> From<S> for After {
    fn from(step: S) -> Self {
        Self::step(step)
    }
}

/// A workflow was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// It has no steps.
    #[error("a workflow has at least one step")]
    Nothing,
    /// Two steps have the same name.
    #[error("the workflow has step `{step}` twice")]
    Twice {
        /// The step.
        step: String,
    },
    /// A step waits for one that does not exist.
    #[error("step `{step}` waits for step `{after}`, which the workflow does not have")]
    Unknown {
        /// The step.
        step: String,
        /// The other.
        after: String,
    },
    /// A step waits for itself, by way of others.
    #[error("step `{step}` waits for itself: {path}")]
    Cycle {
        /// The step.
        step: String,
        /// The way back to it.
        path: String,
    },
    /// A step is of another queue or organisation than the workflow.
    #[error("step `{step}` is of another queue or organisation than its workflow")]
    Elsewhere {
        /// The step.
        step: String,
    },
    /// A step might not be enqueued, and then the others had nothing to wait for.
    #[error("step `{step}` is a unique job, which a step of a workflow cannot be")]
    Unique {
        /// The step.
        step: String,
    },
    /// A step is added that waits for one which ended without completing.
    #[error("step `{step}` waits for step `{after}`, which was {state}")]
    Ended {
        /// The step.
        step: String,
        /// The other.
        after: String,
        /// How it ended.
        state: JobState,
    },
    /// There is no such workflow in this queue and organisation.
    #[error("there is no workflow {0}")]
    NoSuchWorkflow(Uuid),
    /// A job was not enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database refused or failed.
    #[error("could not enqueue a workflow")]
    Database(#[from] sqlx::Error),
}

impl Workflow {
    /// A workflow without steps.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { workflow_id: Uuid::now_v7(), name: Some(name.into()), steps: Vec::new() }
    }

    /// More steps for a workflow that exists; they may wait for those it has.
    #[must_use]
    pub const fn more(workflow_id: Uuid) -> Self {
        Self { workflow_id, name: None, steps: Vec::new() }
    }

    /// Adds a step that waits for no other.
    #[must_use]
    pub fn step(self, name: impl Into<String>, job: NewJob) -> Self {
        self.step_after(name, job, [] as [After; 0])
    }

    /// Adds a step that waits for others, each the name of a step or an [`After`].
    #[must_use]
    pub fn step_after<A: Into<After>>(
        mut self,
        name: impl Into<String>,
        job: NewJob,
        after: impl IntoIterator<Item = A>,
    ) -> Self {
        let after = after.into_iter().map(Into::into).collect();
        self.steps.push(Step { name: name.into(), job, after });
        self
    }
}

/// Enqueues a workflow, or more steps of one, in the caller's transaction: all of them or none.
///
/// # Errors
/// [`WorkflowError`], before anything is inserted unless it is the database's; the caller's
/// transaction must then be rolled back.
pub async fn enqueue_workflow(
    connection: &mut PgConnection,
    workflow: &Workflow,
    now: Timestamp,
) -> Result<(), WorkflowError> {
    let order = plan::check(workflow)?;
    workflow.steps.iter().try_for_each(|step| step.job.check())?;
    let first = &workflow.steps.first().ok_or(WorkflowError::Nothing)?.job;
    let place = (first.queue.as_str(), first.scope.org_id);
    let known = match &workflow.name {
        Some(name) => {
            make(connection, workflow.workflow_id, place, name, now).await?;
            BTreeMap::new()
        }
        None => known_steps(connection, workflow, place).await?,
    };
    let dependencies = dependencies(workflow, &known)?;
    let entries = order.into_iter().map(|step| {
        let mut entry = Entry::of(&step.job, None);
        let is_its = |dependency: &&Dependency| dependency.job_id == step.job.job_id;
        let waiting = dependencies.iter().filter(is_its).filter(|dependency| !dependency.is_met);
        entry.waits_for = i32::try_from(waiting.count()).unwrap_or(i32::MAX);
        entry.step = Some((workflow.workflow_id, &step.name));
        entry.is_followed = true;
        entry
    });
    let entries = entries.collect();
    insert::place(connection, entries, dependencies, None, now).await?;
    Ok(())
}

/// Whom each of the new steps waits for, new ones and those that are there.
fn dependencies(
    workflow: &Workflow,
    known: &BTreeMap<String, (JobId, JobState)>,
) -> Result<Vec<Dependency>, WorkflowError> {
    let new: BTreeMap<&str, JobId> =
        workflow.steps.iter().map(|step| (step.name.as_str(), step.job.job_id)).collect();
    let mut dependencies = Vec::new();
    for step in &workflow.steps {
        if known.contains_key(&step.name) {
            return Err(WorkflowError::Twice { step: step.name.clone() });
        }
        for after in &step.after {
            let (depends_on, is_met) = match (new.get(after.step.as_str()), known.get(&after.step))
            {
                (Some(job_id), _) => (*job_id, false),
                (None, Some((job_id, state))) => {
                    let downstream = after.downstream(*state);
                    if state.is_final() && downstream == Downstream::Cancel {
                        let (step, after) = (step.name.clone(), after.step.clone());
                        return Err(WorkflowError::Ended { step, after, state: *state });
                    }
                    (*job_id, state.is_final() && downstream == Downstream::Ignore)
                }
                (None, None) => {
                    let (step, after) = (step.name.clone(), after.step.clone());
                    return Err(WorkflowError::Unknown { step, after });
                }
            };
            dependencies.push(Dependency {
                job_id: step.job.job_id,
                depends_on,
                queue: step.job.queue.clone(),
                org_id: step.job.scope.org_id,
                workflow_id: Some(workflow.workflow_id),
                if_cancelled: after.if_cancelled,
                if_discarded: after.if_discarded,
                is_met,
            });
        }
    }
    Ok(dependencies)
}

async fn make(
    connection: &mut PgConnection,
    workflow_id: Uuid,
    (queue, org_id): (&str, OrgId),
    name: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into jobs.workflows (id, queue, org_id, name, inserted_at)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(workflow_id)
    .bind(queue)
    .bind(org_id)
    .bind(name)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// The steps that exist under a name which the new ones use. Those still to be done are not swept
/// until the transaction ends, and nobody else adds steps until then.
async fn known_steps(
    connection: &mut PgConnection,
    workflow: &Workflow,
    (queue, org_id): (&str, OrgId),
) -> Result<BTreeMap<String, (JobId, JobState)>, WorkflowError> {
    let workflow_id = workflow.workflow_id;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('workflow/' || $1::uuid, 0))")
        .bind(workflow_id)
        .execute(&mut *connection)
        .await?;
    let found: Option<i32> = sqlx::query_scalar(
        "select 1 from jobs.workflows where id = $1 and queue = $2 and org_id = $3",
    )
    .bind(workflow_id)
    .bind(queue)
    .bind(org_id)
    .fetch_optional(&mut *connection)
    .await?;
    if found.is_none() {
        return Err(WorkflowError::NoSuchWorkflow(workflow_id));
    }
    let named = workflow.steps.iter().flat_map(|step| {
        std::iter::once(step.name.as_str()).chain(step.after.iter().map(|after| &*after.step))
    });
    let named: Vec<&str> = named.collect();
    let job_ids: Vec<JobId> = sqlx::query_scalar(
        "select id from jobs.jobs where workflow_id = $1 and workflow_step = any ($2)",
    )
    .bind(workflow_id)
    .bind(&named)
    .fetch_all(&mut *connection)
    .await?;
    dependency::keep(connection, &job_ids).await?;
    // A second look: what was swept before it could be kept is among the finished by now.
    let rows = sqlx::query(
        "select workflow_step, id, state from jobs.every_job
         where workflow_id = $1 and workflow_step = any ($2) and queue = $3 and org_id = $4",
    )
    .bind(workflow_id)
    .bind(&named)
    .bind(queue)
    .bind(org_id)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok(read_step(row)?)).collect()
}

fn read_step(row: &PgRow) -> Result<(String, (JobId, JobState)), sqlx::Error> {
    let state = JobState::from_name(row.try_get("state")?).unwrap_or(JobState::Scheduled);
    Ok((row.try_get("workflow_step")?, (row.try_get("id")?, state)))
}
