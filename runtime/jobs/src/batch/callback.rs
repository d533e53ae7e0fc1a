//! What follows from a batch: counting its ends, and enqueueing each callback once.

use std::time::Duration;

use kernel::{JobId, OrgId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::insert::{self, Entry};
use crate::sweeper::Ended;
use crate::{EnqueueError, NewJob};

/// A callback as it is stored; its queue, organisation and batch stand beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredJob {
    job_id: JobId,
    name: String,
    args: Value,
    scope: Scope,
    max_attempts: u16,
    timeout_ms: u64,
    priority: i16,
    tags: Vec<String>,
    meta: Value,
    partition_key: Option<String>,
}

impl StoredJob {
    pub(super) fn of(job: &NewJob) -> Self {
        Self {
            job_id: job.job_id,
            name: job.name.clone(),
            args: job.args.clone(),
            scope: job.scope.clone(),
            max_attempts: job.max_attempts,
            timeout_ms: u64::try_from(job.timeout.as_millis()).unwrap_or(u64::MAX),
            priority: job.priority,
            tags: job.tags.clone(),
            meta: job.meta.clone(),
            partition_key: job.partition_key.clone(),
        }
    }
}

/// A callback that is to be enqueued.
pub(super) struct Callback<'e> {
    pub(super) batch_id: Uuid,
    pub(super) event: &'e str,
    pub(super) job: StoredJob,
}

impl Callback<'_> {
    pub(super) fn into_new(self, queue: &str, org_id: OrgId) -> NewJob {
        let StoredJob { job_id, name, args, mut scope, mut meta, .. } = self.job;
        scope.org_id = org_id;
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("batch_id".to_owned(), json!(self.batch_id));
            meta.insert("batch_event".to_owned(), json!(self.event));
        }
        NewJob {
            job_id,
            max_attempts: self.job.max_attempts,
            timeout: Duration::from_millis(self.job.timeout_ms),
            priority: self.job.priority,
            tags: self.job.tags,
            meta,
            partition_key: self.job.partition_key,
            ..NewJob::new(queue, name, args, scope)
        }
    }
}

/// Counts jobs that have ended to their batches, whose rows the caller has locked, and enqueues
/// what follows from that; the queues of what was enqueued.
pub(crate) async fn tell(
    connection: &mut PgConnection,
    ended: &[Ended],
    now: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    let batched: Vec<&Ended> = ended.iter().filter(|ended| ended.batch_id.is_some()).collect();
    if batched.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(
        "with counted as (
             select batch_id, queue, org_id,
                 count(*) filter (where state = 'completed')::int as completed,
                 count(*) filter (where state = 'cancelled')::int as cancelled,
                 count(*) filter (where state = 'discarded')::int as discarded,
                 count(*)::int as ended
             from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[])
                 as ended (batch_id, queue, org_id, state)
             group by batch_id, queue, org_id
         )
         update jobs.batches as batch
         set completed_count = batch.completed_count + counted.completed,
             cancelled_count = batch.cancelled_count + counted.cancelled,
             discarded_count = batch.discarded_count + counted.discarded,
             exhausted_at = coalesce(exhausted_at, case
                 when batch.completed_count + batch.cancelled_count + batch.discarded_count
                     + counted.ended >= batch.jobs_count then $5 end)
         from counted
         where batch.id = counted.batch_id and batch.queue = counted.queue
             and batch.org_id = counted.org_id",
    )
    .bind(batched.iter().map(|ended| ended.batch_id).collect::<Vec<_>>())
    .bind(batched.iter().map(|ended| ended.queue.as_str()).collect::<Vec<_>>())
    .bind(batched.iter().map(|ended| ended.org_id.uuid()).collect::<Vec<_>>())
    .bind(batched.iter().map(|ended| ended.state.as_str()).collect::<Vec<_>>())
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let batch_ids: Vec<Uuid> = batched.iter().filter_map(|ended| ended.batch_id).collect();
    let due = due_callbacks(connection, &batch_ids, now).await?;
    let entries = due.iter().map(|job| Entry::of(job, None)).collect();
    insert::place(connection, entries, Vec::new(), None, now).await.map_err(unplaced)?;
    Ok(due.into_iter().map(|job| job.queue).collect())
}

fn unplaced(error: EnqueueError) -> sqlx::Error {
    match error {
        EnqueueError::Database { source, .. } => source,
        other => sqlx::Error::Protocol(other.to_string()),
    }
}

/// The callbacks of these batches whose time has come, each of which is answered once.
async fn due_callbacks(
    connection: &mut PgConnection,
    batch_ids: &[Uuid],
    now: Timestamp,
) -> Result<Vec<NewJob>, sqlx::Error> {
    let rows = sqlx::query(
        "update jobs.batch_callbacks as callback set enqueued_at = $2
         from jobs.batches as batch
         where batch.id = any ($1) and callback.batch_id = batch.id
             and callback.queue = batch.queue and callback.org_id = batch.org_id
             and callback.enqueued_at is null
             and case callback.event
                 when 'completed' then batch.completed_count >= batch.jobs_count
                 when 'exhausted' then batch.exhausted_at is not null
                 when 'cancelled' then batch.cancelled_count > 0
                 when 'discarded' then batch.discarded_count > 0 end
         returning batch.id, batch.queue, batch.org_id, callback.event, callback.job",
    )
    .bind(batch_ids)
    .bind(now)
    .fetch_all(connection)
    .await?;
    let read = |row: &PgRow| {
        let job = row.try_get::<Json<StoredJob>, _>("job")?.0;
        let callback = Callback { batch_id: row.try_get("id")?, event: row.try_get("event")?, job };
        Ok(callback.into_new(row.try_get("queue")?, row.try_get("org_id")?))
    };
    rows.iter().map(read).collect()
}
