//! Enqueueing: one statement in the transaction of whatever causes the work, for one job or many.
//!
//! Jobs with a unique key take two more: inserters of one key take turns by a lock that lasts until
//! their transaction ends, and the second sees what the first has done.

use std::collections::{BTreeSet, HashMap};

use kernel::{JobId, OrgId, Timestamp};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{JobState, NewJob};

/// Arguments larger than this belong into a table of the domain; the job carries their id.
pub const ARGS_BYTES_MAX: usize = 256 * 1024;

/// So many jobs are inserted by one statement.
const INSERT_MAX: usize = 1_000;

/// What became of a job that was to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in its queue.
    New(JobId),
    /// This job has had the same unique key before, so no second one was enqueued.
    Duplicate(JobId),
}

impl Enqueued {
    /// The job that is in the queue now.
    #[must_use]
    pub const fn job_id(self) -> JobId {
        match self {
            Self::New(job_id) | Self::Duplicate(job_id) => job_id,
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
    jobs.iter().try_for_each(must_be_small)?;
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let failed = |source| EnqueueError::Database {
        name: first.name.clone(),
        queue: first.queue.clone(),
        source,
    };
    let mut taken = taken_keys(connection, jobs).await.map_err(failed)?;
    let mut enqueued = Vec::with_capacity(jobs.len());
    let mut new = Vec::with_capacity(jobs.len());
    for job in jobs {
        let holder = job
            .unique_key
            .as_deref()
            .map(|key| *taken.entry((&job.queue, job.scope.org_id, key)).or_insert(job.job_id));
        enqueued.push(match holder {
            Some(holder) if holder != job.job_id => Enqueued::Duplicate(holder),
            _ => {
                new.push(job);
                Enqueued::New(job.job_id)
            }
        });
    }
    for new in new.chunks(INSERT_MAX) {
        insert(connection, new, now).await.map_err(failed)?;
    }
    Ok(enqueued)
}

fn must_be_small(job: &NewJob) -> Result<(), EnqueueError> {
    let bytes = job.args.to_string().len();
    if bytes > ARGS_BYTES_MAX {
        return Err(EnqueueError::ArgsTooLarge { name: job.name.clone(), bytes });
    }
    Ok(())
}

/// What a key is unique in.
type Key<'j> = (&'j str, OrgId, &'j str);

/// The jobs that hold the keys of `jobs` already. Nobody else takes one of them until the caller's
/// transaction ends.
async fn taken_keys<'j>(
    connection: &mut PgConnection,
    jobs: &'j [NewJob],
) -> Result<HashMap<Key<'j>, JobId>, sqlx::Error> {
    let keys = jobs
        .iter()
        .filter_map(|job| Some((job.queue.as_str(), job.scope.org_id, job.unique_key.as_deref()?)));
    // In one order for everybody, so that two who want the same keys do not wait for each other.
    let keys: BTreeSet<Key<'j>> = keys.collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let queues: Vec<&str> = keys.iter().map(|(queue, ..)| *queue).collect();
    let org_ids: Vec<Uuid> = keys.iter().map(|(_, org_id, _)| org_id.uuid()).collect();
    let names: Vec<&str> = keys.iter().map(|(.., key)| *key).collect();
    // Two statements, because the second must see what was committed while the first waited.
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended(queue || '/' || org_id || '/' || key, 0))
         from unnest($1::text[], $2::uuid[], $3::text[]) as wanted (queue, org_id, key)",
    )
    .bind(&queues)
    .bind(&org_ids)
    .bind(&names)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "select wanted.number, job.id
         from unnest($1::text[], $2::uuid[], $3::text[]) with ordinality
             as wanted (queue, org_id, key, number)
         cross join lateral (
             select id from jobs.every_job as job
             where job.queue = wanted.queue and job.org_id = wanted.org_id
                 and job.unique_key = wanted.key
             limit 1
         ) as job",
    )
    .bind(&queues)
    .bind(&org_ids)
    .bind(&names)
    .fetch_all(connection)
    .await?;
    let keys: Vec<Key<'j>> = keys.into_iter().collect();
    rows.iter()
        .map(|row| {
            let number: i64 = row.try_get("number")?;
            let key = keys[usize::try_from(number).unwrap_or(1) - 1];
            Ok((key, row.try_get("id")?))
        })
        .collect()
}

async fn insert(
    connection: &mut PgConnection,
    jobs: &[&NewJob],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let each = || jobs.iter();
    let scheduled_at = |job: &NewJob| job.scheduled_at.unwrap_or(now);
    let state = |job: &NewJob| {
        if scheduled_at(job) > now { JobState::Scheduled } else { JobState::Available }
    };
    // Tags as JSON, because Postgres has no array of arrays of different lengths.
    sqlx::query(
        "insert into jobs.jobs (id, org_id, queue, name, state, args, scope, priority, \
         max_attempts, timeout_ms, unique_key, inserted_at, scheduled_at, tags, meta, \
         partition_key)
         select id, org_id, queue, name, state, args, scope, priority, max_attempts, timeout_ms, \
             unique_key, $12, scheduled_at, \
             array(select jsonb_array_elements_text(tags)), meta, partition_key
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], \
             $7::jsonb[], $8::smallint[], $9::int[], $10::bigint[], $11::text[], \
             $13::timestamptz[], $14::jsonb[], $15::jsonb[], $16::text[])
             as job (id, org_id, queue, name, state, args, scope, priority, max_attempts, \
             timeout_ms, unique_key, scheduled_at, tags, meta, partition_key)",
    )
    .bind(each().map(|job| job.job_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|job| job.scope.org_id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|job| job.queue.as_str()).collect::<Vec<_>>())
    .bind(each().map(|job| job.name.as_str()).collect::<Vec<_>>())
    .bind(each().map(|job| state(job).name()).collect::<Vec<_>>())
    .bind(each().map(|job| &job.args).collect::<Vec<_>>())
    .bind(each().map(|job| Json(&job.scope)).collect::<Vec<_>>())
    .bind(each().map(|job| job.priority).collect::<Vec<_>>())
    .bind(each().map(|job| i32::from(job.max_attempts)).collect::<Vec<_>>())
    .bind(each().map(|job| timeout_ms(job)).collect::<Vec<_>>())
    .bind(each().map(|job| job.unique_key.as_deref()).collect::<Vec<_>>())
    .bind(now)
    .bind(each().map(|job| scheduled_at(job)).collect::<Vec<_>>())
    .bind(each().map(|job| Value::from(job.tags.clone())).collect::<Vec<_>>())
    .bind(each().map(|job| &job.meta).collect::<Vec<_>>())
    .bind(each().map(|job| job.partition_key.as_deref()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn timeout_ms(job: &NewJob) -> i64 {
    i64::try_from(job.timeout.as_millis()).unwrap_or(i64::MAX)
}

/// The job that has the unique key of `job`, if there is one.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn find_duplicate(
    connection: &mut PgConnection,
    job: &NewJob,
) -> Result<Option<JobId>, sqlx::Error> {
    let row = sqlx::query(
        "select id from jobs.every_job where queue = $1 and org_id = $2 and unique_key = $3
         limit 1",
    )
    .bind(&job.queue)
    .bind(job.scope.org_id)
    .bind(&job.unique_key)
    .fetch_optional(connection)
    .await?;
    row.map(|row| row.try_get("id")).transpose()
}
