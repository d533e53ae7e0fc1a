//! Entries of the crontab: what recurs, when, and as which job.

use std::time::Duration;

use kernel::{JobId, OrgId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::schedule::{Schedule, ScheduleError};
use crate::{ARGS_BYTES_MAX, BadJob, EnqueueError, NewJob};

/// A name has at most so many characters.
const NAME_CHARS_MAX: usize = 200;
/// At most so many missed ticks become jobs at once.
pub const MISSED_MAX: u16 = 1_000;
/// What [`CronEntry::missed`] is if nothing is said about how many.
const MISSED_DEFAULT: u16 = 100;

/// Something that recurs.
#[derive(Debug, Clone, PartialEq)]
pub struct CronEntry {
    /// Its name, the same for ever: ticks are remembered under it.
    pub name: String,
    /// When it recurs.
    pub schedule: Schedule,
    /// The queue of the job.
    pub queue: String,
    /// The name of the job.
    pub job_name: String,
    /// The arguments of the job.
    pub args: Value,
    /// The organisation the job works for; the nil one, which is nobody's, if absent.
    pub org_id: Option<OrgId>,
    /// After so many failed attempts the job is discarded.
    pub max_attempts: u16,
    /// An attempt that takes longer has failed.
    pub timeout: Duration,
    /// From 0 (first) to 9 (last).
    pub priority: i16,
    /// Words to find the jobs by.
    pub tags: Vec<String>,
    /// What becomes of ticks that no node could take at their time.
    pub missed: Missed,
    /// Whether a tick is passed over while the job of an earlier one is not finished.
    pub is_exclusive: bool,
}

/// What becomes of ticks that were missed, because no node ran or the queue tables were away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// Nothing: they are passed over. A tick is missed when it is a minute late.
    Skip,
    /// One job makes up for all of them, that of the latest.
    #[default]
    Latest,
    /// Each becomes a job, the latest so many of them.
    All(u16),
}

impl Missed {
    /// Its name, as operators write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Latest => "latest",
            Self::All(_) => "all",
        }
    }
}

/// An entry cannot be as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct EntryError {
    /// The field, as operators write it.
    pub field: &'static str,
    /// What is wrong with it, and what to write instead.
    pub problem: String,
}

impl EntryError {
    fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl From<ScheduleError> for EntryError {
    fn from(error: ScheduleError) -> Self {
        let field = match error {
            ScheduleError::Zone(_) | ScheduleError::ZoneOfPeriod(_) => "timezone",
            _ => "schedule",
        };
        Self::new(field, error.to_string())
    }
}

impl CronEntry {
    /// An entry whose jobs have no arguments, work for nobody in particular, and are as
    /// [`NewJob::new`] makes them.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        schedule: Schedule,
        queue: impl Into<String>,
        job_name: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            schedule,
            queue: queue.into(),
            job_name: job_name.into(),
            args: Value::Object(Map::new()),
            org_id: None,
            max_attempts: 20,
            timeout: Duration::from_mins(1),
            priority: 0,
            tags: Vec::new(),
            missed: Missed::default(),
            is_exclusive: false,
        }
    }

    /// Looks whether the entry is as an entry has to be.
    ///
    /// # Errors
    /// [`EntryError`] for the first field that is not.
    pub fn check(&self) -> Result<(), EntryError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
        if self.name.is_empty()
            || self.name.len() > NAME_CHARS_MAX
            || !self.name.chars().all(is_plain)
        {
            let problem = format!(
                "`{}` is no name; write 1 to {NAME_CHARS_MAX} letters, digits and . _ - :",
                self.name
            );
            return Err(EntryError::new("name", problem));
        }
        if self.queue.is_empty() || self.job_name.is_empty() {
            return Err(EntryError::new("job", "a job has a queue and a name"));
        }
        let bytes = self.args.to_string().len();
        if bytes > ARGS_BYTES_MAX {
            let problem = format!("{bytes} bytes are more than {ARGS_BYTES_MAX}; pass a reference");
            return Err(EntryError::new("args", problem));
        }
        if self.max_attempts == 0 {
            return Err(EntryError::new("max_attempts", "0 attempts do nothing; write 1 or more"));
        }
        if self.timeout.is_zero() {
            return Err(EntryError::new(
                "timeout_ms",
                "no job is done in no time; write 1 or more",
            ));
        }
        if !(0..=9).contains(&self.priority) {
            let problem = format!("{} is out of range; write 0 (first) to 9 (last)", self.priority);
            return Err(EntryError::new("priority", problem));
        }
        match self.missed {
            Missed::All(count) if count == 0 || count > MISSED_MAX => {
                let problem = format!("{count} is out of range; write 1 to {MISSED_MAX}");
                Err(EntryError::new("missed_max", problem))
            }
            _ => self.job_at_will().check().map_err(|error| {
                let field = match &error {
                    EnqueueError::Malformed {
                        rule: BadJob::Tag(_) | BadJob::TooManyTags(_),
                        ..
                    } => "tags",
                    _ => "args",
                };
                EntryError::new(field, error.to_string())
            }),
        }
    }

    /// The job of a tick; no other has its key.
    pub(super) fn job(&self, tick: Timestamp) -> NewJob {
        let tick = tick.to_rfc3339();
        let key = format!("cron:{}:{tick}", self.name);
        let meta = json!({ "cron": self.name, "cron_tick": tick });
        NewJob { unique_key: Some(key), meta, ..self.job_at_will() }
    }

    /// A job that somebody wants now.
    pub(super) fn job_at_will(&self) -> NewJob {
        let org_id = self.org_id.unwrap_or_else(|| OrgId::from_uuid(Uuid::nil()));
        let scope = Scope::system(org_id, "cron", Uuid::now_v7());
        NewJob {
            job_id: JobId::new(),
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            priority: self.priority,
            tags: self.tags.clone(),
            meta: json!({ "cron": self.name }),
            ..NewJob::new(&self.queue, &self.job_name, self.args.clone(), scope)
        }
    }
}

/// An entry as it is stored and as operators write it: everything but the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// A cron expression of five fields, `@daily` and the like, or a period: `every 5 minutes`.
    pub schedule: String,
    /// The time zone of the expression, as the IANA names it; UTC if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The queue of the job.
    pub queue: String,
    /// The name of the job.
    pub job: String,
    /// The arguments of the job; an empty object if absent.
    #[serde(default = "no_args")]
    pub args: Value,
    /// The organisation the job works for; nobody's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrgId>,
    /// After so many failed attempts the job is discarded; 20 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    /// An attempt that takes longer, in milliseconds, has failed; a minute if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// From 0 (first) to 9 (last); 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    /// Words to find the jobs by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What becomes of missed ticks: `skip`, `latest` or `all`; `latest` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// With `all`: the latest so many; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_max: Option<u16>,
    /// Whether a tick is passed over while the job of an earlier one is not finished.
    #[serde(default)]
    pub exclusive: bool,
}

fn no_args() -> Value {
    Value::Object(Map::new())
}

impl Definition {
    /// The definition in this value.
    ///
    /// # Errors
    /// [`EntryError`] says what could not be read.
    pub fn read(value: &Value) -> Result<Self, EntryError> {
        Self::deserialize(value).map_err(|error| EntryError::new("definition", error.to_string()))
    }

    /// The entry of that name.
    ///
    /// # Errors
    /// [`EntryError`] names the first field that is not as it has to be, and the way out.
    pub fn entry(self, name: &str) -> Result<CronEntry, EntryError> {
        let schedule = Schedule::parse(&self.schedule, self.timezone.as_deref())?;
        let plain = CronEntry::new(name, schedule, self.queue, self.job);
        let entry = CronEntry {
            args: self.args,
            org_id: self.org_id,
            max_attempts: self.max_attempts.unwrap_or(plain.max_attempts),
            timeout: self.timeout_ms.map_or(plain.timeout, Duration::from_millis),
            priority: self.priority.unwrap_or(plain.priority),
            tags: self.tags,
            missed: missed(self.missed.as_deref(), self.missed_max)?,
            is_exclusive: self.exclusive,
            ..plain
        };
        entry.check()?;
        Ok(entry)
    }
}

fn missed(name: Option<&str>, count: Option<u16>) -> Result<Missed, EntryError> {
    match (name, count) {
        (Some("all"), count) => Ok(Missed::All(count.unwrap_or(MISSED_DEFAULT))),
        (_, Some(_)) => {
            Err(EntryError::new("missed_max", "only `missed: all` has a bound; leave it out"))
        }
        (None | Some("latest"), None) => Ok(Missed::Latest),
        (Some("skip"), None) => Ok(Missed::Skip),
        (Some(other), None) => {
            let problem = format!("`{other}` is not known; write `skip`, `latest` or `all`");
            Err(EntryError::new("missed", problem))
        }
    }
}

impl From<&CronEntry> for Definition {
    fn from(entry: &CronEntry) -> Self {
        let missed_max = match entry.missed {
            Missed::All(count) => Some(count),
            Missed::Skip | Missed::Latest => None,
        };
        Self {
            schedule: entry.schedule.text(),
            timezone: entry.schedule.timezone().map(str::to_owned),
            queue: entry.queue.clone(),
            job: entry.job_name.clone(),
            args: entry.args.clone(),
            org_id: entry.org_id,
            max_attempts: Some(entry.max_attempts),
            timeout_ms: Some(u64::try_from(entry.timeout.as_millis()).unwrap_or(u64::MAX)),
            priority: Some(entry.priority),
            tags: entry.tags.clone(),
            missed: Some(entry.missed.name().to_owned()),
            missed_max,
            exclusive: entry.is_exclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changes: Value) -> Result<CronEntry, EntryError> {
        let mut definition = json!({ "schedule": "@daily", "queue": "recruit", "job": "work" });
        let Value::Object(changes) = changes else { panic!("the changes are an object") };
        for (field, value) in changes {
            definition[field] = value;
        }
        let definition: Definition =
            serde_json::from_value(definition).expect("the fields have their types");
        definition.entry("nightly")
    }

    #[test]
    fn an_entry_is_written_and_read_back() {
        let entry = read(json!({
            "schedule": "0 2 * * *", "timezone": "Europe/Berlin", "args": { "of": 1 },
            "priority": 3, "tags": ["night"], "missed": "all", "missed_max": 7, "exclusive": true,
        }));
        let entry = entry.expect("it is well-formed");

        let again = Definition::from(&entry).entry("nightly");

        assert_eq!(again, Ok(entry));
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said_with_its_field() {
        let cases = [
            (json!({ "schedule": "61 * * * *" }), "schedule", "write a number from 0 to 59"),
            (json!({ "timezone": "Mars" }), "timezone", "such as `Europe/Berlin`"),
            (json!({ "max_attempts": 0 }), "max_attempts", "write 1 or more"),
            (json!({ "timeout_ms": 0 }), "timeout_ms", "write 1 or more"),
            (json!({ "priority": 10 }), "priority", "write 0 (first) to 9 (last)"),
            (json!({ "missed": "some" }), "missed", "write `skip`, `latest` or `all`"),
            (json!({ "missed": "all", "missed_max": 0 }), "missed_max", "write 1 to 1000"),
            (json!({ "missed_max": 5 }), "missed_max", "leave it out"),
            (json!({ "tags": [""] }), "tags", "is no tag"),
            (json!({ "args": "x".repeat(ARGS_BYTES_MAX) }), "args", "pass a reference"),
        ];

        for (changes, field, advice) in cases {
            let error = read(changes).expect_err(field);
            assert_eq!(error.field, field);
            assert!(error.problem.contains(advice), "{error}");
        }
        let unnamed = CronEntry { name: "a b".to_owned(), ..read(json!({})).expect("it is plain") };
        assert_eq!(unnamed.check().map_err(|error| error.field), Err("name"));
    }
}
