//! How long jobs are remembered that ended: by state, and by queue where an operator said so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use kernel::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::Part;
use crate::{JobState, Queues, database};

/// Stands for every queue that has no line of its own.
pub const EVERY_QUEUE: &str = "*";

/// The states in which jobs are remembered, and for how long unless somebody says otherwise: what
/// went well for a week, what did not for a month.
const DEFAULTS: [(JobState, TimeDelta); 3] = [
    (JobState::Completed, TimeDelta::days(7)),
    (JobState::Cancelled, TimeDelta::days(30)),
    (JobState::Discarded, TimeDelta::days(30)),
];

/// How long jobs of a queue are remembered that ended in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The queue, or [`EVERY_QUEUE`].
    pub queue: String,
    /// The state they ended in.
    pub state: JobState,
    /// How long they are remembered.
    pub keep: Duration,
    /// When an operator said so; absent for what holds by itself.
    pub updated_at: Option<Timestamp>,
}

/// What holds, the defaults first.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(queues: &Queues) -> Result<Vec<Retention>, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let lines = lines(&mut transaction).await?;
    transaction.commit().await?;
    Ok(with_defaults(lines))
}

/// Has jobs of a queue, or of [`EVERY_QUEUE`], that ended in `state` remembered for so long, from
/// the next round on and on every node. At least a second.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn remember(
    queues: &Queues,
    queue: &str,
    state: JobState,
    keep: Duration,
) -> Result<(), sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    sqlx::query(
        "insert into jobs.retention as retention (queue, state, keep_s, updated_at)
         values ($1, $2, $3, $4)
         on conflict (queue, state) do update
         set keep_s = excluded.keep_s, updated_at = excluded.updated_at",
    )
    .bind(queue)
    .bind(state.name())
    .bind(i64::try_from(keep.as_secs().max(1)).unwrap_or(i64::MAX))
    .bind(queues.now())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Takes back what was said of a queue or of [`EVERY_QUEUE`]; whether anything was.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn forget(queues: &Queues, queue: &str, state: JobState) -> Result<bool, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let done = sqlx::query("delete from jobs.retention where queue = $1 and state = $2")
        .bind(queue)
        .bind(state.name())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(done.rows_affected() > 0)
}

/// What a round has to delete, one part for each walk along an index.
pub(super) async fn plan(
    connection: &mut PgConnection,
    now: Timestamp,
) -> Result<Vec<Part>, sqlx::Error> {
    let retentions = with_defaults(lines(connection).await?);
    let mut parts = Vec::new();
    for (state, _) in DEFAULTS {
        let of_state = retentions.iter().filter(|retention| retention.state == state);
        let keep: BTreeMap<&str, Duration> =
            of_state.map(|retention| (retention.queue.as_str(), retention.keep)).collect();
        let others = keep[EVERY_QUEUE];
        // A walk along the ends of all queues must not have to step over what is kept longer.
        let one_by_one = keep.values().any(|keep| *keep > others);
        let queues = if one_by_one { queues_with(connection, state).await? } else { Vec::new() };
        let named = keep.keys().copied().filter(|queue| *queue != EVERY_QUEUE);
        let queues: BTreeSet<&str> = queues.iter().map(String::as_str).chain(named).collect();
        let part = |queue: Option<&str>, keep| Part {
            state,
            queue: queue.map(str::to_owned),
            ended_before: before(now, keep),
        };
        parts.extend(
            queues.iter().map(|queue| part(Some(queue), *keep.get(queue).unwrap_or(&others))),
        );
        if !one_by_one {
            parts.push(part(None, others));
        }
    }
    Ok(parts)
}

fn before(now: Timestamp, keep: Duration) -> Timestamp {
    let keep = TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(keep).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn with_defaults(lines: Vec<Retention>) -> Vec<Retention> {
    let is_said = |state| {
        lines.iter().any(|line: &Retention| line.queue == EVERY_QUEUE && line.state == state)
    };
    let defaults = DEFAULTS.into_iter().filter(|(state, _)| !is_said(*state));
    let mut retentions: Vec<_> = defaults
        .map(|(state, keep)| Retention {
            queue: EVERY_QUEUE.to_owned(),
            state,
            keep: keep.to_std().expect("the defaults are positive"),
            updated_at: None,
        })
        .collect();
    retentions.extend(lines);
    retentions
}

async fn lines(connection: &mut PgConnection) -> Result<Vec<Retention>, sqlx::Error> {
    let rows = sqlx::query(
        "select queue, state, keep_s, updated_at from jobs.retention order by queue, state",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().filter_map(|row| read(row).transpose()).collect()
}

fn read(row: &PgRow) -> Result<Option<Retention>, sqlx::Error> {
    let keep_s: i64 = row.try_get("keep_s")?;
    let Some(state) = JobState::from_name(row.try_get("state")?) else { return Ok(None) };
    Ok(Some(Retention {
        queue: row.try_get("queue")?,
        state,
        keep: Duration::from_secs(keep_s.unsigned_abs()),
        updated_at: row.try_get("updated_at")?,
    }))
}

/// The queues with jobs that ended in a state, by one look into an index for each.
async fn queues_with(
    connection: &mut PgConnection,
    state: JobState,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with recursive known (queue) as (
             (select queue from jobs.finished order by queue limit 1)
             union all
             select (select job.queue from jobs.finished as job
                     where job.queue > known.queue order by job.queue limit 1)
             from known where known.queue is not null
         )
         select queue from known
         where queue is not null and exists (
             select from jobs.finished as job
             where job.queue = known.queue and job.state = $1
         )",
    )
    .bind(state.name())
    .fetch_all(connection)
    .await
}
