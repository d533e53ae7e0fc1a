//! Chains: jobs of one key are performed one after another, in the order of their commits.
//!
//! A chain has a row that names its last job. Whoever adds to the chain holds that row until his
//! transaction ends, waits for the last job if it is still in its queue, and becomes the last. So
//! inserters of one key take turns, and what was committed first is first.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{JobId, OrgId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::dependency::{self, Dependency, Downstream};
use crate::insert::Entry;
use crate::{JobState, NewJob};

/// The chain that a job belongs to, within its queue and organisation: it starts only when the job
/// before it has ended, however long that takes and however often that one is retried.
///
/// # Examples
///
/// ```
/// // Payments of one account in their order; after one that failed for good, none.
/// let chain = jobs::Chain::by("account:4711").hold_if_discarded();
/// # let _ = chain;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub(crate) key: String,
    if_cancelled: Downstream,
    if_discarded: Downstream,
}

impl Chain {
    /// The chain of this key. It goes on when a job of it is cancelled or discarded.
    #[must_use]
    pub fn by(key: impl Into<String>) -> Self {
        let (if_cancelled, if_discarded) = (Downstream::Ignore, Downstream::Ignore);
        Self { key: key.into(), if_cancelled, if_discarded }
    }

    /// If the one before it is cancelled, this job waits until that one is retried and completes.
    #[must_use]
    pub const fn hold_if_cancelled(mut self) -> Self {
        self.if_cancelled = Downstream::Hold;
        self
    }

    /// If the one before it is discarded, this job waits until that one is retried and completes.
    #[must_use]
    pub const fn hold_if_discarded(mut self) -> Self {
        self.if_discarded = Downstream::Hold;
        self
    }

    /// Whether the job waits for one before it that ended so.
    fn holds_after(&self, state: JobState) -> bool {
        match state {
            JobState::Cancelled => self.if_cancelled == Downstream::Hold,
            JobState::Discarded => self.if_discarded == Downstream::Hold,
            _ => false,
        }
    }
}

/// What a chain is told apart by.
type Key = (String, OrgId, String);

fn key_of(job: &NewJob) -> Option<Key> {
    let chain = job.chain.as_ref()?;
    Some((job.queue.clone(), job.scope.org_id, chain.key.clone()))
}

/// Adds new jobs to their chains, each of them in the order given, and answers whom they wait for.
/// They must be inserted in the same transaction.
pub(crate) async fn link(
    connection: &mut PgConnection,
    entries: &mut [Entry<'_>],
) -> Result<Vec<Dependency>, sqlx::Error> {
    let keys: BTreeSet<Key> = entries.iter().filter_map(|entry| key_of(entry.job)).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut tails = hold(connection, &keys).await?;
    let last: Vec<JobId> = tails.values().flatten().copied().collect();
    let mut waiting_for = dependency::keep(connection, &last).await?;
    let ended = ended(connection, &last, &waiting_for).await?;
    let mut links = Vec::new();
    for entry in entries.iter_mut() {
        let (Some(key), Some(chain)) = (key_of(entry.job), &entry.job.chain) else { continue };
        let tail = tails.entry(key).or_default();
        let holds =
            |before: &JobId| ended.get(before).is_some_and(|state| chain.holds_after(*state));
        if let Some(before) = tail.filter(|before| waiting_for.contains(before) || holds(before)) {
            entry.waits_for += 1;
            links.push(Dependency {
                job_id: entry.job.job_id,
                depends_on: before,
                queue: entry.job.queue.clone(),
                org_id: entry.job.scope.org_id,
                workflow_id: None,
                if_cancelled: chain.if_cancelled,
                if_discarded: chain.if_discarded,
                is_met: false,
            });
        }
        *tail = Some(entry.job.job_id);
        waiting_for.insert(entry.job.job_id);
        entry.is_followed = true;
    }
    set_tails(connection, &tails).await?;
    Ok(links)
}

/// Has jobs that came back after their end was told join their chains at the end, so that none runs
/// beside those that have gone on. One for which the next of its chain waits keeps its place.
pub(crate) async fn rejoin(
    connection: &mut PgConnection,
    job_ids: &[Uuid],
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "select job.id, job.queue, job.org_id, job.chain_key from jobs.jobs as job
         where job.id = any ($1) and job.chain_key is not null and not exists (
             select from jobs.dependencies as link
             join jobs.jobs as waiting on waiting.id = link.job_id
             where link.depends_on = job.id and link.workflow_id is null
         )
         order by job.id",
    )
    .bind(job_ids)
    .fetch_all(&mut *connection)
    .await?;
    let read = |row: &PgRow| {
        let key = (row.try_get("queue")?, row.try_get("org_id")?, row.try_get("chain_key")?);
        Ok((row.try_get("id")?, key))
    };
    let back: Vec<(JobId, Key)> = rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?;
    if back.is_empty() {
        return Ok(());
    }
    let keys = back.iter().map(|(_, key)| key.clone()).collect();
    let mut tails = hold(connection, &keys).await?;
    let last: Vec<JobId> = tails.values().flatten().copied().collect();
    let mut waiting_for = dependency::keep(connection, &last).await?;
    let mut links = Vec::new();
    for (job_id, key) in back {
        let (queue, org_id, _) = key.clone();
        let tail = tails.entry(key).or_default();
        let is_before = |before: &JobId| *before != job_id && waiting_for.contains(before);
        if let Some(depends_on) = tail.filter(is_before) {
            let (if_cancelled, if_discarded) = (Downstream::Ignore, Downstream::Ignore);
            let (workflow_id, is_met) = (None, false);
            links.push(Dependency {
                job_id,
                depends_on,
                queue,
                org_id,
                workflow_id,
                if_cancelled,
                if_discarded,
                is_met,
            });
        }
        *tail = Some(job_id);
        waiting_for.insert(job_id);
    }
    set_tails(connection, &tails).await?;
    dependency::insert(connection, &links).await
}

/// The last job of each chain, if it has one. Nobody else adds to these chains until the
/// transaction ends.
async fn hold(
    connection: &mut PgConnection,
    keys: &BTreeSet<Key>,
) -> Result<BTreeMap<Key, Option<JobId>>, sqlx::Error> {
    // In one order for everybody. The update changes nothing, but it locks what is there and
    // answers it, in the one statement that also makes what is not.
    let rows = sqlx::query(
        "insert into jobs.chains as chain (queue, org_id, chain_key)
         select queue, org_id, chain_key
         from unnest($1::text[], $2::uuid[], $3::text[])
             with ordinality as wanted (queue, org_id, chain_key, number)
         order by number
         on conflict (queue, org_id, chain_key) do update set tail = chain.tail
         returning queue, org_id, chain_key, tail",
    )
    .bind(keys.iter().map(|(queue, ..)| queue.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, org_id, _)| org_id.uuid()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(.., key)| key.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let read = |row: &PgRow| {
        let key = (row.try_get("queue")?, row.try_get("org_id")?, row.try_get("chain_key")?);
        Ok((key, row.try_get("tail")?))
    };
    rows.iter().map(read).collect()
}

/// How those of `last` ended that are not in their queue any more.
async fn ended(
    connection: &mut PgConnection,
    last: &[JobId],
    kept: &BTreeSet<JobId>,
) -> Result<BTreeMap<JobId, JobState>, sqlx::Error> {
    let gone: Vec<JobId> = last.iter().copied().filter(|job_id| !kept.contains(job_id)).collect();
    if gone.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query("select id, state from jobs.finished where id = any ($1)")
        .bind(gone)
        .fetch_all(connection)
        .await?;
    let read = |row: &PgRow| {
        let state = JobState::from_name(row.try_get("state")?);
        Ok((row.try_get("id")?, state.unwrap_or(JobState::Completed)))
    };
    rows.iter().map(read).collect()
}

async fn set_tails(
    connection: &mut PgConnection,
    tails: &BTreeMap<Key, Option<JobId>>,
) -> Result<(), sqlx::Error> {
    let each = || tails.iter();
    sqlx::query(
        "update jobs.chains as chain set tail = wanted.tail
         from unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[])
             as wanted (queue, org_id, chain_key, tail)
         where chain.queue = wanted.queue and chain.org_id = wanted.org_id
             and chain.chain_key = wanted.chain_key",
    )
    .bind(each().map(|((queue, ..), _)| queue.as_str()).collect::<Vec<_>>())
    .bind(each().map(|((_, org_id, _), _)| org_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|((.., key), _)| key.as_str()).collect::<Vec<_>>())
    .bind(each().map(|(_, tail)| tail.map(JobId::uuid)).collect::<Vec<Option<Uuid>>>())
    .execute(connection)
    .await?;
    Ok(())
}
