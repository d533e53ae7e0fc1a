//! Unique jobs: which earlier job makes a new one superfluous, and what becomes of the two.
//!
//! Inserters of one key take turns by a lock that lasts until their transaction ends, and then
//! look: the second sees what the first has done, or that it was rolled back. So the rules may be
//! any that a look can decide (states, a period), which an index could not.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use kernel::{Digest, JobId, OrgId, Timestamp};
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, Row};

use crate::{JobState, NewJob};

/// By which rules a job is unique, always within its queue and organisation.
///
/// Only jobs that were enqueued with the same kind of key count: one that was enqueued without
/// being unique never makes another superfluous.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use jobs::{Replace, Unique};
///
/// // At most one invoice per order and hour; a later one brings newer arguments.
/// let unique = Unique::by_keys(["order_id"])
///     .within(Duration::from_hours(1))
///     .replacing([Replace::Args]);
/// # let _ = unique;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    by: By,
    states: Vec<JobState>,
    period: Option<Duration>,
    replace: Vec<Replace>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Name,
    Args,
    Keys(Vec<String>),
}

/// A field of a waiting job that takes the value of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// What the performer is given.
    Args,
    /// From 0 (first) to 9 (last).
    Priority,
    /// When it is to be performed.
    ScheduledAt,
    /// The words to find it by.
    Tags,
    /// What its maker notes about it.
    Meta,
    /// After how many failed attempts it is discarded.
    MaxAttempts,
}

impl Unique {
    /// One job of its name, whatever its arguments.
    #[must_use]
    pub fn by_name() -> Self {
        Self::by(By::Name)
    }

    /// One job of its name with exactly these arguments.
    #[must_use]
    pub fn by_args() -> Self {
        Self::by(By::Args)
    }

    /// One job of its name in whose arguments these keys have the same values. A key that is
    /// absent counts as `null`.
    #[must_use]
    pub fn by_keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self::by(By::Keys(keys.into_iter().map(Into::into).collect()))
    }

    /// The states that count, and no end to the period, unless said otherwise: all but `cancelled`
    /// and `discarded`, so that what was given up may be enqueued again.
    fn by(by: By) -> Self {
        let counts = |state: &JobState| !matches!(state, JobState::Cancelled | JobState::Discarded);
        let states = JobState::ALL.into_iter().filter(counts).collect();
        Self { by, states, period: None, replace: Vec::new() }
    }

    /// Only an earlier job in one of these states counts.
    #[must_use]
    pub fn among(mut self, states: impl IntoIterator<Item = JobState>) -> Self {
        self.states = states.into_iter().collect();
        self
    }

    /// Only an earlier job counts that has not ended.
    #[must_use]
    pub fn until_it_ends(self) -> Self {
        self.among(JobState::ALL.into_iter().filter(|state| !state.is_final()))
    }

    /// Only an earlier job counts that was enqueued less than this time ago. Otherwise one counts
    /// for as long as it is remembered.
    #[must_use]
    pub fn within(mut self, period: Duration) -> Self {
        self.period = Some(period);
        self
    }

    /// An earlier job that waits takes these fields of the new one, which is then not enqueued.
    #[must_use]
    pub fn replacing(mut self, fields: impl IntoIterator<Item = Replace>) -> Self {
        self.replace = fields.into_iter().collect();
        self
    }

    /// What jobs of one key have in common.
    fn key(&self, job: &NewJob) -> String {
        let name = &job.name;
        let text = match &self.by {
            By::Name => return format!("unique:{name}"),
            By::Args => canonical(&job.args),
            By::Keys(keys) => {
                let value = |key: &String| job.args.get(key).cloned().unwrap_or_default();
                let chosen: Map<_, _> = keys.iter().map(|key| (key.clone(), value(key))).collect();
                canonical(&Value::Object(chosen))
            }
        };
        // An index takes no key of any length.
        format!("unique:{name}:{}", Digest::of(text.as_bytes()))
    }
}

/// The text of a value, the same whatever the order of its keys was.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let entry = |(key, value): (&String, &Value)| {
                format!("{}:{}", Value::from(key.as_str()), canonical(value))
            };
            let entries: Vec<_> = entries.into_iter().map(entry).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(canonical).collect();
            format!("[{}]", values.join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// The key of a job that has one: its own, or that of its rules.
pub(crate) fn key_of(job: &NewJob) -> Option<String> {
    job.unique_key.clone().or_else(|| Some(job.unique.as_ref()?.key(job)))
}

/// What a job with a key looks for.
struct Wanted<'j> {
    queue: &'j str,
    org_id: OrgId,
    key: &'j str,
    states: String,
    since: Option<Timestamp>,
}

impl<'j> Wanted<'j> {
    fn of(job: &'j NewJob, key: &'j str, now: Timestamp) -> Self {
        // A key without rules holds in every state and for ever.
        let states = job.unique.as_ref().map_or(&JobState::ALL[..], |unique| &unique.states);
        let period = job.unique.as_ref().and_then(|unique| unique.period);
        let since = period.map(|period| {
            let period = TimeDelta::from_std(period).unwrap_or(TimeDelta::MAX);
            now.checked_sub_signed(period).unwrap_or(Timestamp::MIN_UTC)
        });
        let states = states.iter().map(|state| state.name()).collect::<Vec<_>>().join(",");
        Self { queue: &job.queue, org_id: job.scope.org_id, key, states, since }
    }
}

/// For each of `jobs`, the earlier job that makes it superfluous, if there is one. Nobody else
/// enqueues a job of these keys until the caller's transaction ends.
pub(crate) async fn holders(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    keys: &[Option<String>],
    now: Timestamp,
) -> Result<Vec<Option<JobId>>, sqlx::Error> {
    // Two statements, because the second must see what was committed while the first waited.
    lock(connection, jobs, keys).await?;
    find_holders(connection, jobs, keys, now).await
}

/// Takes the locks of these keys, which last until the transaction ends.
async fn lock(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    keys: &[Option<String>],
) -> Result<(), sqlx::Error> {
    let keyed = jobs.iter().zip(keys);
    let keys: BTreeSet<_> = keyed
        .filter_map(|(job, key)| Some((&job.queue, job.scope.org_id, key.as_deref()?)))
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    // In one order for everybody, so that two who want the same keys do not wait for each other.
    sqlx::query(
        "select pg_advisory_xact_lock(number) from (
             select distinct hashtextextended(queue || '/' || org_id || '/' || key, 0) as number
             from unnest($1::text[], $2::uuid[], $3::text[]) as wanted (queue, org_id, key)
             order by number
         ) as locks",
    )
    .bind(keys.iter().map(|(queue, ..)| queue.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, org_id, _)| org_id.uuid()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(.., key)| *key).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// The same as [`holders`], without keeping anybody from taking a key.
pub(crate) async fn find_holders(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    keys: &[Option<String>],
    now: Timestamp,
) -> Result<Vec<Option<JobId>>, sqlx::Error> {
    let mut holders = vec![None; jobs.len()];
    let keyed = (0_usize..).zip(jobs.iter().zip(keys));
    let (places, wanted): (Vec<_>, Vec<_>) = keyed
        .filter_map(|(place, (job, key))| Some((place, Wanted::of(job, key.as_deref()?, now))))
        .unzip();
    if wanted.is_empty() {
        return Ok(holders);
    }
    let each = || wanted.iter();
    let rows = sqlx::query(
        "select wanted.number, job.id
         from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[])
             with ordinality as wanted (queue, org_id, key, states, since, number)
         cross join lateral (
             select id from jobs.every_job as job
             where job.queue = wanted.queue and job.org_id = wanted.org_id
                 and job.unique_key = wanted.key
                 and job.state = any (string_to_array(wanted.states, ','))
                 and (wanted.since is null or job.inserted_at > wanted.since)
             limit 1
         ) as job",
    )
    .bind(each().map(|wanted| wanted.queue).collect::<Vec<_>>())
    .bind(each().map(|wanted| wanted.org_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|wanted| wanted.key).collect::<Vec<_>>())
    .bind(each().map(|wanted| wanted.states.as_str()).collect::<Vec<_>>())
    .bind(each().map(|wanted| wanted.since).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for row in rows {
        let number: i64 = row.try_get("number")?;
        let place = places[usize::try_from(number).unwrap_or(1) - 1];
        holders[place] = Some(row.try_get("id")?);
    }
    Ok(holders)
}

/// Whether `job`, which is enqueued by the same call, makes another of its key superfluous that
/// was enqueued with the rules of `other`.
pub(crate) fn counts_for(state: JobState, other: &NewJob) -> bool {
    other.unique.as_ref().is_none_or(|unique| unique.states.contains(&state))
}

/// Gives waiting jobs the fields of those that were not enqueued because of them, and says which
/// it could: one that has begun meanwhile stays what it is.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    superfluous: &[(JobId, &NewJob)],
    now: Timestamp,
) -> Result<BTreeSet<JobId>, sqlx::Error> {
    let wanted = |(_, job): &&(JobId, &NewJob)| {
        job.unique.as_ref().is_some_and(|unique| !unique.replace.is_empty())
    };
    let replacing: Vec<_> = superfluous.iter().filter(wanted).collect();
    // Of several that replace the same job the last is right; a statement would take any.
    let mut rounds: Vec<Vec<(JobId, Value)>> = Vec::new();
    for (holder, job) in replacing {
        let is_free = |round: &&mut Vec<(JobId, Value)>| round.iter().all(|(id, _)| id != holder);
        let change = (*holder, changes(job, now));
        match rounds.last_mut().filter(is_free) {
            Some(round) => round.push(change),
            None => rounds.push(vec![change]),
        }
    }
    let mut replaced = BTreeSet::new();
    for (job_ids, changes) in rounds.into_iter().map(|round| round.into_iter().unzip()) {
        let (job_ids, changes): (Vec<JobId>, Vec<Value>) = (job_ids, changes);
        let done: Vec<JobId> =
            sqlx::query_scalar("select jobs.replace_waiting($1::uuid[], $2::jsonb[], $3)")
                .bind(job_ids)
                .bind(changes)
                .bind(now)
                .fetch_all(&mut *connection)
                .await?;
        replaced.extend(done);
    }
    Ok(replaced)
}

/// The fields that a job gives to the one that is kept in its place.
fn changes(job: &NewJob, now: Timestamp) -> Value {
    let fields = job.unique.as_ref().map_or(&[][..], |unique| &unique.replace);
    let change = |field: &Replace| match field {
        Replace::Args => ("args".to_owned(), job.args.clone()),
        Replace::Priority => ("priority".to_owned(), json!(job.priority)),
        Replace::ScheduledAt => ("scheduled_at".to_owned(), json!(job.scheduled_at.unwrap_or(now))),
        Replace::Tags => ("tags".to_owned(), json!(job.tags)),
        Replace::Meta => ("meta".to_owned(), job.meta.clone()),
        Replace::MaxAttempts => ("max_attempts".to_owned(), json!(job.max_attempts)),
    };
    Value::Object(fields.iter().map(change).collect())
}

#[cfg(test)]
mod tests {
    use kernel::Scope;
    use uuid::Uuid;

    use super::*;

    fn job(args: Value) -> NewJob {
        NewJob::new("recruit", "draft", args, Scope::system(OrgId::new(), "test", Uuid::now_v7()))
    }

    #[test]
    fn jobs_have_the_same_key_when_what_they_are_unique_by_is_the_same() {
        let cases = [
            (Unique::by_name(), json!({ "a": 1 }), json!({ "a": 2 }), true),
            (Unique::by_args(), json!({ "a": 1, "b": [2] }), json!({ "b": [2], "a": 1 }), true),
            (Unique::by_args(), json!({ "a": 1 }), json!({ "a": "1" }), false),
            (Unique::by_keys(["a"]), json!({ "a": 1, "b": 1 }), json!({ "a": 1, "b": 2 }), true),
            (Unique::by_keys(["a"]), json!({ "a": 1 }), json!({ "a": 2 }), false),
            (Unique::by_keys(["a"]), json!({ "a": null }), json!({}), true),
            (Unique::by_keys(["a", "b"]), json!({ "a": 1 }), json!({ "b": 1 }), false),
        ];

        for (unique, one, other, expected) in cases {
            let same = unique.key(&job(one.clone())) == unique.key(&job(other.clone()));
            assert_eq!(same, expected, "{unique:?}: {one} and {other}");
        }
    }

    #[test]
    fn what_was_given_up_does_not_count_unless_asked_for() {
        let mut given_up = job(json!({}));
        given_up.unique = Some(Unique::by_name());

        assert!(counts_for(JobState::Completed, &given_up));
        assert!(!counts_for(JobState::Discarded, &given_up));
        given_up.unique = Some(Unique::by_name().among(JobState::ALL));
        assert!(counts_for(JobState::Discarded, &given_up));
        given_up.unique = Some(Unique::by_name().until_it_ends());
        assert!(!counts_for(JobState::Completed, &given_up));
    }
}
