//! The end of an attempt: decided here without a database, then recorded in one guarded statement.
//!
//! **Invariant:** nothing is recorded for an attempt that no longer owns its job. The guard is the
//! number of the attempt together with the state `executing`; a rescue, a cancellation or a newer
//! attempt takes the job away from all slower ones at once.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use kernel::{JobId, Timestamp};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::job::{JobError, all_columns};
use crate::{Attempt, Failure, JobState, Outcome, Performed, backoff};

/// A job remembers so many errors, the latest. The statements below say `last - 19`.
pub const ERRORS_MAX: u8 = 20;
/// An error is cut off after so many characters.
const ERROR_CHARS_MAX: usize = 4_000;

/// How an attempt ended, and so what becomes of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Done.
    Completed,
    /// Not to be done.
    Cancelled { reason: String },
    /// Failed, and to be tried again.
    Retryable { error: String, until: Timestamp },
    /// Failed for the last time.
    Discarded { error: String },
    /// Did not count, because the job asked for more time.
    Snoozed { until: Timestamp },
    /// Did not count, because something it needs was away.
    Excused { error: String, until: Timestamp },
    /// Did not count, because its node had to let go of it.
    Released,
}

/// What becomes of the job of an attempt that gave this answer; `None` if that is committed.
pub(crate) fn decide(
    attempt: &Attempt,
    answer: Result<Performed, Failure>,
    now: Timestamp,
) -> Option<Ending> {
    Some(match answer {
        Ok(Performed::AlreadyCompleted) => return None,
        Ok(Performed::Outcome(Outcome::Complete)) => Ending::Completed,
        Ok(Performed::Outcome(Outcome::Cancel(reason))) | Err(Failure::Cancel(reason)) => {
            Ending::Cancelled { reason }
        }
        Ok(Performed::Outcome(Outcome::Snooze(period))) => {
            Ending::Snoozed { until: later(now, period) }
        }
        Err(Failure::Retry(error)) if attempt.is_last() => Ending::Discarded { error },
        Err(Failure::Retry(error)) => {
            let wait = backoff::retry(attempt.used(), attempt.job_id);
            Ending::Retryable { error, until: later(now, wait) }
        }
        Err(Failure::Unavailable(error)) => {
            let wait = backoff::excused(attempt.excused, attempt.job_id);
            Ending::Excused { error, until: later(now, wait) }
        }
    })
}

impl Ending {
    fn state(&self) -> JobState {
        match self {
            Self::Completed => JobState::Completed,
            Self::Cancelled { .. } => JobState::Cancelled,
            Self::Retryable { .. } | Self::Excused { .. } => JobState::Retryable,
            Self::Discarded { .. } => JobState::Discarded,
            Self::Snoozed { .. } => JobState::Scheduled,
            Self::Released => JobState::Available,
        }
    }

    fn error(&self) -> Option<&str> {
        match self {
            Self::Cancelled { reason: error }
            | Self::Retryable { error, .. }
            | Self::Discarded { error }
            | Self::Excused { error, .. } => Some(error),
            Self::Completed | Self::Snoozed { .. } | Self::Released => None,
        }
    }

    fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Retryable { until, .. }
            | Self::Excused { until, .. }
            | Self::Snoozed { until } => Some(*until),
            _ => None,
        }
    }

    fn is_excused(&self) -> bool {
        matches!(self, Self::Snoozed { .. } | Self::Excused { .. } | Self::Released)
    }
}

/// Completes a job in the caller's transaction, if this attempt still owns it.
///
/// `false` means that another attempt does, or that it was cancelled: the caller must roll back.
pub async fn complete(
    connection: &mut PgConnection,
    job_id: JobId,
    attempt: u32,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update jobs.jobs
         set state = 'completed', completed_at = $3, \
         duration_us = greatest(0, extract(epoch from $3 - attempted_at) * 1000000)::bigint
         where id = $1 and attempt = $2 and state = 'executing'",
    )
    .bind(job_id)
    .bind(stored(attempt))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How one attempt ended, and when.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) ending: Ending,
    pub(crate) at: Timestamp,
}

/// Records how attempts ended, in one statement; which of them still owned their job, in order.
///
/// A finished job leaves the queue at once, unless its end matters to others: then it is marked,
/// and swept.
pub(crate) async fn record(
    connection: &mut PgConnection,
    ended: &[Arc<Ended>],
) -> Result<Vec<bool>, sqlx::Error> {
    let each = || ended.iter();
    let error = |ended: &Arc<Ended>| {
        let error = ended.ending.error();
        error.map(|error| Json(job_error(ended.attempt.number, error, ended.at)))
    };
    let rows = sqlx::query(concat!(
        "with ending as materialized (
             select *, state in ('completed', 'cancelled', 'discarded') as is_final
             from unnest($1::uuid[], $2::int[], $3::text[], $4::timestamptz[], $5::int[], \
                 $6::jsonb[], $7::timestamptz[]) with ordinality
                 as ending (id, attempt, state, until, excused, error, at, number)
         ),
         kept as (
             update jobs.jobs as job
             set state = ending.state, scheduled_at = coalesce(ending.until, scheduled_at),
                 excused = job.excused + ending.excused,
                 errors = case when ending.error is null then errors else
                     jsonb_path_query_array(errors || ending.error, '$[last - 19 to last]') end,
                 completed_at = case when ending.state = 'completed' then ending.at end,
                 cancelled_at = case when ending.state = 'cancelled' then ending.at end,
                 discarded_at = case when ending.state = 'discarded' then ending.at end,
                 duration_us = greatest(0, extract(epoch from ending.at - attempted_at) * 1000000)::bigint
             from ending
             where job.id = ending.id and job.attempt = ending.attempt
                 and job.state = 'executing' and (job.is_followed or not ending.is_final)
             returning ending.number
         ),
         gone as (
             delete from jobs.jobs as job using ending
             where job.id = ending.id and job.attempt = ending.attempt
                 and job.state = 'executing' and ending.is_final and not job.is_followed
             returning ",
        all_columns!("job."),
        ", ending.number, ending.state as final_state, ending.error, ending.at
         ),
         finished as (
             insert into jobs.finished (",
        all_columns!(""),
        ")
             select ",
        all_columns!("gone."),
        " from (
                 select id, org_id, queue, name, final_state as state, args, scope, priority, \
                     attempt, excused, max_attempts, timeout_ms, unique_key, node,
                     case when error is null then errors else
                         jsonb_path_query_array(errors || error, '$[last - 19 to last]')
                         end as errors,
                     greatest(0, extract(epoch from at - attempted_at) * 1000000)::bigint
                         as duration_us,
                     inserted_at, scheduled_at, attempted_at,
                     case when final_state = 'completed' then at end as completed_at,
                     case when final_state = 'cancelled' then at end as cancelled_at,
                     case when final_state = 'discarded' then at end as discarded_at,
                     tags, meta, result, partition_key, chain_key, workflow_id, workflow_step, \
                     batch_id, waits_for, is_followed
                 from gone
             ) as gone
         )
         select number from kept union all select number from gone",
    ))
    .bind(each().map(|ended| ended.attempt.job_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|ended| stored(ended.attempt.number)).collect::<Vec<_>>())
    .bind(each().map(|ended| ended.ending.state().name()).collect::<Vec<_>>())
    .bind(each().map(|ended| ended.ending.until()).collect::<Vec<_>>())
    .bind(each().map(|ended| i32::from(ended.ending.is_excused())).collect::<Vec<_>>())
    .bind(each().map(error).collect::<Vec<_>>())
    .bind(each().map(|ended| ended.at).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut owned = vec![false; ended.len()];
    for row in rows {
        let number: i64 = row.try_get("number")?;
        owned[usize::try_from(number).unwrap_or(1) - 1] = true;
    }
    Ok(owned)
}

/// The error as it is remembered: no longer than it may be.
pub(crate) fn job_error(attempt: u32, error: &str, at: Timestamp) -> JobError {
    let error = match error.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &error[..end]),
        None => error.to_owned(),
    };
    // Postgres keeps no NUL in a jsonb string.
    JobError { at, attempt, error: error.replace('\0', "\u{fffd}") }
}

/// An attempt number as the table stores it.
pub(crate) fn stored(attempt: u32) -> i32 {
    i32::try_from(attempt).expect("attempt numbers come from an integer column")
}

pub(crate) fn later(now: Timestamp, period: Duration) -> Timestamp {
    let delta = TimeDelta::from_std(period).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(delta).unwrap_or(Timestamp::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use kernel::{OrgId, Scope};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn attempt(number: u32, excused: u32) -> Attempt {
        Attempt {
            job_id: JobId::new(),
            queue: "recruit".into(),
            name: "draft".into(),
            args: Value::Null,
            scope: Scope::system(OrgId::new(), "test", Uuid::now_v7()),
            number,
            excused,
            max_attempts: 3,
            timeout: Duration::from_secs(1),
            scheduled_at: DateTime::UNIX_EPOCH,
            attempted_at: DateTime::UNIX_EPOCH,
        }
    }

    fn state_after(attempt: &Attempt, answer: Result<Performed, Failure>) -> Option<JobState> {
        decide(attempt, answer, DateTime::UNIX_EPOCH).map(|ending| ending.state())
    }

    #[test]
    fn each_answer_leads_to_its_state() {
        let cases = [
            (Ok(Performed::AlreadyCompleted), None),
            (Ok(Performed::Outcome(Outcome::Complete)), Some(JobState::Completed)),
            (Ok(Performed::Outcome(Outcome::Cancel("no".into()))), Some(JobState::Cancelled)),
            (
                Ok(Performed::Outcome(Outcome::Snooze(Duration::from_secs(1)))),
                Some(JobState::Scheduled),
            ),
            (Err(Failure::Retry("again".into())), Some(JobState::Retryable)),
            (Err(Failure::Cancel("never".into())), Some(JobState::Cancelled)),
            (Err(Failure::Unavailable("away".into())), Some(JobState::Retryable)),
        ];

        for (answer, expected) in cases {
            assert_eq!(state_after(&attempt(1, 0), answer.clone()), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_job_is_discarded_when_its_counted_attempts_are_used_up() {
        let failed = || Err(Failure::Retry("again".into()));

        assert_eq!(state_after(&attempt(2, 0), failed()), Some(JobState::Retryable));
        assert_eq!(state_after(&attempt(3, 0), failed()), Some(JobState::Discarded));
        assert_eq!(state_after(&attempt(9, 7), failed()), Some(JobState::Retryable));
        assert_eq!(state_after(&attempt(9, 6), failed()), Some(JobState::Discarded));
    }

    #[test]
    fn an_outage_never_discards_a_job() {
        let away = Err(Failure::Unavailable("the database is away".into()));

        let ending = decide(&attempt(3, 0), away, DateTime::UNIX_EPOCH);

        assert!(ending.is_some_and(|ending| ending.is_excused()));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let error = job_error(1, &"ü".repeat(ERROR_CHARS_MAX + 1), DateTime::UNIX_EPOCH);

        assert_eq!(error.error.chars().count(), ERROR_CHARS_MAX + 1);
        assert!(error.error.ends_with('…'));
    }
}
