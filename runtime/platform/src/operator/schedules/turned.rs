//! Turning what recurs: pause, resume, reset, delete, run now.

use jobs::cron;
use kernel::JobId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ScheduleView, refused};
use crate::operation::{Access, Action, Spec};
use crate::recurring;
use crate::refusal::Result;
use crate::system::System;

/// Pause something that recurs: no further tick becomes a job, on any node, until it is resumed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseSchedule {
    /// Its name.
    pub name: String,
}

/// Let something that was paused recur again, from its next tick on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeSchedule {
    /// Its name.
    pub name: String,
}

/// Take back what operators did to something that a domain declares: changes, a pause, a deletion.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetSchedule {
    /// Its name.
    pub name: String,
}

impl Action for PauseSchedule {
    const SPEC: Spec =
        Spec::invoke("pause_schedule", "/schedules/{name}/pause").needs(Access::Operate);
    type Output = ScheduleView;
    async fn act(self, system: &System) -> Result<ScheduleView> {
        let crontab = recurring::crontab(system.catalog());
        let info = cron::pause(system.queues(), &crontab, &self.name).await;
        info.map(ScheduleView::new).map_err(refused)
    }
}

impl Action for ResumeSchedule {
    const SPEC: Spec =
        Spec::invoke("resume_schedule", "/schedules/{name}/resume").needs(Access::Operate);
    type Output = ScheduleView;
    async fn act(self, system: &System) -> Result<ScheduleView> {
        let crontab = recurring::crontab(system.catalog());
        let info = cron::resume(system.queues(), &crontab, &self.name).await;
        info.map(ScheduleView::new).map_err(refused)
    }
}

impl Action for ResetSchedule {
    const SPEC: Spec =
        Spec::invoke("reset_schedule", "/schedules/{name}/reset").needs(Access::Operate);
    type Output = ScheduleView;
    async fn act(self, system: &System) -> Result<ScheduleView> {
        let crontab = recurring::crontab(system.catalog());
        let info = cron::reset(system.queues(), &crontab, &self.name).await;
        info.map(ScheduleView::new).map_err(refused)
    }
}

/// Delete something that recurs. What a domain declares stays deleted until it is reset.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSchedule {
    /// Its name.
    pub name: String,
}

impl Action for DeleteSchedule {
    const SPEC: Spec =
        Spec::remove("delete_schedule", "/schedules/{name}").needs(Access::Operate).destroys();
    type Output = ();
    async fn act(self, system: &System) -> Result<()> {
        let crontab = recurring::crontab(system.catalog());
        cron::delete(system.queues(), &crontab, &self.name).await.map_err(refused)
    }
}

/// Do now what otherwise recurs, paused or not. Its ticks go on as ever.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSchedule {
    /// Its name.
    pub name: String,
}

/// A job was enqueued out of turn.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleRun {
    /// The job.
    pub job_id: JobId,
}

impl Action for RunSchedule {
    const SPEC: Spec = Spec::invoke("run_schedule", "/schedules/{name}/run").needs(Access::Operate);
    type Output = ScheduleRun;
    async fn act(self, system: &System) -> Result<ScheduleRun> {
        let crontab = recurring::crontab(system.catalog());
        let job_id = cron::run_now(system.queues(), &crontab, &self.name).await;
        Ok(ScheduleRun { job_id: job_id.map_err(refused)? })
    }
}
