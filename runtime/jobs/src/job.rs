//! A job: work left for later, the states of its life and what is known about it.
//!
//! The states and their names are Oban's: `available` waits for a producer, `scheduled` and
//! `retryable` wait for their time, `executing` is an attempt under way, and `completed`,
//! `cancelled` and `discarded` are the three ends.

use std::fmt;
use std::time::Duration;

use kernel::{JobId, OrgId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::{Chain, Unique};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for a producer with a free place.
    Available,
    /// Waits for its time, which has not been tried yet or was snoozed.
    Scheduled,
    /// An attempt is under way.
    Executing,
    /// Waits for the time of its next attempt after one that failed.
    Retryable,
    /// Done.
    Completed,
    /// Given up on purpose, by itself or by an operator.
    Cancelled,
    /// Given up because its attempts are used up, or because none would ever succeed.
    Discarded,
}

impl JobState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Available,
        Self::Scheduled,
        Self::Executing,
        Self::Retryable,
        Self::Completed,
        Self::Cancelled,
        Self::Discarded,
    ];

    /// The name used in storage and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Scheduled => "scheduled",
            Self::Executing => "executing",
            Self::Retryable => "retryable",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
        }
    }

    /// The state of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more will happen to the job by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Discarded)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A job to be enqueued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its identifier; also the idempotency key of whatever it does outside the database.
    pub job_id: JobId,
    /// The queue, which is the name of the domain that performs it.
    pub queue: String,
    /// Which performer of the queue performs it.
    pub name: String,
    /// What the performer is given; at most [`crate::ARGS_BYTES_MAX`].
    pub args: Value,
    /// On whose behalf, for which organisation, in which chain of causes.
    pub scope: Scope,
    /// After so many failed attempts it is discarded.
    pub max_attempts: u16,
    /// An attempt that takes longer has failed.
    pub timeout: Duration,
    /// From 0 (first) to 9 (last).
    pub priority: i16,
    /// Not before this time; at once if absent.
    pub scheduled_at: Option<Timestamp>,
    /// A second job of the same key in the same queue and organisation is not enqueued, whatever
    /// has become of the first, unless `unique` says otherwise.
    pub unique_key: Option<String>,
    /// By which rules it is unique; they also make its key, if it has none.
    pub unique: Option<Unique>,
    /// Words to find it by; at most [`crate::TAGS_MAX`].
    pub tags: Vec<String>,
    /// What its maker notes about it; an object of at most [`crate::META_BYTES_MAX`]. The
    /// performer is given it.
    pub meta: Value,
    /// What the limits of the queue count it under.
    pub partition_key: Option<String>,
    /// The chain in which it is performed after the jobs before it.
    pub chain: Option<Chain>,
    /// The batch it belongs to, which must be one that has not ended.
    pub batch_id: Option<Uuid>,
}

impl NewJob {
    /// A job to be performed at once, with twenty attempts of a minute each.
    #[must_use]
    pub fn new(
        queue: impl Into<String>,
        name: impl Into<String>,
        args: Value,
        scope: Scope,
    ) -> Self {
        Self {
            job_id: JobId::new(),
            queue: queue.into(),
            name: name.into(),
            args,
            scope,
            max_attempts: 20,
            timeout: Duration::from_mins(1),
            priority: 0,
            scheduled_at: None,
            unique_key: None,
            unique: None,
            tags: Vec::new(),
            meta: Value::Object(Map::new()),
            partition_key: None,
            chain: None,
            batch_id: None,
        }
    }
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Its identifier.
    pub job_id: JobId,
    /// The organisation it works for.
    pub org_id: OrgId,
    /// The queue, which is the name of the domain that performs it.
    pub queue: String,
    /// Which performer of the queue performs it.
    pub name: String,
    /// Where it is in its life.
    pub state: JobState,
    /// What the performer is given.
    pub args: Value,
    /// On whose behalf, and in which chain of causes.
    pub scope: Scope,
    /// From 0 (first) to 9 (last).
    pub priority: i16,
    /// How often it was claimed. Each attempt has its own number.
    pub attempt: u32,
    /// How many of those attempts do not count against `max_attempts`.
    pub excused: u32,
    /// After so many attempts that count it is discarded.
    pub max_attempts: u16,
    /// An attempt that takes longer has failed.
    pub timeout: Duration,
    /// A second job of the same key is not enqueued.
    pub unique_key: Option<String>,
    /// The node of the last attempt.
    pub node: Option<String>,
    /// What went wrong, oldest first; at most [`crate::ERRORS_MAX`].
    pub errors: Vec<JobError>,
    /// How long the last attempt took.
    pub duration: Option<Duration>,
    /// When it was enqueued.
    pub inserted_at: Timestamp,
    /// When it is, or was last, to be performed.
    pub scheduled_at: Timestamp,
    /// When its last attempt began.
    pub attempted_at: Option<Timestamp>,
    /// When it was completed.
    pub completed_at: Option<Timestamp>,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// When it was discarded.
    pub discarded_at: Option<Timestamp>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What its maker notes about it; an object.
    pub meta: Value,
    /// What it answered, if that was small.
    pub result: Option<Value>,
    /// What the limits of the queue count it under.
    pub partition_key: Option<String>,
    /// Jobs of one key are performed one after another.
    pub chain_key: Option<String>,
    /// The workflow it is a step of.
    pub workflow_id: Option<Uuid>,
    /// Its name within the workflow.
    pub workflow_step: Option<String>,
    /// The batch it belongs to.
    pub batch_id: Option<Uuid>,
    /// How many other jobs have to end before this one is due.
    pub waits_for: u32,
}

impl JobRow {
    /// How many attempts count against `max_attempts`.
    #[must_use]
    pub const fn used_attempts(&self) -> u32 {
        self.attempt.saturating_sub(self.excused)
    }
}

/// What went wrong in one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// When.
    pub at: Timestamp,
    /// The number of the attempt.
    pub attempt: u32,
    /// What.
    pub error: String,
    /// Its chain of causes, or the place of a panic, a line each; empty if nothing is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
}

/// The columns a [`JobRow`] is read from, to be spliced into a statement.
macro_rules! job_columns {
    () => {
        "job.id, job.org_id, job.queue, job.name, job.state, job.args, job.scope, job.priority, \
         job.attempt, job.excused, job.max_attempts, job.timeout_ms, job.unique_key, job.node, \
         job.errors, job.duration_us, job.inserted_at, job.scheduled_at, job.attempted_at, \
         job.completed_at, job.cancelled_at, job.discarded_at, job.tags, job.meta, job.result, \
         job.partition_key, job.chain_key, job.workflow_id, job.workflow_step, job.batch_id, \
         job.waits_for"
    };
}
pub(crate) use job_columns;

/// All columns of a job, each after a prefix, to be spliced into a statement that moves it.
macro_rules! all_columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "id, ",
            $prefix,
            "org_id, ",
            $prefix,
            "queue, ",
            $prefix,
            "name, ",
            $prefix,
            "state, ",
            $prefix,
            "args, ",
            $prefix,
            "scope, ",
            $prefix,
            "priority, ",
            $prefix,
            "attempt, ",
            $prefix,
            "excused, ",
            $prefix,
            "max_attempts, ",
            $prefix,
            "timeout_ms, ",
            $prefix,
            "unique_key, ",
            $prefix,
            "node, ",
            $prefix,
            "errors, ",
            $prefix,
            "duration_us, ",
            $prefix,
            "inserted_at, ",
            $prefix,
            "scheduled_at, ",
            $prefix,
            "attempted_at, ",
            $prefix,
            "completed_at, ",
            $prefix,
            "cancelled_at, ",
            $prefix,
            "discarded_at, ",
            $prefix,
            "tags, ",
            $prefix,
            "meta, ",
            $prefix,
            "result, ",
            $prefix,
            "partition_key, ",
            $prefix,
            "chain_key, ",
            $prefix,
            "workflow_id, ",
            $prefix,
            "workflow_step, ",
            $prefix,
            "batch_id, ",
            $prefix,
            "waits_for, ",
            $prefix,
            "is_followed"
        )
    };
}
pub(crate) use all_columns;

impl FromRow<'_, PgRow> for JobRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let duration_us: Option<i64> = row.try_get("duration_us")?;
        Ok(Self {
            job_id: row.try_get("id")?,
            org_id: row.try_get("org_id")?,
            queue: row.try_get("queue")?,
            name: row.try_get("name")?,
            state: state(row)?,
            args: row.try_get("args")?,
            scope: row.try_get::<Json<Scope>, _>("scope")?.0,
            priority: row.try_get("priority")?,
            attempt: count(row, "attempt")?,
            excused: count(row, "excused")?,
            max_attempts: u16::try_from(count(row, "max_attempts")?).unwrap_or(u16::MAX),
            timeout: Duration::from_millis(row.try_get::<i64, _>("timeout_ms")?.unsigned_abs()),
            unique_key: row.try_get("unique_key")?,
            node: row.try_get("node")?,
            errors: row.try_get::<Json<Vec<JobError>>, _>("errors")?.0,
            duration: duration_us.map(|us| Duration::from_micros(us.unsigned_abs())),
            inserted_at: row.try_get("inserted_at")?,
            scheduled_at: row.try_get("scheduled_at")?,
            attempted_at: row.try_get("attempted_at")?,
            completed_at: row.try_get("completed_at")?,
            cancelled_at: row.try_get("cancelled_at")?,
            discarded_at: row.try_get("discarded_at")?,
            tags: row.try_get("tags")?,
            meta: row.try_get("meta")?,
            result: row.try_get("result")?,
            partition_key: row.try_get("partition_key")?,
            chain_key: row.try_get("chain_key")?,
            workflow_id: row.try_get("workflow_id")?,
            workflow_step: row.try_get("workflow_step")?,
            batch_id: row.try_get("batch_id")?,
            waits_for: count(row, "waits_for")?,
        })
    }
}

/// The state of a job.
pub(crate) fn state(row: &PgRow) -> Result<JobState, sqlx::Error> {
    let state: &str = row.try_get("state")?;
    JobState::from_name(state).ok_or_else(|| unreadable("state", state))
}

/// A column whose check constraint keeps it from being negative.
pub(crate) fn count(row: &PgRow, column: &str) -> Result<u32, sqlx::Error> {
    let count: i32 = row.try_get(column)?;
    u32::try_from(count).map_err(|_| unreadable(column, count))
}

fn unreadable(column: &str, value: impl fmt::Display) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("no {column} of a job is `{value}`").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_found_by_its_name() {
        for state in JobState::ALL {
            assert_eq!(JobState::from_name(state.name()), Some(state));
        }
    }
}
