//! When a schedule would tick.

use jobs::cron::{self, WishError};
use jobs::schedule::Schedule;
use kernel::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refused;
use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::refusal::Result;
use crate::system::System;

/// Show when a schedule would tick, without making one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewSchedule {
    /// Five cron fields, `@daily` and the like, or a period (`every 5 minutes`).
    #[schemars(regex(pattern = VISIBLE_TEXT))]
    pub schedule: String,
    /// By the clocks of which time zone; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// How many ticks, 100 at most; 10 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// When a schedule ticks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SchedulePreview {
    /// The schedule, as it was understood.
    pub schedule: String,
    /// Its next ticks.
    pub ticks: Vec<Timestamp>,
}

impl Action for PreviewSchedule {
    const SPEC: Spec = Spec::read("preview_schedule", "/schedule_preview").needs(Access::Operate);
    type Output = SchedulePreview;
    async fn act(self, system: &System) -> Result<SchedulePreview> {
        let schedule = Schedule::parse(&self.schedule, self.timezone.as_deref());
        let schedule = schedule.map_err(|error| refused(WishError::Entry(error.into())))?;
        let count = usize::try_from(self.count.unwrap_or(10)).unwrap_or(cron::PREVIEW_MAX);
        let ticks = schedule.preview(system.now(), count.clamp(1, cron::PREVIEW_MAX));
        Ok(SchedulePreview { schedule: schedule.to_string(), ticks })
    }
}
