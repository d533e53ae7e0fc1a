//! Export: the log as it stands, as lines of JSON with their chain.
//!
//! One snapshot is read from end to end, so a file is the log at one instant however long writing
//! it takes; writers and the sealer go on beside it. Memory does not grow with the log.
//!
//! **Invariant:** faithful. A damaged log gives a file with the same damage, for auditors to find.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use futures_util::TryStreamExt;
use kernel::{Digest, EventId, OrgId, Position, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use crate::line::{FORMAT, FactsLine, HeadLine, Header, LineWriter, SealLine, StrandedLine};
use crate::partition::Month;
use crate::{archive, read, transaction, verify};

/// Seals read with one question; their events stream through one at a time.
const BATCH_SEALS: i64 = 5_000;

/// What to export: everything, unless told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only the events of this organisation.
    pub org_id: Option<OrgId>,
    /// Only from this position on.
    pub from: Option<Position>,
    /// Only up to this position.
    pub to: Option<Position>,
}

impl Selection {
    /// Whether no positions were left out on purpose.
    const fn is_whole(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// How far an export has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events written so far.
    pub events: u64,
    /// Bytes written so far, before any compression.
    pub bytes: u64,
    /// The last position written.
    pub position: Position,
    /// Where the export will end.
    pub end: Position,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The last position of the log in the snapshot that was read.
    pub head: Position,
    /// Seals written, with or without their events.
    pub events: u64,
    /// Of these, how many are without their event: archived, or gone.
    pub missing: u64,
    /// Events written that must have a seal and have none.
    pub without_seal: u64,
    /// Lines before the trailer.
    pub lines: u64,
    /// The digest of those lines, as the trailer has it.
    pub sha256: Digest,
}

/// An export was not finished; what was written of it has no trailer and is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Postgres refused or could not be reached.
    #[error("could not read the event log")]
    Database(#[from] sqlx::Error),
    /// The destination refused.
    #[error("could not write the export")]
    Write(#[from] io::Error),
    /// A payload or metadata are not text, which no line can carry.
    #[error("event {event_id} is not text in UTF-8: its row was changed by hand")]
    NotText {
        /// The event.
        event_id: EventId,
        /// Where it stops being text.
        #[source]
        source: std::string::FromUtf8Error,
    },
}

/// Writes what `selection` names, as of now, to `out`.
///
/// Events without a seal are told only when all positions are asked for: they have none.
///
/// # Errors
/// [`ExportError`].
pub async fn export(
    pool: &PgPool,
    selection: &Selection,
    now: Timestamp,
    out: &mut (dyn io::Write + Send),
    progress: impl FnMut(Progress) + Send,
) -> Result<Exported, ExportError> {
    write(pool, selection, None, now, out, progress).await
}

/// Writes the events of one month, which `selection` bounds by position, as `export` does.
pub(crate) async fn export_month(
    pool: &PgPool,
    selection: &Selection,
    month: Month,
    now: Timestamp,
    out: &mut (dyn io::Write + Send),
    progress: impl FnMut(Progress) + Send,
) -> Result<Exported, ExportError> {
    write(pool, selection, Some(month), now, out, progress).await
}

async fn write(
    pool: &PgPool,
    selection: &Selection,
    month: Option<Month>,
    now: Timestamp,
    out: &mut (dyn io::Write + Send),
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Exported, ExportError> {
    let mut reading = transaction::begin_snapshot(pool).await?;
    let header = header(&mut reading, selection, month, now).await?;
    let head = Position(header.head);
    let mut writer = LineWriter::new(out);
    writer.write(&header)?;
    let archived = archive::months_in_files(&mut reading).await?;
    let mut walk = Walk::new(selection, month, head, archived);
    while walk.write_batch(&mut reading, &mut writer).await? {
        progress(Progress {
            events: walk.events,
            bytes: writer.bytes(),
            position: walk.position,
            end: walk.end,
        });
    }
    let mut without_seal = 0;
    if selection.is_whole() {
        without_seal = write_stranded(&mut reading, selection.org_id, head, &mut writer).await?;
    }
    reading.rollback().await?;
    let (lines, sha256) = writer.finish()?;
    let Walk { events, missing, .. } = walk;
    Ok(Exported { head, events, missing, without_seal, lines, sha256 })
}

async fn header(
    connection: &mut PgConnection,
    selection: &Selection,
    month: Option<Month>,
    now: Timestamp,
) -> Result<Header, sqlx::Error> {
    let head = read::head(connection).await?;
    Ok(Header {
        format: FORMAT.to_owned(),
        scope: selection.org_id.map_or_else(|| "all".to_owned(), |org_id| org_id.to_string()),
        exported_at_us: now.timestamp_micros(),
        head: head.0,
        furthest_known: verify::furthest_known(connection).await?.max(head).0,
        organisations: heads(connection, selection.org_id).await?,
        from: selection.from.map(|position| position.0),
        to: selection.to.map(|position| position.0),
        month: month.map(|month| month.to_string()),
    })
}

/// The last links of all chains, or of one: a probe per organisation, whatever its length.
async fn heads(
    connection: &mut PgConnection,
    org_id: Option<OrgId>,
) -> Result<BTreeMap<OrgId, HeadLine>, sqlx::Error> {
    let rows = sqlx::query(
        "with recursive organisation as (
             (select seal.org_id from events.seals as seal
              where $1::uuid is null or seal.org_id = $1
              order by seal.org_id limit 1)
             union all
             select (
                 select seal.org_id from events.seals as seal
                 where seal.org_id > organisation.org_id and $1::uuid is null
                 order by seal.org_id limit 1)
             from organisation
             where organisation.org_id is not null
         )
         select head.org_id, head.org_sequence, encode(head.hash, 'hex') as hash
         from organisation
         cross join lateral (
             select seal.org_id, seal.org_sequence, seal.hash
             from events.seals as seal
             where seal.org_id = organisation.org_id
             order by seal.org_sequence desc
             limit 1
         ) as head",
    )
    .bind(org_id)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let head =
                HeadLine { org_sequence: row.try_get("org_sequence")?, hash: row.try_get("hash")? };
            Ok((row.try_get("org_id")?, head))
        })
        .collect()
}

/// Where an export stands.
struct Walk {
    org_id: Option<OrgId>,
    month: Option<Month>,
    from: Position,
    /// The last position written, or, along one chain, the last number.
    last: i64,
    position: Position,
    end: Position,
    events: u64,
    missing: u64,
    /// The months whose events are in files and nowhere else.
    archived: BTreeSet<Month>,
}

impl Walk {
    fn new(
        selection: &Selection,
        month: Option<Month>,
        head: Position,
        archived: BTreeSet<Month>,
    ) -> Self {
        let from = selection.from.unwrap_or(Position::ORIGIN);
        Self {
            org_id: selection.org_id,
            month,
            from,
            last: if selection.org_id.is_none() { (from.0 - 1).max(0) } else { 0 },
            position: Position::ORIGIN,
            end: selection.to.map_or(head, |to| to.min(head)),
            events: 0,
            missing: 0,
            archived,
        }
    }

    /// Writes the next seals; answers whether there were any.
    async fn write_batch(
        &mut self,
        connection: &mut PgConnection,
        writer: &mut LineWriter<'_>,
    ) -> Result<bool, ExportError> {
        let query = match self.org_id {
            None => sqlx::query(SEALS_AFTER),
            Some(_) => sqlx::query(SEALS_OF),
        };
        let mut rows = query
            .bind(self.last)
            .bind(self.end.0)
            .bind(BATCH_SEALS)
            .bind(self.org_id)
            .bind(self.from.0)
            .bind(self.month.map(Month::begin))
            .bind(self.month.map(Month::end))
            .fetch(connection);
        let before = self.events;
        while let Some(row) = rows.try_next().await? {
            let line = seal_line(&row, &self.archived)?;
            self.position = Position(line.position);
            self.last = if self.org_id.is_none() { line.position } else { line.org_sequence };
            self.events += 1;
            self.missing += u64::from(line.missing);
            writer.write(&line)?;
        }
        Ok(self.events > before)
    }
}

/// Both questions are asked with the same parameters, so the fourth is null here.
const SEALS_AFTER: &str = "
    select seal.position, seal.org_sequence, seal.org_id as sealed_org_id,
        seal.event_id as sealed_event_id, encode(seal.previous_hash, 'hex') as previous_hash,
        encode(seal.hash, 'hex') as hash, event.id as event_id, event.org_id, event.domain,
        event.event_type, event.version, event.aggregate_id, event.payload, event.metadata,
        event.inserted_at, seal.inserted_at as sealed_at
    from events.seals as seal
    left join events.domain_events as event
        on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
    where seal.position > $1 and seal.position <= $2 and $4::uuid is null
        and seal.position >= $5
        and ($6::timestamptz is null or seal.inserted_at >= $6)
        and ($7::timestamptz is null or seal.inserted_at < $7)
    order by seal.position
    limit $3";

const SEALS_OF: &str = "
    select seal.position, seal.org_sequence, seal.org_id as sealed_org_id,
        seal.event_id as sealed_event_id, encode(seal.previous_hash, 'hex') as previous_hash,
        encode(seal.hash, 'hex') as hash, event.id as event_id, event.org_id, event.domain,
        event.event_type, event.version, event.aggregate_id, event.payload, event.metadata,
        event.inserted_at, seal.inserted_at as sealed_at
    from events.seals as seal
    left join events.domain_events as event
        on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
    where seal.org_id = $4 and seal.org_sequence > $1 and seal.position <= $2
        and seal.position >= $5
        and ($6::timestamptz is null or seal.inserted_at >= $6)
        and ($7::timestamptz is null or seal.inserted_at < $7)
    order by seal.org_sequence
    limit $3";

fn seal_line(row: &PgRow, archived: &BTreeSet<Month>) -> Result<SealLine, ExportError> {
    let org_id: OrgId = row.try_get("sealed_org_id")?;
    let event_id: EventId = row.try_get("sealed_event_id")?;
    let stored_event_id: Option<EventId> = row.try_get("event_id")?;
    let stored_org_id: Option<OrgId> = row.try_get("org_id")?;
    let missing = stored_event_id.is_none();
    Ok(SealLine {
        position: row.try_get("position")?,
        org_id,
        org_sequence: row.try_get("org_sequence")?,
        event_id,
        facts: if missing { FactsLine::default() } else { facts(row, event_id)? },
        previous_hash: row.try_get("previous_hash")?,
        hash: row.try_get("hash")?,
        missing,
        archived: missing && archived.contains(&Month::of(row.try_get("sealed_at")?)),
        stored_org_id: stored_org_id.filter(|stored| *stored != org_id),
        stored_event_id: stored_event_id.filter(|stored| *stored != event_id),
    })
}

fn facts(row: &PgRow, event_id: EventId) -> Result<FactsLine, ExportError> {
    let text = |column| -> Result<Option<String>, ExportError> {
        let bytes: Vec<u8> = row.try_get(column)?;
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|source| ExportError::NotText { event_id, source })
    };
    let recorded_at: Timestamp = row.try_get("inserted_at")?;
    Ok(FactsLine {
        domain: row.try_get("domain")?,
        event_type: row.try_get("event_type")?,
        version: row.try_get("version")?,
        aggregate_id: row.try_get("aggregate_id")?,
        recorded_at_us: Some(recorded_at.timestamp_micros()),
        payload: text("payload")?,
        metadata: text("metadata")?,
    })
}

/// Events that the last snapshot remembered with the seals saw, and that have none.
async fn write_stranded(
    connection: &mut PgConnection,
    org_id: Option<OrgId>,
    head: Position,
    writer: &mut LineWriter<'_>,
) -> Result<u64, ExportError> {
    // The whole log against all seals: here a hash is what one wants.
    sqlx::raw_sql("set local enable_hashjoin = on").execute(&mut *connection).await?;
    let mut rows = sqlx::query(
        "select event.id as event_id, event.org_id, event.domain, event.event_type, event.version,
             event.aggregate_id, event.payload, event.metadata, event.inserted_at
         from events.domain_events as event
         where ($1::uuid is null or event.org_id = $1)
             and pg_visible_in_snapshot(event.tx, (
                 select seal.sealed_snapshot from events.seals as seal
                 where seal.sealed_snapshot is not null and seal.position <= $2
                 order by seal.position desc
                 limit 1))
             and not exists (
                 select from events.seals as seal
                 where seal.event_id = event.id and seal.arrival = event.arrival)
             and not exists (
                 select from events.duplicates as duplicate
                 where duplicate.arrival = event.arrival)
         order by event.arrival",
    )
    .bind(org_id)
    .bind(head.0)
    .fetch(connection);
    let mut stranded = 0;
    while let Some(row) = rows.try_next().await? {
        let event_id = row.try_get("event_id")?;
        let facts = facts(&row, event_id)?;
        let org_id = row.try_get("org_id")?;
        writer.write(&StrandedLine { without_seal: true, event_id, org_id, facts })?;
        stranded += 1;
    }
    Ok(stranded)
}
