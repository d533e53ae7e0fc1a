//! Attaching: a month that has left is brought back out of its file, for an audit or a rebuild.

use std::path::{Path, PathBuf};

use kernel::Digest;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{ArchiveError, Step, alone, file, months, while_busy};
use crate::chained::ChainedEvent;
use crate::log::Log;
use crate::partition::Month;
use crate::transaction;

/// Events inserted with one statement at most.
const BATCH_EVENTS: usize = 1_000;

/// A month that is at hand again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The month.
    pub month: Month,
    /// The file its events came from.
    pub file: PathBuf,
    /// How many events these are.
    pub event_count: u64,
}

/// Brings a month back out of its file: the one it was written to, or `from`, if it was moved.
///
/// Reads, verification and replay see the events again, and nobody can change them. The month
/// leaves again by [`archive`](super::archive).
///
/// # Errors
/// [`ArchiveError`]; nothing has changed then.
pub async fn attach(
    log: &Log,
    month: Month,
    from: Option<&Path>,
    mut progress: impl FnMut(Step) + Send,
) -> Result<Attached, ArchiveError> {
    let lock = alone(log).await?;
    let mut reading = transaction::begin_reading(log.pool()).await?;
    let known = months::archive_of(&mut reading, month).await?;
    let strays = months::strays_of(&mut reading, month).await?;
    reading.rollback().await?;
    let Some(known) = known.filter(|known| known.has_left) else {
        return Err(ArchiveError::AtHand(month));
    };
    if strays > 0 {
        return Err(ArchiveError::InTheWay { month, count: strays });
    }
    let path = from.map_or_else(|| PathBuf::from(&known.file), Path::to_owned);
    let found: Digest = file::digest_of(&path).map_err(|source| file::failed(&path, source))?;
    if found != known.sha256 {
        return Err(ArchiveError::WrongFile { file: path, found });
    }
    let table = begin(log, month).await?;
    let event_count = fill(log, &path, &table, &mut progress).await?;
    progress(Step::Written);
    while_busy(async || {
        let mut writing = transaction::begin(log.pool()).await?;
        sqlx::query("select events.finish_attaching($1)")
            .bind(month.first_day())
            .execute(&mut *writing)
            .await?;
        writing.commit().await
    })
    .await?;
    lock.rollback().await?;
    tracing::info!(%month, event_count, file = %path.display(), "a month of events was attached");
    Ok(Attached { month, file: path, event_count })
}

/// Makes the table that will be the partition; answers its name.
async fn begin(log: &Log, month: Month) -> Result<String, sqlx::Error> {
    let mut writing = transaction::begin(log.pool()).await?;
    let table = sqlx::query_scalar("select events.begin_attaching($1)")
        .bind(month.first_day())
        .fetch_one(&mut *writing)
        .await?;
    writing.commit().await?;
    Ok(table)
}

/// Puts the events of the file into the table; answers how many these are.
async fn fill(
    log: &Log,
    path: &Path,
    table: &str,
    progress: &mut (impl FnMut(Step) + Send),
) -> Result<u64, ArchiveError> {
    let mut lines = file::lines_of(path)?;
    let mut writing = transaction::begin(log.pool()).await?;
    let (mut batch, mut count) = (Vec::with_capacity(BATCH_EVENTS), 0);
    while let Some(event) = lines.next_event()? {
        count += 1;
        batch.push(event);
        if batch.len() >= BATCH_EVENTS {
            insert(&mut writing, table, &batch).await?;
            progress(Step::Moved(count));
            batch.clear();
        }
    }
    insert(&mut writing, table, &batch).await?;
    writing.commit().await?;
    Ok(count)
}

/// Each event gets the arrival that its seal remembers, and no transaction: it is not new.
async fn insert(
    connection: &mut PgConnection,
    table: &str,
    events: &[ChainedEvent],
) -> Result<(), sqlx::Error> {
    // Safe: the table was named by `events.begin_attaching`, after a date.
    sqlx::query(AssertSqlSafe(format!(
        "insert into events.{table}
             (id, org_id, domain, event_type, version, aggregate_id, payload, metadata,
              inserted_at, arrival, tx)
         select line.id, line.org_id, line.domain, line.event_type, line.version,
             line.aggregate_id, line.payload, line.metadata, line.inserted_at, seal.arrival, '0'
         from unnest(
             $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::uuid[],
             $7::bytea[], $8::bytea[], $9::timestamptz[], $10::bigint[]
         ) as line
             (id, org_id, domain, event_type, version, aggregate_id, payload, metadata,
              inserted_at, position)
         join events.seals as seal on seal.position = line.position"
    )))
    .bind(events.iter().map(|event| event.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.org_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.domain.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| i32::from(event.version)).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.payload.as_slice()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.metadata.as_slice()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.recorded_at).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.position.0).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}
