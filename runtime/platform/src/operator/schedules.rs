//! What recurs: seeing it, changing it while it runs, and asking when it comes next.

mod preview;
mod turned;

use jobs::CronEntry;
use jobs::cron::{self, Definition, ScheduleInfo, Source, WishError};
use jobs::schedule::Schedule;
use kernel::{JobId, OrgId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jobs_changed::below_args;
use crate::domain::Domain;
use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::recurring;
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

pub use preview::{PreviewSchedule, SchedulePreview};
pub use turned::{
    DeleteSchedule, PauseSchedule, ResetSchedule, ResumeSchedule, RunSchedule, ScheduleRun,
};

/// The operations on what recurs.
pub(super) fn declare(operator: Domain) -> Domain {
    operator
        .action::<ListSchedules>()
        .action::<GetSchedule>()
        .action::<PutSchedule>()
        .action::<PauseSchedule>()
        .action::<ResumeSchedule>()
        .action::<ResetSchedule>()
        .action::<DeleteSchedule>()
        .action::<RunSchedule>()
        .action::<PreviewSchedule>()
}

/// So many of the next ticks are shown with an entry.
const NEXT_TICKS: usize = 5;

/// Why a wish about a schedule is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("{0}")]
    NoSuchSchedule(String),
    #[error("{0}")]
    NotDeclared(String),
    #[error("{1}")]
    BadField(&'static str, String),
    #[error("there is no queue `{0}`; queues are named after their domains: {1}")]
    NoSuchQueue(String, String),
    #[error("{0} performs no job `{1}`; it performs {2}")]
    NoSuchJob(String, String, String),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchSchedule(_) => Reason::not_found("no_such_schedule").at("/name"),
            Self::NotDeclared(_) => Reason::conflict("not_declared").at("/name"),
            Self::BadField(field, _) => Reason::invalid("bad_schedule").at(pointer(field)),
            Self::NoSuchQueue(..) => Reason::invalid("no_such_queue").at("/queue"),
            Self::NoSuchJob(..) => Reason::invalid("no_such_job_name").at("/job"),
        }
    }
}

/// The place of a field in the input.
fn pointer(field: &str) -> &'static str {
    match field {
        "name" => "/name",
        "schedule" => "/schedule",
        "timezone" => "/timezone",
        "args" => "/args",
        "max_attempts" => "/max_attempts",
        "timeout_ms" => "/timeout_ms",
        "priority" => "/priority",
        "missed" => "/missed",
        "missed_max" => "/missed_max",
        _ => "",
    }
}

fn refused(error: WishError) -> Error {
    let said = error.to_string();
    match error {
        WishError::NoSuchEntry(_) => NotGranted::NoSuchSchedule(said).into(),
        WishError::NotDeclared(_) => NotGranted::NotDeclared(said).into(),
        WishError::Entry(error) => NotGranted::BadField(error.field, error.problem).into(),
        WishError::Enqueue(error) => error.into(),
        WishError::Database(error) => error.into(),
    }
}

/// List what recurs, by name: what the domains declare, and what operators changed and added.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSchedules {}

/// What recurs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Schedules {
    /// The entries, by name.
    pub items: Vec<ScheduleView>,
}

/// Something that recurs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// Where it comes from: `declared` by a domain, `changed` by an operator though declared,
    /// `made` by an operator, or `abandoned`: remembered, and not declared by this version.
    pub source: String,
    /// When it recurs: a cron expression, or a period. Absent if it is deleted or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The queue of its jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The name of its jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The arguments of its jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// The organisation its jobs work for; nobody's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// What becomes of missed ticks: `skip`, `latest` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// Whether a tick is passed over while the job of an earlier one is not finished.
    pub exclusive: bool,
    /// Since when it is paused; absent if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// Since when it is deleted, though a domain declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// The job of its last tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job_id: Option<JobId>,
    /// Its next ticks; none while it is paused or deleted.
    pub next_ticks: Vec<Timestamp>,
    /// Why it cannot be read, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ScheduleView {
    fn new(info: ScheduleInfo) -> Self {
        let entry = info.entry;
        let schedule = entry.as_ref().map(|entry| &entry.schedule);
        let ticks = match (schedule, info.next_tick) {
            (Some(schedule), Some(next)) => {
                let later = schedule.preview(next, NEXT_TICKS - 1);
                std::iter::once(next).chain(later).collect()
            }
            _ => Vec::new(),
        };
        Self {
            name: info.name,
            source: source(info.source).to_owned(),
            schedule: schedule.map(Schedule::text),
            timezone: schedule.and_then(Schedule::timezone).map(str::to_owned),
            missed: entry.as_ref().map(|entry| entry.missed.name().to_owned()),
            exclusive: entry.as_ref().is_some_and(|entry| entry.is_exclusive),
            org_id: entry.as_ref().and_then(|entry| entry.org_id),
            queue: entry.as_ref().map(|entry| entry.queue.clone()),
            job: entry.as_ref().map(|entry| entry.job_name.clone()),
            args: entry.map(|entry| entry.args),
            paused_at: info.paused_at,
            deleted_at: info.deleted_at,
            last_job_id: info.job_id,
            next_ticks: ticks,
            problem: info.problem,
        }
    }
}

const fn source(source: Source) -> &'static str {
    match source {
        Source::Declared => "declared",
        Source::Changed => "changed",
        Source::Made => "made",
        Source::Abandoned => "abandoned",
    }
}

impl Action for ListSchedules {
    const SPEC: Spec = Spec::read("list_schedules", "/schedules").needs(Access::Operate);
    type Output = Schedules;
    async fn act(self, system: &System) -> Result<Schedules> {
        let crontab = recurring::crontab(system.catalog());
        let infos = cron::list(system.queues(), &crontab).await.map_err(refused)?;
        Ok(Schedules { items: infos.into_iter().map(ScheduleView::new).collect() })
    }
}

/// Show something that recurs, with its next ticks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetSchedule {
    /// Its name.
    pub name: String,
}

impl Action for GetSchedule {
    const SPEC: Spec = Spec::read("get_schedule", "/schedules/{name}").needs(Access::Operate);
    type Output = ScheduleView;
    async fn act(self, system: &System) -> Result<ScheduleView> {
        let crontab = recurring::crontab(system.catalog());
        let info = cron::get(system.queues(), &crontab, &self.name).await;
        info.map(ScheduleView::new).map_err(refused)
    }
}

/// Have a job recur, or change how one does. It holds on every node within seconds, and wins over
/// what a domain declares under that name until it is reset. What recurs otherwise than before
/// begins with its next tick.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutSchedule {
    /// Its name: letters, digits and . _ - :, at most 200.
    pub name: String,
    /// When it recurs: five cron fields (`0 2 * * mon-fri`), `@daily` and the like, or a period
    /// (`every 5 minutes`).
    #[schemars(regex(pattern = VISIBLE_TEXT))]
    pub schedule: String,
    /// By the clocks of which time zone, by its IANA name; UTC if absent. A period has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The queue of its jobs, which has the name of its domain.
    pub queue: String,
    /// The name of its jobs.
    pub job: String,
    /// The arguments of its jobs; an empty object if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// The organisation its jobs work for; nobody's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// After so many failed attempts a job is discarded; 20 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    /// An attempt that takes longer, in milliseconds, has failed; a minute if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The priority of its jobs, from 0 (first) to 9 (last); 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    /// Words to find its jobs by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What becomes of ticks that no node could take in time: `skip`, `latest` (one job makes up
    /// for all) or `all`; `latest` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// With `all`: at most so many, the latest; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_max: Option<u16>,
    /// Whether a tick is passed over while the job of an earlier one is not finished.
    #[serde(default)]
    pub exclusive: bool,
}

impl PutSchedule {
    fn entry(self, system: &System) -> Result<CronEntry> {
        let catalog = system.catalog();
        let Some(domain) = catalog.domain(&self.queue) else {
            let known = catalog.domains().iter().map(|domain| domain.name().as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(NotGranted::NoSuchQueue(self.queue, known).into());
        };
        if !domain.jobs.contains_key(self.job.as_str()) {
            let known = domain.jobs.keys().copied().collect::<Vec<_>>().join(", ");
            return Err(NotGranted::NoSuchJob(self.queue, self.job, known).into());
        }
        let args = self.args.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let fits = catalog.check_job(&self.queue, &self.job, &args);
        fits.map_err(|unfit| below_args(Error::malformed(unfit.fields)))?;
        let definition = Definition {
            schedule: self.schedule,
            timezone: self.timezone,
            queue: self.queue,
            job: self.job,
            args,
            org_id: self.org_id,
            max_attempts: self.max_attempts,
            timeout_ms: self.timeout_ms,
            priority: self.priority,
            tags: self.tags,
            missed: self.missed,
            missed_max: self.missed_max,
            exclusive: self.exclusive,
        };
        definition.entry(&self.name).map_err(|error| refused(error.into()))
    }
}

impl Action for PutSchedule {
    const SPEC: Spec = Spec::replace("put_schedule", "/schedules/{name}").needs(Access::Operate);
    type Output = ScheduleView;
    async fn act(self, system: &System) -> Result<ScheduleView> {
        let entry = self.entry(system)?;
        let crontab = recurring::crontab(system.catalog());
        let info = cron::put(system.queues(), &crontab, &entry).await;
        info.map(ScheduleView::new).map_err(refused)
    }
}
