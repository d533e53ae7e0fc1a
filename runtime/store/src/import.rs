//! Import: an organisation moved or reproduced here, with the chain it had elsewhere.
//!
//! Ids, numbers, links and times stay as they were, so the chain verifies here as it did there;
//! only positions are new, after everything that is sealed here, in the order of the file.
//! Everything is checked before anything is written, and everything is written in one transaction.
//!
//! It is safe beside a running platform. The transaction first puts in the events, which disturbs
//! nobody; then it raises the epoch, so that a sealer that leads now can seal nothing any more, and
//! appends the seals itself. The sealer finds itself deposed at its next batch, takes the lead
//! again and goes on behind the imported seals.
//!
//! **Invariant:** a chain is continued and never changed: what is here already must be a beginning
//! of what is in the file.

mod rows;
mod seal;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use kernel::{Digest, OrgId, Position};
use sqlx::{PgConnection, Row};

use crate::chained::{BadLine, ChainedEvent, ChainedLines};
use crate::leader::SealError;
use crate::log::Log;
use crate::partition::Month;
use crate::sealed::SealedEvent;
use crate::{partition, sealer, transaction};

/// One import at a time: "finnimpo" in ASCII.
const IMPORT_LOCK: i64 = 0x6669_6e6e_696d_706f;

/// Events inserted with one statement at most.
const BATCH_EVENTS: usize = 1_000;

/// Bytes of events inserted with one statement, about.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Whether reactions treat imported events as news. Projections always see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reactions {
    /// What followed from these events has followed where they were recorded.
    Skip,
    /// They have their consequences here, as if they were recorded now.
    Run,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The events that are new here, by organisation; those that were here already do not count.
    pub events: BTreeMap<OrgId, u64>,
    /// The first and the last of their positions; `None` if everything was here already.
    pub positions: Option<(Position, Position)>,
    /// The digest of the lines, as the file's trailer has it.
    pub sha256: Digest,
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Whether lines are checked, or written.
    pub is_writing: bool,
    /// Lines gone through.
    pub lines: u64,
}

/// Nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened.
    #[error("the file cannot be read")]
    File(#[from] io::Error),
    /// The file is damaged, or is not whole.
    #[error("the file cannot be imported: {0}")]
    BadLine(#[from] BadLine),
    /// The organisation has other events here.
    #[error(
        "organisation {org_id} has other events here: its event {org_sequence} or one before it \
         is not the one in the file"
    )]
    OtherEvents {
        /// The organisation.
        org_id: OrgId,
        /// The last number that both have.
        org_sequence: i64,
    },
    /// The file begins later than the chain here ends.
    #[error(
        "the file begins with event {org_sequence} of organisation {org_id}, but here its chain \
         goes up to {head}: import what is between them first"
    )]
    Gap {
        /// The organisation.
        org_id: OrgId,
        /// The first number in the file.
        org_sequence: i64,
        /// The last number here; 0 if there is none.
        head: i64,
    },
    /// An event is here already, in another place.
    #[error("event {event_id} of the file is here already, in another place of the log")]
    ElsewhereAlready {
        /// The event.
        event_id: kernel::EventId,
    },
    /// The month of an event has left this log.
    #[error("{month} was archived here; attach it before importing events of it")]
    Archived {
        /// The month.
        month: Month,
    },
    /// The organisation recorded events here while this ran.
    #[error("organisation {org_id} recorded events here meanwhile; import again")]
    Overtaken {
        /// The organisation.
        org_id: OrgId,
    },
    /// The file was changed while this ran.
    #[error("the file was changed while it was read; import again")]
    ChangedMeanwhile,
    /// Another import is running.
    #[error("another import is running here")]
    Busy,
    /// What is committed here could not be sealed first.
    #[error("could not seal what is recorded here")]
    Seal(#[from] SealError),
    /// Postgres refused or could not be reached.
    #[error("could not write the event log")]
    Database(#[from] sqlx::Error),
}

/// Imports the export in `file`. The connections of `log` must be the owner's.
///
/// What is here already must be the beginning of what the file has; it is skipped, so importing the
/// same file again does nothing.
///
/// # Errors
/// [`ImportError`]; then nothing was imported.
pub async fn import(
    log: &Log,
    file: &Path,
    reactions: Reactions,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Imported, ImportError> {
    let mut lines = open(file)?;
    let mut months = BTreeSet::new();
    let org_ids: Vec<OrgId> = lines.header().organisations.keys().copied().collect();
    // So that what was recorded here is known, and the sealer's look begins close to now.
    sealer::seal_all(log).await?;
    let mut reading = transaction::begin(log.pool()).await?;
    let here = rows::heads(&mut reading, &org_ids).await?;
    while let Some(event) = lines.next_event()? {
        let part = lines.parts().get(&event.org_id);
        let is_first = part.is_some_and(|part| part.first_sequence == event.org_sequence);
        let is_new = compare(&event, is_first, here.get(&event.org_id))?;
        if is_new && months.insert(Month::of(event.recorded_at)) {
            refuse_archived(&mut reading, Month::of(event.recorded_at)).await?;
        }
        tell(&mut progress, false, event.line);
    }
    let sha256 = lines.sha256().ok_or(ImportError::ChangedMeanwhile)?;
    for (org_id, part) in lines.parts() {
        if !rows::is_here(&mut reading, *org_id, part, here.get(org_id)).await? {
            let org_sequence = part.last_sequence;
            return Err(ImportError::OtherEvents { org_id: *org_id, org_sequence });
        }
    }
    reading.rollback().await?;
    if months.is_empty() {
        return Ok(Imported { events: BTreeMap::new(), positions: None, sha256 });
    }
    make_months(log, &months).await?;
    // As the owner, who alone may put in what no domain of this log has recorded.
    let mut writing = log.pool().begin_with("begin").await?;
    let events = insert(&mut writing, file, &here, sha256, &mut progress).await?;
    let positions = seal::append(&mut writing, reactions, sha256, log.clock().now()).await?;
    writing.commit().await?;
    log.nudge();
    Ok(Imported { events, positions: Some(positions), sha256 })
}

/// Those of `events` that reactions may treat as news: all but those imported without reactions.
/// The connection must be the runtime's.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn newsworthy(
    connection: &mut PgConnection,
    events: Vec<SealedEvent>,
) -> Result<Vec<SealedEvent>, sqlx::Error> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Ok(events);
    };
    let quiet = sqlx::query(
        "select first_position, last_position from events.imports
         where not runs_reactions and first_position <= $2 and last_position >= $1",
    )
    .bind(first.position.0)
    .bind(last.position.0)
    .fetch_all(connection)
    .await?;
    let quiet: Vec<std::ops::RangeInclusive<i64>> = quiet
        .iter()
        .map(|row| Ok(row.try_get("first_position")?..=row.try_get("last_position")?))
        .collect::<Result<_, sqlx::Error>>()?;
    let is_news = |event: &SealedEvent| !quiet.iter().any(|run| run.contains(&event.position.0));
    Ok(events.into_iter().filter(is_news).collect())
}

fn open(file: &Path) -> Result<ChainedLines<BufReader<File>>, ImportError> {
    Ok(ChainedLines::open(BufReader::with_capacity(256 * 1024, File::open(file)?))?)
}

/// Says how far it has come, now and then.
fn tell(progress: &mut (impl FnMut(Progress) + Send), is_writing: bool, lines: u64) {
    if lines.is_multiple_of(1_000) {
        progress(Progress { is_writing, lines });
    }
}

/// Whether the event is new here; what both have must be the same.
fn compare(
    event: &ChainedEvent,
    is_first: bool,
    here: Option<&rows::Head>,
) -> Result<bool, ImportError> {
    let (org_id, org_sequence) = (event.org_id, event.org_sequence);
    let head = here.map_or(0, |head| head.org_sequence);
    if is_first && org_sequence > head + 1 {
        return Err(ImportError::Gap { org_id, org_sequence, head });
    }
    // A link covers all links before it, so comparing one is comparing all.
    if let Some(here) = here
        && org_sequence == here.org_sequence
        && event.hash != here.link
    {
        return Err(ImportError::OtherEvents { org_id, org_sequence });
    }
    if org_sequence <= head {
        return Ok(false);
    }
    if org_sequence == head + 1 {
        let link = here.map_or(Digest::GENESIS, |head| head.link);
        if event.previous_hash != link {
            return Err(ImportError::OtherEvents { org_id, org_sequence: head });
        }
    }
    Ok(true)
}

async fn refuse_archived(connection: &mut PgConnection, month: Month) -> Result<(), ImportError> {
    let has_left: bool = sqlx::query_scalar(
        "select exists (
             select from events.archives where month = $1 and detached_at is not null)",
    )
    .bind(month.first_day())
    .fetch_one(connection)
    .await?;
    if has_left { Err(ImportError::Archived { month }) } else { Ok(()) }
}

async fn make_months(log: &Log, months: &BTreeSet<Month>) -> Result<(), sqlx::Error> {
    for month in months {
        let mut transaction = transaction::begin(log.pool()).await?;
        partition::ensure(&mut transaction, month.first_day(), 0).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Puts in the events that are new here, in the order of the file.
async fn insert(
    connection: &mut PgConnection,
    file: &Path,
    here: &BTreeMap<OrgId, rows::Head>,
    sha256: Digest,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<BTreeMap<OrgId, u64>, ImportError> {
    let is_alone: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
        .bind(IMPORT_LOCK)
        .fetch_one(&mut *connection)
        .await?;
    if !is_alone {
        return Err(ImportError::Busy);
    }
    rows::prepare(connection).await?;
    let mut counts: BTreeMap<OrgId, u64> = BTreeMap::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut lines = open(file)?;
    while let Some(event) = lines.next_event()? {
        tell(progress, true, event.line);
        let here = here.get(&event.org_id).map_or(0, |head| head.org_sequence);
        if event.org_sequence <= here {
            continue;
        }
        *counts.entry(event.org_id).or_default() += 1;
        bytes += event.payload.len() + event.metadata.len();
        batch.push(event);
        if batch.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES {
            rows::insert(connection, &batch).await?;
            (batch, bytes) = (Vec::new(), 0);
        }
    }
    rows::insert(connection, &batch).await?;
    if lines.sha256() != Some(sha256) {
        return Err(ImportError::ChangedMeanwhile);
    }
    Ok(counts)
}
