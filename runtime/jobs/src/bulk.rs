//! Bulk operations: one change to every job that fits a filter, in the background.
//!
//! An operator asks, and a duty does it in batches. Each batch is a transaction that changes jobs
//! and notes how far it is, so that a node which dies in between has done nothing that another
//! would do again, and whichever node looks next goes on.
//!
//! **Invariant:** the cursor only falls. A job is looked at once, even if the change moves it.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use kernel::{JobId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use crate::admin::{AdminError, Change, FilterError, JobCount, JobFilter, list_jobs, preview};
use crate::{JobRow, Queues, database};

mod run;

pub use run::{advance, child};

/// So many jobs are shown before anything is done to them.
pub const SAMPLE: u32 = 10;
/// So many bulk operations are listed.
pub const BULKS_MAX: u32 = 100;
/// One that ended is remembered for so long.
const REMEMBERED: TimeDelta = TimeDelta::days(30);

/// The columns a [`Bulk`] is read from.
macro_rules! columns {
    () => {
        "id, change, filter, asked_by, state, cursor, total, done, refused, refusals, failure, \
         started_at, updated_at, ended_at"
    };
}
use columns;

/// How far a bulk operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkState {
    /// It goes on, on whatever node is up.
    Running,
    /// Every job was looked at.
    Done,
    /// Somebody stopped it; what it has changed stays so.
    Cancelled,
    /// It cannot go on; what it has changed stays so.
    Failed,
}

impl BulkState {
    const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];

    /// The name used in storage and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A bulk operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// Its identifier.
    pub bulk_id: Uuid,
    /// What is done to each job.
    pub change: Change,
    /// To which, as it was typed.
    pub filter: String,
    /// Who asked for it.
    pub asked_by: String,
    /// How far it is.
    pub state: BulkState,
    /// How many jobs fitted when it began; absent until they are counted.
    pub total: Option<u64>,
    /// How many it has changed.
    pub done: u64,
    /// How many it has left as they are.
    pub refused: u64,
    /// For what reason how many.
    pub refusals: BTreeMap<String, u64>,
    /// Why it cannot go on.
    pub failure: Option<String>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it last noted how far it is.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    cursor: JobId,
}

/// What a bulk operation would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// How many jobs fit now.
    pub fits: JobCount,
    /// How many of these would be left as they are, for what reason.
    pub refusals: BTreeMap<String, u64>,
    /// The newest of them.
    pub sample: Vec<JobRow>,
}

/// A bulk operation that is not started or not found.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// The filter is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// It would be done to every job there is.
    #[error("an empty filter means every job there is; say which are meant")]
    EveryJob,
    /// There is no such operation.
    #[error("there is no bulk operation {0}")]
    Unknown(Uuid),
    /// It has ended.
    #[error("bulk operation {0} is {1}")]
    Ended(Uuid, &'static str),
    /// The database failed.
    #[error("could not reach the queue tables")]
    Database(#[from] sqlx::Error),
}

/// What `change` would do to the jobs that fit `filter`, without doing it. Looks at 10,000 at most.
///
/// # Errors
/// [`BulkError`] when the filter is wrong or the database is away.
pub async fn preview_bulk(
    queues: &Queues,
    change: Change,
    filter: &str,
) -> Result<Preview, BulkError> {
    let filter = meant(filter, queues.now())?;
    let (fits, refusals) = preview(queues, change, &filter).await?;
    let sample = match list_jobs(queues, &filter, None, SAMPLE).await {
        Ok(page) => page.jobs,
        Err(AdminError::Database(error)) => return Err(error.into()),
        Err(other) => unreachable!("a list refuses nothing: {other}"),
    };
    Ok(Preview { fits, refusals, sample })
}

/// Has `change` done to every job that fits `filter` and was enqueued before now.
///
/// # Errors
/// [`BulkError`] when the filter is wrong or the database is away.
pub async fn start_bulk(
    queues: &Queues,
    change: Change,
    filter: &str,
    asked_by: &str,
) -> Result<Bulk, BulkError> {
    let now = queues.now();
    meant(filter, now)?;
    let bulk_id = Uuid::now_v7();
    let mut transaction = database::begin(queues.pool()).await?;
    sqlx::query("delete from jobs.bulks where ended_at < $1")
        .bind(now - REMEMBERED)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "insert into jobs.bulks (id, change, filter, asked_by, cursor, started_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(bulk_id)
    .bind(change.name())
    .bind(filter)
    .bind(asked_by)
    .bind(JobId::new())
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    let bulk = find(&mut transaction, bulk_id).await?;
    transaction.commit().await?;
    queues.bulks().nudge();
    Ok(bulk)
}

/// A filter that was meant to say something.
fn meant(text: &str, now: Timestamp) -> Result<JobFilter, BulkError> {
    let filter = JobFilter::parse(text, now)?;
    if filter.is_empty() { Err(BulkError::EveryJob) } else { Ok(filter) }
}

/// One bulk operation.
///
/// # Errors
/// [`BulkError`] when there is none, or the database is away.
pub async fn get_bulk(queues: &Queues, bulk_id: Uuid) -> Result<Bulk, BulkError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let bulk = find(&mut transaction, bulk_id).await?;
    transaction.commit().await?;
    Ok(bulk)
}

/// The latest bulk operations, newest first.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list_bulks(queues: &Queues) -> Result<Vec<Bulk>, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let bulks = sqlx::query_as(concat!(
        "select ",
        columns!(),
        " from jobs.bulks order by id desc limit $1"
    ))
    .bind(i64::from(BULKS_MAX))
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(bulks)
}

/// Stops a bulk operation after the batch that is under way.
///
/// # Errors
/// [`BulkError`] when there is none that runs, or the database is away.
pub async fn cancel_bulk(queues: &Queues, bulk_id: Uuid) -> Result<Bulk, BulkError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let stopped = sqlx::query(
        "update jobs.bulks set state = 'cancelled', ended_at = $2, updated_at = $2
         where id = $1 and state = 'running'",
    )
    .bind(bulk_id)
    .bind(queues.now())
    .execute(&mut *transaction)
    .await?;
    let bulk = find(&mut transaction, bulk_id).await?;
    if stopped.rows_affected() == 0 {
        return Err(BulkError::Ended(bulk_id, bulk.state.name()));
    }
    transaction.commit().await?;
    Ok(bulk)
}

async fn find(connection: &mut PgConnection, bulk_id: Uuid) -> Result<Bulk, BulkError> {
    let bulk = sqlx::query_as(concat!("select ", columns!(), " from jobs.bulks where id = $1"))
        .bind(bulk_id)
        .fetch_optional(connection)
        .await?;
    bulk.ok_or(BulkError::Unknown(bulk_id))
}

impl FromRow<'_, PgRow> for Bulk {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        let unreadable = |column: &str| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: format!("no bulk operation has such a {column}").into(),
        };
        let state: &str = row.try_get("state")?;
        let state = BulkState::ALL.into_iter().find(|known| known.name() == state);
        Ok(Self {
            bulk_id: row.try_get("id")?,
            change: Change::from_name(row.try_get("change")?)
                .ok_or_else(|| unreadable("change"))?,
            filter: row.try_get("filter")?,
            asked_by: row.try_get("asked_by")?,
            state: state.ok_or_else(|| unreadable("state"))?,
            total: row.try_get::<Option<i64>, _>("total")?.map(i64::unsigned_abs),
            done: count("done")?,
            refused: count("refused")?,
            refusals: row.try_get::<Json<BTreeMap<String, u64>>, _>("refusals")?.0,
            failure: row.try_get("failure")?,
            started_at: row.try_get("started_at")?,
            updated_at: row.try_get("updated_at")?,
            ended_at: row.try_get("ended_at")?,
            cursor: row.try_get("cursor")?,
        })
    }
}
