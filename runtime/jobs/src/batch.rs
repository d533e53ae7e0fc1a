//! Batches: jobs that are counted together, and what is enqueued when something has happened to
//! them.
//!
//! A batch has a row that counts how its jobs ended, in the transaction that sweeps them. Whoever
//! adds jobs holds that row until his transaction ends. So a callback is enqueued exactly once, and
//! never before a job that was added in time.

mod callback;

use std::collections::BTreeMap;

use kernel::{OrgId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::insert::{self, Entry};
use crate::job::count;
use crate::{EnqueueError, Enqueued, NewJob, enqueue_all};
pub(crate) use callback::tell;
use callback::{Callback, StoredJob};

/// Something that happens to a batch once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BatchEvent {
    /// All of its jobs have completed; perhaps only after some were retried.
    Completed,
    /// All of its jobs have ended, each in its way.
    Exhausted,
    /// The first of its jobs was cancelled.
    Cancelled,
    /// The first of its jobs was discarded.
    Discarded,
}

impl BatchEvent {
    const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
        }
    }
}

/// A batch to be enqueued: jobs of one queue and organisation, and what follows from them.
///
/// # Examples
///
/// ```
/// # use jobs::{Batch, BatchEvent, NewJob};
/// # fn example(invoices: Vec<NewJob>, report: NewJob, alarm: NewJob) -> Batch {
/// Batch::new("invoices of March", invoices)
///     .when(BatchEvent::Completed, report)
///     .when(BatchEvent::Discarded, alarm)
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its identifier.
    pub batch_id: Uuid,
    name: String,
    jobs: Vec<NewJob>,
    callbacks: BTreeMap<BatchEvent, NewJob>,
}

impl Batch {
    /// A batch of these jobs. It may be empty, and is then exhausted and completed at once.
    #[must_use]
    pub fn new(name: impl Into<String>, jobs: impl IntoIterator<Item = NewJob>) -> Self {
        let batch_id = Uuid::now_v7();
        let mut jobs: Vec<_> = jobs.into_iter().collect();
        for job in &mut jobs {
            job.batch_id = Some(batch_id);
        }
        Self { batch_id, name: name.into(), jobs, callbacks: BTreeMap::new() }
    }

    /// Enqueues this job when that has happened, once; at most one for each event. It finds in its
    /// `meta` what happened (`batch_event`) to which batch (`batch_id`).
    #[must_use]
    pub fn when(mut self, event: BatchEvent, job: NewJob) -> Self {
        self.callbacks.insert(event, job);
        self
    }

    /// The queue and the organisation of all its jobs.
    fn place(&self) -> Result<(&str, OrgId), BatchError> {
        let mut every = self.jobs.iter().chain(self.callbacks.values());
        let place = |job: &NewJob| (job.queue.clone(), job.scope.org_id);
        let Some(first) = every.next() else { return Err(BatchError::Nothing) };
        match every.find(|job| place(job) != place(first)) {
            Some(other) => Err(BatchError::Elsewhere { name: other.name.clone() }),
            None => Ok((&first.queue, first.scope.org_id)),
        }
    }

    fn check(&self) -> Result<(), BatchError> {
        let is_special = |job: &&NewJob| {
            let is_unique = job.unique.is_some() || job.unique_key.is_some();
            is_unique || job.chain.is_some() || job.batch_id.is_some()
        };
        match self.callbacks.values().find(is_special) {
            Some(job) => Err(BatchError::Callback { name: job.name.clone() }),
            None => Ok(()),
        }
    }
}

/// A batch was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// There is neither a job nor a callback.
    #[error("a batch has at least one job or callback")]
    Nothing,
    /// A job is of another queue or organisation than the first.
    #[error("job `{name}` is of another queue or organisation than the first of its batch")]
    Elsewhere {
        /// The name of the job.
        name: String,
    },
    /// A callback is not an ordinary job.
    #[error("the callback `{name}` of a batch may be neither unique nor in a chain or batch")]
    Callback {
        /// The name of the job.
        name: String,
    },
    /// A job was not enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database refused or failed.
    #[error("could not enqueue a batch")]
    Database(#[from] sqlx::Error),
}

/// How far a batch is. Jobs are counted when they are swept, a moment after their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchProgress {
    /// What it was called.
    pub name: String,
    /// How many jobs it has.
    pub jobs: u32,
    /// How many of them have completed.
    pub completed: u32,
    /// How many were cancelled.
    pub cancelled: u32,
    /// How many were discarded.
    pub discarded: u32,
    /// Since when all had ended.
    pub exhausted_at: Option<Timestamp>,
}

impl BatchProgress {
    /// How many jobs have not ended.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.jobs.saturating_sub(self.completed + self.cancelled + self.discarded)
    }
}

/// Enqueues a batch as [`enqueue_all`] does its jobs, and says what became of each. A job that an
/// earlier one makes superfluous is not counted.
///
/// More jobs join it by their `batch_id`, for as long as one of it has not ended: one of its own
/// jobs can always add others.
///
/// # Errors
/// [`BatchError`]; the caller's transaction must then be rolled back.
pub async fn enqueue_batch(
    connection: &mut PgConnection,
    batch: &Batch,
    now: Timestamp,
) -> Result<Vec<Enqueued>, BatchError> {
    batch.check()?;
    let (queue, org_id) = batch.place()?;
    let enqueued = insert::enqueue_founding(connection, &batch.jobs, Some(batch), now).await?;
    let is_empty = !enqueued.iter().any(|enqueued| matches!(enqueued, Enqueued::New(_)));
    if is_empty {
        found(connection, batch, 0, now).await?;
    }
    let mut at_once = Vec::new();
    for (event, job) in &batch.callbacks {
        job.check()?;
        let stored = StoredJob::of(job);
        let happened = matches!(event, BatchEvent::Completed | BatchEvent::Exhausted) && is_empty;
        insert_callback(connection, batch, *event, &stored, happened.then_some(now)).await?;
        if happened {
            let callback = Callback { batch_id: batch.batch_id, event: event.name(), job: stored };
            at_once.push(callback.into_new(queue, org_id));
        }
    }
    enqueue_all(connection, &at_once, now).await?;
    Ok(enqueued)
}

/// How far a batch is, if the caller may know of it.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn batch_progress(
    connection: &mut PgConnection,
    batch_id: Uuid,
) -> Result<Option<BatchProgress>, sqlx::Error> {
    let row = sqlx::query(
        "select name, jobs_count, completed_count, cancelled_count, discarded_count, exhausted_at
         from jobs.batches where id = $1",
    )
    .bind(batch_id)
    .fetch_optional(connection)
    .await?;
    let read = |row: PgRow| {
        Ok(BatchProgress {
            name: row.try_get("name")?,
            jobs: count(&row, "jobs_count")?,
            completed: count(&row, "completed_count")?,
            cancelled: count(&row, "cancelled_count")?,
            discarded: count(&row, "discarded_count")?,
            exhausted_at: row.try_get("exhausted_at")?,
        })
    };
    row.map(read).transpose()
}

async fn found(
    connection: &mut PgConnection,
    batch: &Batch,
    jobs_count: i32,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let place = batch.place().ok();
    sqlx::query(
        "insert into jobs.batches (id, queue, org_id, name, jobs_count, inserted_at, exhausted_at)
         values ($1, $2, $3, $4, $5, $6, case when $5 = 0 then $6 end)",
    )
    .bind(batch.batch_id)
    .bind(place.map(|(queue, _)| queue))
    .bind(place.map(|(_, org_id)| org_id))
    .bind(&batch.name)
    .bind(jobs_count)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_callback(
    connection: &mut PgConnection,
    batch: &Batch,
    event: BatchEvent,
    job: &StoredJob,
    enqueued_at: Option<Timestamp>,
) -> Result<(), sqlx::Error> {
    let place = batch.place().ok();
    sqlx::query(
        "insert into jobs.batch_callbacks (batch_id, queue, org_id, event, job, enqueued_at)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(batch.batch_id)
    .bind(place.map(|(queue, _)| queue))
    .bind(place.map(|(_, org_id)| org_id))
    .bind(event.name())
    .bind(Json(job))
    .bind(enqueued_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts new jobs to their batches, which nobody else adds to or counts in until the transaction
/// ends; `founding` is made.
pub(crate) async fn grow(
    connection: &mut PgConnection,
    entries: &[Entry<'_>],
    founding: Option<&Batch>,
    now: Timestamp,
) -> Result<(), GrowError> {
    let mut joining: BTreeMap<(Uuid, &str, OrgId), i32> = BTreeMap::new();
    for job in entries.iter().map(|entry| entry.job) {
        let Some(batch_id) = job.batch_id else { continue };
        *joining.entry((batch_id, &job.queue, job.scope.org_id)).or_default() += 1;
    }
    for ((batch_id, queue, org_id), added) in joining {
        if let Some(batch) = founding.filter(|batch| batch.batch_id == batch_id) {
            found(connection, batch, added, now).await?;
            continue;
        }
        let grown = sqlx::query(
            "update jobs.batches set jobs_count = jobs_count + $4
             where id = $1 and queue = $2 and org_id = $3 and exhausted_at is null",
        )
        .bind(batch_id)
        .bind(queue)
        .bind(org_id)
        .bind(added)
        .execute(&mut *connection)
        .await?;
        if grown.rows_affected() == 0 {
            return Err(GrowError::NoOpenBatch(batch_id));
        }
    }
    Ok(())
}

/// Jobs did not join their batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrowError {
    #[error("batch {0} takes no more jobs")]
    NoOpenBatch(Uuid),
    #[error("could not reach the batches")]
    Database(#[from] sqlx::Error),
}
