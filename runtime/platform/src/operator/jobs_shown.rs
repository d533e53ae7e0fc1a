//! Looking at jobs: a list by qualifiers, a count, a single one with all that is known of it.

use jobs::admin::{self, AdminError, FilterError, JobFilter};
use jobs::{JobError, JobRow, JobState};
use kernel::{JobId, OrgId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// Why a wish about a job is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("{0}")]
    NoSuchJob(String),
    #[error("{0}")]
    WrongState(String),
    #[error("{0}")]
    Edit(String),
    #[error("{0}")]
    Changed(String),
    #[error("`{0}` is no state of a job; the states are {1}")]
    NoSuchState(String, String),
    #[error("{0}")]
    Filter(FilterError),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchJob(_) => Reason::not_found("no_such_job").at("/job_id"),
            Self::WrongState(_) => Reason::conflict("wrong_state").at("/job_id"),
            Self::Edit(_) => Reason::invalid("not_editable"),
            Self::Changed(_) => Reason::conflict("changed_meanwhile").at("/version"),
            Self::NoSuchState(..) => Reason::invalid("no_such_state").at("/state"),
            Self::Filter(_) => Reason::invalid("wrong_filter").at("/filter"),
        }
    }
}

/// A wish about queues or jobs that was not granted, as callers learn of it.
pub(super) fn admin_error(error: AdminError) -> Error {
    use admin::EditError::{Changed, State};
    let message = error.to_string();
    match error {
        AdminError::NoSuchJob(_) => NotGranted::NoSuchJob(message).into(),
        AdminError::WrongState { .. }
        | AdminError::Waits { .. }
        | AdminError::Followed { .. }
        | AdminError::Edit { problem: State(_), .. } => NotGranted::WrongState(message).into(),
        AdminError::Edit { problem: Changed, .. } => NotGranted::Changed(message).into(),
        AdminError::Edit { .. } => NotGranted::Edit(message).into(),
        AdminError::Database(error) => error.into(),
    }
}

/// The filter that a caller has typed.
pub(super) fn filter_of(text: Option<&str>, now: Timestamp) -> Result<JobFilter> {
    let filter = JobFilter::parse(text.unwrap_or_default(), now);
    filter.map_err(|error| NotGranted::Filter(error).into())
}

/// List jobs, newest first.
///
/// The filter has qualifiers, each of which a job has to fit: `queue:`, `state:`, `name:`, `tag:`,
/// `org:`, `priority:`, `node:`, `workflow:`, `batch:`, `chain:`, `partition:`, `id:`, `error:` (a
/// text that one of its errors contains), `args.field:` and `meta.field:` (a value found there),
/// and `inserted_after:`, `inserted_before:`, the same for `scheduled`, `attempted` and `finished`
/// (a time, a day, or `2h` for so long ago). Several values stand between commas, a value with
/// blanks between `"`. For example
/// `queue:recruit state:discarded error:"timed out" finished_after:2h`.
///
/// A page may be empty and still have a `next`: then it looked at as many jobs as it may, and there
/// are more behind them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListJobs {
    /// Only those that fit these qualifiers, for example `queue:recruit state:discarded tag:eu`.
    #[serde(default)]
    pub filter: Option<String>,
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
    /// From 0, the first, to 9, the last.
    pub priority: i16,
    /// Attempts made.
    pub attempt: u32,
    /// How many of them do not count, because the job snoozed or something it needs was away.
    pub excused: u32,
    /// Attempts allowed.
    pub max_attempts: u16,
    /// An attempt that takes longer, in milliseconds, has failed.
    pub timeout_ms: u64,
    /// Its arguments.
    pub args: Value,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What its maker notes about it.
    pub meta: Value,
    /// What it answered, if that was small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What went wrong in its attempts, oldest first.
    pub errors: Vec<JobErrorView>,
    /// On whose behalf it works, and in which chain of causes.
    pub scope: Value,
    /// The node of its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How long its last attempt took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// What it is unique by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// What the limits of its queue count it under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// The chain whose jobs are performed one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_key: Option<String>,
    /// The workflow it is a step of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<Uuid>,
    /// Its name within the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_step: Option<String>,
    /// The batch it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Uuid>,
    /// How many other jobs have to end before it is due.
    pub waits_for: u32,
    /// When it was enqueued.
    pub inserted_at: Timestamp,
    /// When it is or was due.
    pub scheduled_at: Timestamp,
    /// When its last attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted_at: Option<Timestamp>,
    /// When it was completed, cancelled or discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Another word whenever the job is another; for `edit_job`.
    pub version: String,
}

/// What went wrong in one attempt.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobErrorView {
    /// When.
    pub at: Timestamp,
    /// The number of the attempt.
    pub attempt: u32,
    /// What.
    pub error: String,
    /// Its chain of causes, or the place of a panic, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
}

impl From<JobError> for JobErrorView {
    fn from(error: JobError) -> Self {
        let JobError { at, attempt, error, stack } = error;
        Self { at, attempt, error, stack }
    }
}

impl TryFrom<JobRow> for JobView {
    type Error = Error;
    fn try_from(job: JobRow) -> Result<Self> {
        Ok(Self {
            version: admin::version(&job),
            job_id: job.job_id,
            org_id: job.org_id,
            queue: job.queue,
            name: job.name,
            state: job.state.name().to_owned(),
            priority: job.priority,
            attempt: job.attempt,
            excused: job.excused,
            max_attempts: job.max_attempts,
            timeout_ms: u64::try_from(job.timeout.as_millis()).unwrap_or(u64::MAX),
            args: job.args,
            tags: job.tags,
            meta: job.meta,
            result: job.result,
            errors: job.errors.into_iter().map(JobErrorView::from).collect(),
            scope: serde_json::to_value(&job.scope)?,
            node: job.node,
            duration_us: job.duration.map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX)),
            unique_key: job.unique_key,
            partition_key: job.partition_key,
            chain_key: job.chain_key,
            workflow_id: job.workflow_id,
            workflow_step: job.workflow_step,
            batch_id: job.batch_id,
            waits_for: job.waits_for,
            inserted_at: job.inserted_at,
            scheduled_at: job.scheduled_at,
            attempted_at: job.attempted_at,
            finished_at: job.completed_at.or(job.cancelled_at).or(job.discarded_at),
        })
    }
}

impl Action for ListJobs {
    const SPEC: Spec = Spec::read("list_jobs", "/jobs").needs(Access::Operate);
    type Output = Jobs;
    async fn act(self, system: &System) -> Result<Jobs> {
        let mut filter = filter_of(self.filter.as_deref(), system.clock().now())?;
        filter.queues.extend(self.queue);
        filter.states.extend(self.state.map(|name| state_of(&name)).transpose()?);
        let page = admin::list_jobs(system.queues(), &filter, self.cursor, self.limit);
        let page = page.await.map_err(admin_error)?;
        let items = page.jobs.into_iter().map(JobView::try_from);
        Ok(Jobs { items: items.collect::<Result<_>>()?, next: page.next })
    }
}

fn state_of(name: &str) -> Result<JobState> {
    JobState::from_name(name).ok_or_else(|| {
        let known = JobState::ALL.map(JobState::name).join(", ");
        NotGranted::NoSuchState(name.to_owned(), known).into()
    })
}

/// Count jobs, up to 10000.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountJobs {
    /// Only those that fit these qualifiers, which are those of `list_jobs`.
    #[serde(default)]
    pub filter: Option<String>,
}

/// How many jobs there are.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobCountView {
    /// So many were found.
    pub count: u64,
    /// Whether those are all; otherwise there are at least so many.
    pub is_exact: bool,
}

impl Action for CountJobs {
    const SPEC: Spec = Spec::read("count_jobs", "/job_count").needs(Access::Operate);
    type Output = JobCountView;
    async fn act(self, system: &System) -> Result<JobCountView> {
        let filter = filter_of(self.filter.as_deref(), system.clock().now())?;
        let count = admin::count_jobs(system.queues(), &filter).await.map_err(admin_error)?;
        Ok(JobCountView { count: count.count, is_exact: count.is_exact })
    }
}

/// Show a job with all that is known of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetJob {
    /// The job.
    pub job_id: JobId,
}

impl Action for GetJob {
    const SPEC: Spec = Spec::read("get_job", "/jobs/{job_id}").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        let job = admin::get_job(system.queues(), self.job_id).await.map_err(admin_error)?;
        job.try_into()
    }
}
