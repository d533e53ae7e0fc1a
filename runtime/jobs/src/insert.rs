//! Enqueueing: one statement in the transaction of whatever causes the work, for one job or many.
//!
//! Unique jobs take two more, for any number of them together; see [`crate::Unique`].

use std::collections::HashMap;

use kernel::{JobId, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::batch::{self, Batch, GrowError};
use crate::dependency::{self, Dependency};
use crate::{BadJob, JobState, NewJob, chain, unique};

/// Arguments larger than this belong into a table of the domain; the job carries their id.
pub const ARGS_BYTES_MAX: usize = 256 * 1024;

/// So many jobs are inserted by one statement.
const INSERT_MAX: usize = 1_000;

/// What became of a job that was to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in its queue.
    New(JobId),
    /// This earlier job makes it superfluous, so it was not enqueued.
    Duplicate(JobId),
    /// The same, and the earlier job has taken the fields that it was to take.
    Replaced(JobId),
}

impl Enqueued {
    /// The job that is in the queue now.
    #[must_use]
    pub const fn job_id(self) -> JobId {
        match self {
            Self::New(job_id) | Self::Duplicate(job_id) | Self::Replaced(job_id) => job_id,
        }
    }
}

/// A job was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The arguments are too large.
    #[error("the arguments of job `{name}` are {bytes} bytes long, more than {ARGS_BYTES_MAX}")]
    ArgsTooLarge {
        /// The name of the job.
        name: String,
        /// The size of its arguments.
        bytes: usize,
    },
    /// It breaks a rule for jobs.
    #[error("job `{name}` cannot be enqueued: {rule}")]
    Malformed {
        /// The name of the job.
        name: String,
        /// The rule.
        rule: BadJob,
    },
    /// Its batch has ended, is not the queue's own or does not exist.
    #[error("batch {batch_id} takes no more jobs")]
    NoOpenBatch {
        /// The batch.
        batch_id: Uuid,
    },
    /// The database refused or failed.
    #[error("could not enqueue job `{name}` into queue `{queue}`")]
    Database {
        /// The name of the job.
        name: String,
        /// The queue.
        queue: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

/// Enqueues a job in the caller's transaction, under the caller's role: a domain reaches its own
/// queue for the tenant at hand, the runtime every queue.
///
/// The queue hears of it through [`crate::Queues::nudge`], which the caller does after its commit.
///
/// # Errors
/// [`EnqueueError`]; the caller's transaction must then be rolled back.
pub async fn enqueue(
    connection: &mut PgConnection,
    job: &NewJob,
    now: Timestamp,
) -> Result<Enqueued, EnqueueError> {
    let enqueued = enqueue_all(connection, std::slice::from_ref(job), now).await?;
    Ok(enqueued[0])
}

/// Enqueues many jobs as [`enqueue`] does one, and says what became of each, in their order.
///
/// # Errors
/// [`EnqueueError`]; the caller's transaction must then be rolled back.
pub async fn enqueue_all(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    now: Timestamp,
) -> Result<Vec<Enqueued>, EnqueueError> {
    enqueue_founding(connection, jobs, None, now).await
}

/// The same, and the batch of these jobs is made.
pub(crate) async fn enqueue_founding(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    founding: Option<&Batch>,
    now: Timestamp,
) -> Result<Vec<Enqueued>, EnqueueError> {
    jobs.iter().try_for_each(NewJob::check)?;
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let failed = |source| EnqueueError::Database {
        name: first.name.clone(),
        queue: first.queue.clone(),
        source,
    };
    let keys: Vec<Option<String>> = jobs.iter().map(unique::key_of).collect();
    let mut enqueued = decide(connection, jobs, &keys, now).await.map_err(failed)?;
    let (mut new, mut superfluous) = (Vec::with_capacity(jobs.len()), Vec::new());
    for ((job, key), enqueued) in jobs.iter().zip(&keys).zip(&enqueued) {
        match enqueued {
            Enqueued::New(_) => new.push(Entry::of(job, key.as_deref())),
            Enqueued::Duplicate(holder) | Enqueued::Replaced(holder) => {
                superfluous.push((*holder, job));
            }
        }
    }
    place(connection, new, Vec::new(), founding, now).await?;
    let replaced = unique::replace(connection, &superfluous, now).await.map_err(failed)?;
    for enqueued in &mut enqueued {
        if let Enqueued::Duplicate(holder) = *enqueued
            && replaced.contains(&holder)
        {
            *enqueued = Enqueued::Replaced(holder);
        }
    }
    Ok(enqueued)
}

/// Which of `jobs` are new, given those that are there and those before them in the same call.
async fn decide(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    keys: &[Option<String>],
    now: Timestamp,
) -> Result<Vec<Enqueued>, sqlx::Error> {
    let holders = unique::holders(connection, jobs, keys, now).await?;
    let mut taken: HashMap<_, &NewJob> = HashMap::new();
    let decided = jobs.iter().zip(keys).zip(holders).map(|((job, key), holder)| {
        let Some(key) = key else { return Enqueued::New(job.job_id) };
        let place = (&job.queue, job.scope.org_id, key);
        let before = taken.get(&place).filter(|before| unique::counts_for(state(before, now), job));
        match holder.or_else(|| before.map(|before| before.job_id)) {
            Some(holder) if holder != job.job_id => Enqueued::Duplicate(holder),
            _ => {
                taken.insert(place, job);
                Enqueued::New(job.job_id)
            }
        }
    });
    Ok(decided.collect())
}

fn state(job: &NewJob, now: Timestamp) -> JobState {
    match job.scheduled_at {
        Some(scheduled_at) if scheduled_at > now => JobState::Scheduled,
        _ => JobState::Available,
    }
}

/// A new job and its place among others.
#[derive(Debug)]
pub(crate) struct Entry<'j> {
    pub(crate) job: &'j NewJob,
    key: Option<&'j str>,
    /// The workflow and the name of its step.
    pub(crate) step: Option<(Uuid, &'j str)>,
    /// For the ends of so many others.
    pub(crate) waits_for: i32,
    pub(crate) is_followed: bool,
}

impl<'j> Entry<'j> {
    pub(crate) fn of(job: &'j NewJob, key: Option<&'j str>) -> Self {
        let is_followed = job.batch_id.is_some();
        Self { job, key, step: None, waits_for: 0, is_followed }
    }

    fn state(&self, now: Timestamp) -> JobState {
        if self.waits_for > 0 { JobState::Scheduled } else { state(self.job, now) }
    }
}

/// Puts new jobs into their queues, batches and chains, in that order for everybody, and has them
/// wait for what they depend on.
pub(crate) async fn place(
    connection: &mut PgConnection,
    mut entries: Vec<Entry<'_>>,
    mut dependencies: Vec<Dependency>,
    founding: Option<&Batch>,
    now: Timestamp,
) -> Result<(), EnqueueError> {
    let Some(first) = entries.first().map(|entry| entry.job) else { return Ok(()) };
    let failed = |source| EnqueueError::Database {
        name: first.name.clone(),
        queue: first.queue.clone(),
        source,
    };
    batch::grow(connection, &entries, founding, now).await.map_err(|error| match error {
        GrowError::NoOpenBatch(batch_id) => EnqueueError::NoOpenBatch { batch_id },
        GrowError::Database(source) => failed(source),
    })?;
    dependencies.extend(chain::link(connection, &mut entries).await.map_err(failed)?);
    for entries in entries.chunks(INSERT_MAX) {
        insert(connection, entries, now).await.map_err(failed)?;
    }
    dependency::insert(connection, &dependencies).await.map_err(failed)
}

async fn insert(
    connection: &mut PgConnection,
    entries: &[Entry<'_>],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let each = || entries.iter().map(|entry| entry.job);
    // Tags as JSON, because Postgres has no array of arrays of different lengths. Most jobs have
    // none, and no notes; and what is absent need not be read.
    let tags = |job: &NewJob| (!job.tags.is_empty()).then(|| Value::from(job.tags.clone()));
    let meta = |job: &NewJob| job.meta.as_object().is_none_or(|meta| !meta.is_empty());
    sqlx::query(
        "insert into jobs.jobs (id, org_id, queue, name, state, args, scope, priority, \
         max_attempts, timeout_ms, unique_key, inserted_at, scheduled_at, tags, meta, \
         partition_key, chain_key, batch_id, workflow_id, workflow_step, waits_for, is_followed)
         select id, org_id, queue, name, state, args, scope, priority, max_attempts, timeout_ms, \
             unique_key, $12, scheduled_at, \
             case when tags is null then '{}' else \
                 array(select jsonb_array_elements_text(tags)) end, \
             coalesce(meta, '{}'), \
             jobs.partition_of(partition_by, partition_key, org_id, name, args), chain_key, \
             batch_id, workflow_id, workflow_step, waits_for, is_followed
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], \
             $7::jsonb[], $8::smallint[], $9::int[], $10::bigint[], $11::text[], \
             $13::timestamptz[], $14::jsonb[], $15::jsonb[], $16::text[], $17::text[], \
             $18::uuid[], $19::uuid[], $20::text[], $21::int[], $22::boolean[])
             with ordinality
             as job (id, org_id, queue, name, state, args, scope, priority, max_attempts, \
             timeout_ms, unique_key, scheduled_at, tags, meta, partition_key, chain_key, \
             batch_id, workflow_id, workflow_step, waits_for, is_followed, number)
         left join jobs.queues using (queue)
         order by number",
    )
    .bind(each().map(|job| job.job_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|job| job.scope.org_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|job| job.queue.as_str()).collect::<Vec<_>>())
    .bind(each().map(|job| job.name.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.state(now).name()).collect::<Vec<_>>())
    .bind(each().map(|job| &job.args).collect::<Vec<_>>())
    .bind(each().map(|job| Json(&job.scope)).collect::<Vec<_>>())
    .bind(each().map(|job| job.priority).collect::<Vec<_>>())
    .bind(each().map(|job| i32::from(job.max_attempts)).collect::<Vec<_>>())
    .bind(each().map(timeout_ms).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.key).collect::<Vec<_>>())
    .bind(now)
    .bind(each().map(|job| job.scheduled_at.unwrap_or(now)).collect::<Vec<_>>())
    .bind(each().map(tags).collect::<Vec<_>>())
    .bind(each().map(|job| meta(job).then_some(&job.meta)).collect::<Vec<_>>())
    .bind(each().map(|job| job.partition_key.as_deref()).collect::<Vec<_>>())
    .bind(each().map(chain_key).collect::<Vec<_>>())
    .bind(each().map(|job| job.batch_id).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.step.map(|(id, _)| id)).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.step.map(|(_, step)| step)).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.waits_for).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.is_followed).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn chain_key(job: &NewJob) -> Option<&str> {
    Some(job.chain.as_ref()?.key.as_str())
}

fn timeout_ms(job: &NewJob) -> i64 {
    i64::try_from(job.timeout.as_millis()).unwrap_or(i64::MAX)
}

/// The earlier job that makes `job` superfluous, if there is one.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn find_duplicate(
    connection: &mut PgConnection,
    job: &NewJob,
    now: Timestamp,
) -> Result<Option<JobId>, sqlx::Error> {
    let keys = [unique::key_of(job)];
    let holders = unique::find_holders(connection, std::slice::from_ref(job), &keys, now).await?;
    Ok(holders.into_iter().next().flatten())
}
