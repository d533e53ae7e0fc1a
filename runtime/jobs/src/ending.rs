//! The end of an attempt: decided here without a database, then recorded in one guarded statement.
//!
//! **Invariant:** nothing is recorded for an attempt that no longer owns its job. The guard is the
//! number of the attempt together with the state `executing`; a rescue, a cancellation or a newer
//! attempt takes the job away from all slower ones at once.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use kernel::{JobId, Timestamp};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::job::{JobError, all_columns};
use crate::observe::News;
use crate::{Attempt, Failure, JobState, Outcome, Performed, backoff};

/// A job remembers so many errors, the latest. The statements below say `last - 19`.
pub const ERRORS_MAX: u8 = 20;
/// An error is cut off after so many characters, and so is its stack.
const ERROR_CHARS_MAX: usize = 4_000;
/// A result longer than this, as JSON, is not kept.
pub const RESULT_BYTES_MAX: usize = 8 * 1024;

/// How an attempt ended, and so what becomes of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Done.
    Completed,
    /// Done, with a result that is small enough to keep.
    CompletedWith { result: Value },
    /// Not to be done.
    Cancelled { reason: String, stack: Vec<String> },
    /// Failed, and to be tried again.
    Retryable { error: String, stack: Vec<String>, until: Timestamp },
    /// Failed for good.
    Discarded { error: String, stack: Vec<String> },
    /// Did not count, because the job asked for more time.
    Snoozed { until: Timestamp },
    /// Did not count, because something it needs was away.
    Excused { error: String, stack: Vec<String>, until: Timestamp },
    /// Did not count, because its node had to let go of it.
    Released,
}

/// What becomes of the job of an attempt that gave this answer; `None` if that is committed.
pub(crate) fn decide(
    attempt: &Attempt,
    answer: Result<Performed, Failure>,
    now: Timestamp,
) -> Option<Ending> {
    match answer {
        Ok(Performed::AlreadyCompleted) => None,
        Ok(Performed::Outcome(outcome)) => Some(of_outcome(outcome, now)),
        Err(failure) => Some(of_failure(attempt, failure, now)),
    }
}

fn of_outcome(outcome: Outcome, now: Timestamp) -> Ending {
    match outcome {
        Outcome::Complete => Ending::Completed,
        Outcome::CompleteWith(result) => match if_small(result) {
            Some(result) => Ending::CompletedWith { result },
            None => Ending::Completed,
        },
        Outcome::Cancel(reason) => Ending::Cancelled { reason, stack: Vec::new() },
        Outcome::Discard(error) => Ending::Discarded { error, stack: Vec::new() },
        Outcome::Snooze(period) => Ending::Snoozed { until: later(now, period) },
    }
}

fn of_failure(attempt: &Attempt, failure: Failure, now: Timestamp) -> Ending {
    let (failure, stack) = failure.untraced();
    match failure {
        Failure::Cancel(reason) => Ending::Cancelled { reason, stack },
        Failure::Discard(error) => Ending::Discarded { error, stack },
        Failure::Unavailable(error) => {
            let wait = backoff::excused(attempt.excused, attempt.job_id);
            Ending::Excused { error, stack, until: later(now, wait) }
        }
        Failure::Retry(error) | Failure::RetryIn { error, .. } if attempt.is_last() => {
            Ending::Discarded { error, stack }
        }
        Failure::RetryIn { error, wait } => {
            Ending::Retryable { error, stack, until: later(now, wait) }
        }
        // Nothing is traced any more.
        Failure::Traced { failure, .. } => of_failure(attempt, *failure, now),
        Failure::Retry(error) => {
            let wait = backoff::retry(attempt.used(), attempt.job_id);
            Ending::Retryable { error, stack, until: later(now, wait) }
        }
    }
}

/// The result, unless it is nothing, too long to be kept with a job, or no text for Postgres. What
/// the job did has happened, so it is no reason to fail it.
fn if_small(result: Value) -> Option<Value> {
    if result.is_null() {
        return None;
    }
    let text = result.to_string();
    if text.len() > RESULT_BYTES_MAX || text.contains("\\u0000") {
        tracing::warn!(bytes = text.len(), "the result of a job cannot be kept with it");
        return None;
    }
    Some(result)
}

impl Ending {
    fn state(&self) -> JobState {
        match self {
            Self::Completed | Self::CompletedWith { .. } => JobState::Completed,
            Self::Cancelled { .. } => JobState::Cancelled,
            Self::Retryable { .. } | Self::Excused { .. } => JobState::Retryable,
            Self::Discarded { .. } => JobState::Discarded,
            Self::Snoozed { .. } => JobState::Scheduled,
            Self::Released => JobState::Available,
        }
    }

    pub(crate) fn is_final(&self) -> bool {
        self.state().is_final()
    }

    /// What the job remembers of it.
    fn job_error(&self, attempt: u32, at: Timestamp) -> Option<JobError> {
        match self {
            Self::Cancelled { reason: error, stack }
            | Self::Retryable { error, stack, .. }
            | Self::Discarded { error, stack }
            | Self::Excused { error, stack, .. } => {
                Some(JobError { stack: shortened(stack), ..job_error(attempt, error, at) })
            }
            _ => None,
        }
    }

    /// What is told of it.
    pub(crate) fn news(&self) -> News {
        match self {
            Self::Completed | Self::CompletedWith { .. } => News::Completed,
            Self::Cancelled { reason, .. } => News::Cancelled { reason: reason.clone() },
            Self::Retryable { error, until, .. } => {
                News::Failed { error: error.clone(), until: *until }
            }
            Self::Discarded { error, .. } => News::Discarded { error: error.clone() },
            Self::Snoozed { until } => News::Snoozed { until: *until },
            Self::Excused { .. } | Self::Released => News::Excused,
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
    complete_with(connection, job_id, attempt, None, now).await
}

/// The same, and keeps the result with the job if it is no longer than [`RESULT_BYTES_MAX`].
pub async fn complete_with(
    connection: &mut PgConnection,
    job_id: JobId,
    attempt: u32,
    result: Option<Value>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "update jobs.jobs
         set state = 'completed', completed_at = $3, result = $4, \
         duration_us = greatest(0, extract(epoch from $3 - attempted_at) * 1000000)::bigint
         where id = $1 and attempt = $2 and state = 'executing'",
    )
    .bind(job_id)
    .bind(stored(attempt))
    .bind(now)
    .bind(result.and_then(if_small))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The guard, for a table of attempts: the job is found by its primary key, one after another.
///
/// It is written so that Postgres knows no other way to it. Told plainly, it compares each attempt
/// with each job that executes as long as its statistics say that there are none, which is when a
/// queue begins to be busy.
macro_rules! is_owner {
    ($ended:literal) => {
        concat!(
            "job.id = any (array[",
            $ended,
            ".id]) and job.attempt - ",
            $ended,
            ".attempt = 0 and coalesce(job.state, '') = 'executing'"
        )
    };
}

/// How one attempt ended, and when.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) attempt: Arc<Attempt>,
    pub(crate) ending: Ending,
    pub(crate) at: Timestamp,
}

/// The statement of [`record`].
const RECORD: &str = concat!(
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
                 duration_us =
                     greatest(0, extract(epoch from ending.at - attempted_at) * 1000000)::bigint
             from ending
             where ",
    is_owner!("ending"),
    " and (job.is_followed or not ending.is_final)
             returning ending.number
         ),
         gone as (
             delete from jobs.jobs as job using ending
             where ",
    is_owner!("ending"),
    " and ending.is_final and not job.is_followed
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
);

/// Records how attempts ended, in one statement; which of them still owned their job, in order.
///
/// A finished job leaves the queue at once, unless its end matters to others: then it is marked,
/// and swept.
pub(crate) async fn record(
    connection: &mut PgConnection,
    ended: &[Arc<Ended>],
) -> Result<Vec<bool>, sqlx::Error> {
    keep_results(connection, ended).await?;
    let each = || ended.iter();
    let error =
        |ended: &Arc<Ended>| ended.ending.job_error(ended.attempt.number, ended.at).map(Json);
    let rows = sqlx::query(RECORD)
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

/// Keeps what attempts answered with the jobs they still own, before these are moved. Few answer
/// anything, so it is no part of the statement that all pay for.
async fn keep_results(
    connection: &mut PgConnection,
    ended: &[Arc<Ended>],
) -> Result<(), sqlx::Error> {
    let answered = ended.iter().filter_map(|ended| match &ended.ending {
        Ending::CompletedWith { result } => Some((&ended.attempt, result)),
        _ => None,
    });
    let answered: Vec<_> = answered.collect();
    if answered.is_empty() {
        return Ok(());
    }
    sqlx::query(concat!(
        "update jobs.jobs as job set result = answered.result
         from unnest($1::uuid[], $2::int[], $3::jsonb[]) as answered (id, attempt, result)
         where ",
        is_owner!("answered"),
    ))
    .bind(answered.iter().map(|(attempt, _)| attempt.job_id.uuid()).collect::<Vec<_>>())
    .bind(answered.iter().map(|(attempt, _)| stored(attempt.number)).collect::<Vec<_>>())
    .bind(answered.iter().map(|(_, result)| *result).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The error as it is remembered: no longer than it may be.
pub(crate) fn job_error(attempt: u32, error: &str, at: Timestamp) -> JobError {
    let error = match error.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &error[..end]),
        None => error.to_owned(),
    };
    JobError { at, attempt, error: without_nul(&error), stack: Vec::new() }
}

/// The lines of a stack that fit.
fn shortened(stack: &[String]) -> Vec<String> {
    let mut left = ERROR_CHARS_MAX;
    let fits = |line: &&String| {
        let is_short = line.chars().count() <= left;
        left -= line.chars().count().min(left);
        is_short
    };
    stack.iter().take_while(fits).map(|line| without_nul(line)).collect()
}

/// Postgres keeps no NUL in a jsonb string.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
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
            tags: Vec::new(),
            meta: Value::Null,
            is_followed: false,
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
            (Ok(Performed::Outcome(Outcome::Discard("look".into()))), Some(JobState::Discarded)),
            (Ok(Performed::Outcome(Outcome::CompleteWith(1.into()))), Some(JobState::Completed)),
            (Err(Failure::Cancel("never".into())), Some(JobState::Cancelled)),
            (Err(Failure::Discard("look".into())), Some(JobState::Discarded)),
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
    fn a_failure_that_names_a_time_is_retried_then_and_still_used_up() {
        let wait = Duration::from_mins(7);
        let failed = || Err(Failure::RetryIn { error: "too fast".into(), wait });

        let ending = decide(&attempt(1, 0), failed(), DateTime::UNIX_EPOCH);

        let until = later(DateTime::UNIX_EPOCH, wait);
        assert_eq!(ending.and_then(|ending| ending.until()), Some(until));
        assert_eq!(state_after(&attempt(3, 0), failed()), Some(JobState::Discarded));
    }

    #[test]
    fn the_causes_of_a_failure_are_remembered_as_far_as_they_fit() {
        let long = "ü".repeat(ERROR_CHARS_MAX);
        let failed = Failure::Retry("no answer".into());
        let failed = failed.traced(vec!["no route".into(), "\0".into(), long]);

        let ending = decide(&attempt(1, 0), Err(failed), DateTime::UNIX_EPOCH);

        let error = ending.and_then(|ending| ending.job_error(1, DateTime::UNIX_EPOCH));
        assert_eq!(
            error.map(|error| error.stack),
            Some(vec!["no route".into(), "\u{fffd}".into()])
        );
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
