//! Looking at queues and jobs, and acting on them: pause, resume, retry, cancel.

use std::collections::BTreeMap;

use jobs::admin::{self, AdminError, JobFilter};
use jobs::{JobRow, JobState};
use kernel::{JobId, OrgId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// Why a wish about a queue or a job is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("{0}")]
    NoSuchJob(String),
    #[error("{0}")]
    WrongState(String),
    #[error("there is no queue `{0}`; queues are named after their domains")]
    NoSuchQueue(String),
    #[error("`{0}` is no state of a job; the states are {1}")]
    NoSuchState(String, String),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchJob(_) => Reason::not_found("no_such_job").at("/job_id"),
            Self::WrongState(_) => Reason::conflict("wrong_state").at("/job_id"),
            Self::NoSuchQueue(_) => Reason::not_found("no_such_queue").at("/queue"),
            Self::NoSuchState(..) => Reason::invalid("no_such_state").at("/state"),
        }
    }
}

fn admin_error(error: AdminError) -> Error {
    match error {
        AdminError::NoSuchJob(_) => NotGranted::NoSuchJob(error.to_string()).into(),
        AdminError::WrongState { .. } => NotGranted::WrongState(error.to_string()).into(),
        AdminError::Database(error) => error.into(),
    }
}

/// List the job queues with their jobs by state.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQueues {}

/// The job queues.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueList {
    /// The queues, by name.
    pub items: Vec<QueueView>,
}

/// A job queue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// Its name, which is that of its domain.
    pub queue: String,
    /// Since when it claims no jobs; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// Jobs at once on this node.
    pub limit: u32,
    /// Attempts running on this node.
    pub running: u32,
    /// Jobs by state.
    pub counts: BTreeMap<String, u64>,
}

impl Action for ListQueues {
    const SPEC: Spec = Spec::read("list_queues", "/queues").needs(Access::Operate);
    type Output = QueueList;
    async fn act(self, system: &System) -> Result<QueueList> {
        let queues = admin::list_queues(system.queues()).await.map_err(admin_error)?;
        let items = queues.into_iter().map(|info| QueueView {
            limit: info.stats.as_ref().map_or(0, |stats| stats.limit),
            running: info.stats.as_ref().map_or(0, |stats| stats.running),
            queue: info.queue,
            paused_at: info.paused_at,
            counts: info
                .counts
                .into_iter()
                .map(|(state, count)| (state.name().to_owned(), count))
                .collect(),
        });
        Ok(QueueList { items: items.collect() })
    }
}

/// A queue was paused or resumed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueTurned {
    /// The queue.
    pub queue: String,
    /// Whether it now claims no jobs.
    pub paused: bool,
}

/// Pause a queue: running attempts finish, no further job is claimed, on any node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseQueue {
    /// The queue, which has the name of its domain.
    pub queue: String,
}

/// Resume a paused queue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeQueue {
    /// The queue, which has the name of its domain.
    pub queue: String,
}

impl Action for PauseQueue {
    const SPEC: Spec = Spec::invoke("pause_queue", "/queues/{queue}/pause").needs(Access::Operate);
    type Output = QueueTurned;
    async fn act(self, system: &System) -> Result<QueueTurned> {
        must_exist(system, &self.queue)?;
        system.queues().pause(&self.queue).await?;
        Ok(QueueTurned { queue: self.queue, paused: true })
    }
}

impl Action for ResumeQueue {
    const SPEC: Spec =
        Spec::invoke("resume_queue", "/queues/{queue}/resume").needs(Access::Operate);
    type Output = QueueTurned;
    async fn act(self, system: &System) -> Result<QueueTurned> {
        must_exist(system, &self.queue)?;
        system.queues().resume(&self.queue).await?;
        Ok(QueueTurned { queue: self.queue, paused: false })
    }
}

fn must_exist(system: &System, queue: &str) -> Result<()> {
    let known = system.catalog().domain(queue);
    known.map(drop).ok_or_else(|| NotGranted::NoSuchQueue(queue.to_owned()).into())
}

/// List jobs, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListJobs {
    /// Only those of this queue.
    #[serde(default)]
    pub queue: Option<String>,
    /// Only those in this state, for example `retryable`.
    #[serde(default)]
    pub state: Option<String>,
    /// How many to list; 50 unless told.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: u32,
    /// Where to go on: the `next` of the page before.
    #[serde(default)]
    pub cursor: Option<JobId>,
}

const fn fifty() -> u32 {
    50
}

/// A page of jobs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Jobs {
    /// The jobs, newest first.
    pub items: Vec<JobView>,
    /// The cursor of the next page, if there may be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<JobId>,
}

/// A job.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// Its identity.
    pub job_id: JobId,
    /// The organisation it is for.
    pub org_id: OrgId,
    /// Its queue.
    pub queue: String,
    /// What is to be done.
    pub name: String,
    /// `available`, `scheduled`, `executing`, `retryable`, `completed`, `cancelled` or `discarded`.
    pub state: String,
    /// Attempts made.
    pub attempt: u32,
    /// Attempts allowed.
    pub max_attempts: u16,
    /// Its arguments.
    pub args: Value,
    /// When it is or was due.
    pub scheduled_at: Timestamp,
    /// What went wrong in its attempts, oldest first.
    pub errors: Vec<String>,
}

impl From<JobRow> for JobView {
    fn from(job: JobRow) -> Self {
        Self {
            job_id: job.job_id,
            org_id: job.org_id,
            queue: job.queue,
            name: job.name,
            state: job.state.name().to_owned(),
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            args: job.args,
            scheduled_at: job.scheduled_at,
            errors: job.errors.into_iter().map(|error| error.error).collect(),
        }
    }
}

impl Action for ListJobs {
    const SPEC: Spec = Spec::read("list_jobs", "/jobs").needs(Access::Operate);
    type Output = Jobs;
    async fn act(self, system: &System) -> Result<Jobs> {
        let state = self.state.map(|name| state_of(&name)).transpose()?;
        let filter = JobFilter { queue: self.queue, state };
        let page = admin::list_jobs(system.queues(), &filter, self.cursor, self.limit)
            .await
            .map_err(admin_error)?;
        Ok(Jobs { items: page.jobs.into_iter().map(JobView::from).collect(), next: page.next })
    }
}

fn state_of(name: &str) -> Result<JobState> {
    JobState::from_name(name).ok_or_else(|| {
        let known = JobState::ALL.map(JobState::name).join(", ");
        NotGranted::NoSuchState(name.to_owned(), known).into()
    })
}

/// Make a job available again, now: one that waits for a retry, or that was cancelled or discarded.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryJob {
    /// The job.
    pub job_id: JobId,
}

/// Cancel a job that is not finished.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelJob {
    /// The job.
    pub job_id: JobId,
}

impl Action for RetryJob {
    const SPEC: Spec = Spec::invoke("retry_job", "/jobs/{job_id}/retry").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        let job = admin::retry_job(system.queues(), self.job_id).await.map_err(admin_error)?;
        system.queues().nudge(&job.queue);
        Ok(job.into())
    }
}

impl Action for CancelJob {
    const SPEC: Spec = Spec::invoke("cancel_job", "/jobs/{job_id}/cancel").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        let job = admin::cancel_job(system.queues(), self.job_id).await.map_err(admin_error)?;
        Ok(job.into())
    }
}
