//! Archives: months that nobody needs at hand any more, in files, and back for an audit.
//!
//! A file has the lines of an export, compressed with gzip, which every language reads; its digest
//! is in `events.archives` and beside it. A month leaves in steps, each of which may be the last
//! before a crash: the file is written under another name and brought to the disk, read back and
//! compared with the seals link by link, given its name, recorded; only then does the partition
//! go, in one transaction that checks the rows against the seals once more. Whatever was
//! interrupted is done again or gone on with. The seals stay for ever.
//!
//! **Invariant:** there is no instant at which the events are in neither of the two places.

mod attach;
mod file;
mod months;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kernel::{Digest, Position, Timestamp};
use sqlx::{PgConnection, Postgres, Row, Transaction};

use crate::chained::{BadLine, LineProblem};
use crate::export::{ExportError, Selection};
use crate::log::Log;
use crate::partition::Month;
use crate::transaction;

pub use attach::{Attached, attach};
pub(crate) use months::months_in_files;
pub use months::{MonthInfo, MonthState, list};

/// How many months events are kept at hand, unless told: seven years.
pub const RETENTION_MONTHS: u32 = 7 * 12;

/// Where old months go, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    /// The directory of their files.
    pub directory: PathBuf,
    /// How many months are kept at hand.
    pub retention_months: u32,
}

/// One month at a time leaves or comes back: "finnarch" in ASCII.
const ARCHIVE_LOCK: i64 = 0x6669_6e6e_6172_6368;

/// How often the tables are asked for, when they are too busy to be changed just now.
const TRIES_MAX: u32 = 20;

/// How long to wait in between.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// How far a month has come on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many of its events are in the file, or in the table again.
    Moved(u64),
    /// The file is on the disk, under a name of its own.
    Written,
    /// It was read back, and is what was sealed.
    ReadBack,
    /// It has its name.
    Named,
    /// It is recorded in the database.
    Recorded,
}

/// A month that has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The month.
    pub month: Month,
    /// Where its events are now.
    pub file: PathBuf,
    /// The digest of the bytes of that file.
    pub sha256: Digest,
    /// How many events these are.
    pub event_count: u64,
}

/// A month was not archived, or did not come back; nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The month lies within the time for which events are kept at hand.
    #[error("{month} is kept at hand until {until}")]
    Retained {
        /// The month asked for.
        month: Month,
        /// The first month in which it may leave.
        until: Month,
    },
    /// There is no partition of the month.
    #[error("there is no partition of {0}; events of it, if any, lie in the default partition")]
    NoPartition(Month),
    /// The month has no events.
    #[error("{0} has no events")]
    Empty(Month),
    /// The month has left before.
    #[error("{month} has left already; its events are in {file}")]
    HasLeft {
        /// The month.
        month: Month,
        /// The file.
        file: String,
    },
    /// The month is at hand.
    #[error("{0} has not left the database, so there is nothing to attach")]
    AtHand(Month),
    /// Some events have no seal.
    #[error("{count} events of {month} have no seal")]
    Unsealed {
        /// The month.
        month: Month,
        /// How many.
        count: i64,
    },
    /// Somebody has not read the month yet.
    #[error("{month} goes up to position {last}, but {reader} has read to {position} only")]
    Unread {
        /// The month.
        month: Month,
        /// The last position of its events.
        last: Position,
        /// The consumer.
        reader: String,
        /// Where it stands.
        position: Position,
    },
    /// Strays are in the way.
    #[error(
        "{count} events recorded in {month} after it had left lie in the default partition, so \
         the month cannot be attached beside them"
    )]
    InTheWay {
        /// The month.
        month: Month,
        /// How many.
        count: i64,
    },
    /// The file is not the one that was written.
    #[error("{} is not the file that was written: its digest is {found}", file.display())]
    WrongFile {
        /// The file.
        file: PathBuf,
        /// Its digest.
        found: Digest,
    },
    /// The file holds something else than the log.
    #[error(
        "{month} is damaged: what is in the file is not what was sealed at position {position}"
    )]
    Damaged {
        /// The month.
        month: Month,
        /// The first position where they differ.
        position: Position,
    },
    /// A line of the file is wrong; the events themselves may be damaged.
    #[error("the file does not hold: {0}")]
    BadLine(#[from] BadLine),
    /// The events could not be written to the file.
    #[error("the file could not be written")]
    Export(#[from] ExportError),
    /// The file cannot be read or written.
    #[error("{} cannot be used", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another month is on its way.
    #[error("another month is being archived or attached just now")]
    Busy,
    /// Postgres refused or could not be reached.
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

/// Writes a month to a file in `directory` and lets it leave the database.
///
/// A month that came back leaves again without being written anew, if nothing was added to it.
///
/// # Errors
/// [`ArchiveError`]; the events are still in the database then.
pub async fn archive(
    log: &Log,
    directory: &Path,
    month: Month,
    retention_months: u32,
    mut progress: impl FnMut(Step) + Send,
) -> Result<Archived, ArchiveError> {
    let now = log.clock().now();
    let until = month.later_by(retention_months + 1);
    if until > Month::of(now) {
        return Err(ArchiveError::Retained { month, until });
    }
    let lock = alone(log).await?;
    let mut reading = transaction::begin(log.pool()).await?;
    let found = months::survey(&mut reading, month).await?;
    let known = months::archive_of(&mut reading, month).await?;
    reading.rollback().await?;
    let file = file::path_of(directory, month);
    let is_written = match &known {
        Some(known) if known.event_count == found.event_count => {
            known.file == file.display().to_string() && file::has_digest(&file, known.sha256)
        }
        _ => false,
    };
    let sha256 = match known {
        Some(known) if is_written => known.sha256,
        _ => {
            let sha256 = write(log, &file, month, &found, now, &mut progress).await?;
            record(log, month, &file, sha256, &found, now).await?;
            progress(Step::Recorded);
            sha256
        }
    };
    detach(log, month, now).await?;
    lock.rollback().await?;
    let event_count = u64::try_from(found.event_count).unwrap_or_default();
    tracing::info!(%month, event_count, file = %file.display(), "a month of events was archived");
    Ok(Archived { month, file, sha256, event_count })
}

/// Lets every month that is old enough leave for the shelf, the oldest first, or tells of them if
/// there is none. A month that cannot leave is told and does not keep the next ones.
pub(crate) async fn put_away(log: &Log) -> Result<(), sqlx::Error> {
    let retention_months = log.shelf().map_or(RETENTION_MONTHS, |shelf| shelf.retention_months);
    let mut reading = transaction::begin_reading(log.pool()).await?;
    let months = list(&mut reading, log.clock().now(), retention_months).await?;
    reading.rollback().await?;
    let old = months.into_iter().filter(|info| info.state == MonthState::Archivable);
    for MonthInfo { month, .. } in old {
        let Some(Shelf { directory, .. }) = log.shelf() else {
            tracing::info!(%month, "a month of events is old enough to be archived");
            continue;
        };
        match archive(log, directory, month, retention_months, |_| {}).await {
            // Another node is at it, or there is nothing in it.
            Ok(_) | Err(ArchiveError::Busy | ArchiveError::Empty(_)) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%month, error, "a month of events cannot be archived");
            }
        }
    }
    Ok(())
}

/// The month whose events are in `file`, as its first line says.
///
/// # Errors
/// When the file cannot be read, or is no archive.
pub fn month_of(file: &Path) -> Result<Month, ArchiveError> {
    let lines = file::lines_of(file)?;
    let month = lines.header().month.as_deref().and_then(|month| month.parse().ok());
    month.ok_or_else(|| BadLine { line: 1, problem: LineProblem::NoHeader }.into())
}

/// Keeps all others from moving months, for as long as the transaction lives. Nothing is read in
/// it: what it read it would hold, and the tables could not be changed.
async fn alone(log: &Log) -> Result<Transaction<'static, Postgres>, ArchiveError> {
    let mut transaction = transaction::begin(log.pool()).await?;
    // A moment, since one that was given up may still be on its way back.
    sqlx::query("set local lock_timeout = '2s'").execute(&mut *transaction).await?;
    let locked = sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(ARCHIVE_LOCK)
        .execute(&mut *transaction)
        .await;
    match locked {
        Ok(_) => Ok(transaction),
        Err(error) if is_busy(&error) => Err(ArchiveError::Busy),
        Err(error) => Err(error.into()),
    }
}

/// Writes the file, reads it back, and gives it its name.
async fn write(
    log: &Log,
    file: &Path,
    month: Month,
    found: &months::Survey,
    now: Timestamp,
    progress: &mut (impl FnMut(Step) + Send),
) -> Result<Digest, ArchiveError> {
    let selection = Selection { org_id: None, from: Some(found.first), to: Some(found.last) };
    let mut draft = file::Draft::create(file)?;
    let moved = |told: crate::export::Progress| progress(Step::Moved(told.events));
    crate::export::export_month(log.pool(), &selection, month, now, &mut draft, moved).await?;
    let written = draft.finish()?;
    progress(Step::Written);
    let mut reading = transaction::begin_reading(log.pool()).await?;
    file::read_back(&written, &mut reading, month, found.event_count).await?;
    reading.rollback().await?;
    progress(Step::ReadBack);
    let sha256 = written.sha256;
    written.keep()?;
    progress(Step::Named);
    Ok(sha256)
}

async fn record(
    log: &Log,
    month: Month,
    file: &Path,
    sha256: Digest,
    found: &months::Survey,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut writing = transaction::begin(log.pool()).await?;
    sqlx::query(
        "insert into events.archives
             (month, file, sha256, event_count, first_position, last_position, archived_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (month) do update
         set file = excluded.file, sha256 = excluded.sha256, event_count = excluded.event_count,
             first_position = excluded.first_position, last_position = excluded.last_position,
             archived_at = excluded.archived_at",
    )
    .bind(month.first_day())
    .bind(file.display().to_string())
    .bind(sha256.as_bytes().as_slice())
    .bind(found.event_count)
    .bind(found.first.0)
    .bind(found.last.0)
    .bind(now)
    .execute(&mut *writing)
    .await?;
    writing.commit().await
}

async fn detach(log: &Log, month: Month, now: Timestamp) -> Result<(), sqlx::Error> {
    while_busy(async || {
        let mut writing = transaction::begin(log.pool()).await?;
        sqlx::query("select events.detach_month($1, $2)")
            .bind(month.first_day())
            .bind(now)
            .execute(&mut *writing)
            .await?;
        writing.commit().await
    })
    .await
}

/// Tries again while the tables are too busy to be changed: a long report holds them, and whoever
/// waits in line for them makes everybody else wait behind.
async fn while_busy(act: impl AsyncFn() -> Result<(), sqlx::Error>) -> Result<(), sqlx::Error> {
    let mut tries = 1;
    loop {
        match act().await {
            Err(error) if tries < TRIES_MAX && is_busy(&error) => tries += 1,
            ended => return ended,
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Whether a lock was waited for in vain, or two waited for each other.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "55P03" || code == "40P01")
}

/// What is known of a month that was written to a file.
struct Known {
    file: String,
    sha256: Digest,
    event_count: i64,
    has_left: bool,
}

async fn exists(
    connection: &mut PgConnection,
    query: sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments>,
) -> Result<bool, sqlx::Error> {
    query.fetch_one(connection).await?.try_get(0)
}
