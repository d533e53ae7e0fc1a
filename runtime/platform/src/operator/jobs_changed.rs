//! Acting on one job: retry, run now, cancel, discard, delete, edit.

use jobs::admin::{self, Change, JobEdit};
use kernel::{JobId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jobs_shown::{JobView, admin_error};
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Result};
use crate::system::System;

async fn change(system: &System, change: Change, job_id: JobId) -> Result<JobView> {
    let job = admin::change_job(system.queues(), change, job_id).await.map_err(admin_error)?;
    job.try_into()
}

/// Make a job available again, now: one that waits for a retry, or that was cancelled or discarded.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryJob {
    /// The job.
    pub job_id: JobId,
}

/// Make a job available now that waits for its time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunJobNow {
    /// The job.
    pub job_id: JobId,
}

/// Cancel a job that is not finished.
///
/// One that executes loses its job at once, on whatever node it runs, and is ended there within
/// seconds; what it has done outside the database stays done.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelJob {
    /// The job.
    pub job_id: JobId,
}

/// Give a job up as one that has failed for good; one that executes as if it was cancelled.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscardJob {
    /// The job.
    pub job_id: JobId,
}

/// Delete a job that does not execute and that no other job waits for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteJob {
    /// The job.
    pub job_id: JobId,
}

impl Action for RetryJob {
    const SPEC: Spec = Spec::invoke("retry_job", "/jobs/{job_id}/retry").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        change(system, Change::Retry, self.job_id).await
    }
}

impl Action for RunJobNow {
    const SPEC: Spec = Spec::invoke("run_job_now", "/jobs/{job_id}/run_now").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        change(system, Change::RunNow, self.job_id).await
    }
}

impl Action for CancelJob {
    const SPEC: Spec = Spec::invoke("cancel_job", "/jobs/{job_id}/cancel").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        change(system, Change::Cancel, self.job_id).await
    }
}

impl Action for DiscardJob {
    const SPEC: Spec = Spec::invoke("discard_job", "/jobs/{job_id}/discard").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        change(system, Change::Discard, self.job_id).await
    }
}

impl Action for DeleteJob {
    const SPEC: Spec =
        Spec::remove("delete_job", "/jobs/{job_id}").needs(Access::Operate).destroys();
    type Output = ();
    async fn act(self, system: &System) -> Result<()> {
        change(system, Change::Delete, self.job_id).await.map(drop)
    }
}

/// Change what a job is to do, when and how often; one that neither executes nor is finished.
///
/// What is not given stays as it is. The unique key stays too, whatever the arguments become.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditJob {
    /// The job.
    pub job_id: JobId,
    /// Its new arguments, all of them. They must be what its name takes.
    #[serde(default)]
    pub args: Option<Value>,
    /// From 0, the first, to 9, the last.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9))]
    pub priority: Option<i16>,
    /// Not before this time.
    #[serde(default)]
    pub scheduled_at: Option<Timestamp>,
    /// Attempts allowed; more than it has used.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u16>,
    /// Words to find it by, all of them.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// What is noted about it, all of it; an object.
    #[serde(default)]
    pub meta: Option<Value>,
    /// The `version` of the job as you have seen it. If it is another by now, nothing is changed.
    #[serde(default)]
    pub version: Option<String>,
}

impl Action for EditJob {
    const SPEC: Spec = Spec::invoke("edit_job", "/jobs/{job_id}/edit").needs(Access::Operate);
    type Output = JobView;
    async fn act(self, system: &System) -> Result<JobView> {
        let queues = system.queues();
        if let Some(args) = &self.args {
            let job = admin::get_job(queues, self.job_id).await.map_err(admin_error)?;
            let fits = system.catalog().check_job(&job.queue, &job.name, args);
            fits.map_err(|unfit| below_args(Error::malformed(unfit.fields)))?;
        }
        let edit = JobEdit {
            args: self.args,
            priority: self.priority,
            scheduled_at: self.scheduled_at,
            max_attempts: self.max_attempts,
            tags: self.tags,
            meta: self.meta,
            version: self.version,
        };
        let job = admin::edit_job(queues, self.job_id, &edit).await.map_err(admin_error)?;
        job.try_into()
    }
}

/// The fields that are wrong, as fields of the edit.
pub(super) fn below_args(mut error: Error) -> Error {
    if let Error::Refused { fields, .. } = &mut error {
        for field in fields {
            field.pointer.insert_str(0, "/args");
        }
    }
    error
}
