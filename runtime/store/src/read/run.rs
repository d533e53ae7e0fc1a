//! A run: many events in their order, at the speed at which Postgres reads two ranges.
//!
//! Each stretch of a run takes two statements: the seals, a dense range of positions, and their
//! events, a dense range of arrivals. Joined inside Postgres, every event would cost a look into an
//! index instead. While the caller works on one stretch, Postgres already sends the next.

use std::{fmt, mem};

use futures_util::TryStreamExt;
use futures_util::future::{BoxFuture, FutureExt, MaybeDone, maybe_done};
use kernel::{OrgId, Position};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Postgres, Row, Transaction};

use super::EventName;
use super::spans::Spans;
use crate::sealed::{SealedRow, event_columns, facts, seal_columns};
use crate::transaction;

/// Positions in a stretch at most.
pub(super) const POSITIONS_MAX: i64 = 10_000;
/// Positions in the first stretch: nothing is known yet about the size of the events.
const POSITIONS_FIRST: i64 = 1_000;
/// The size of payloads and metadata that a stretch is meant to have at most, in bytes.
const BYTES_AIM: usize = 16 * 1024 * 1024;
/// The size beyond which a stretch is read again in smaller parts, in bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads the log from one place to another, stretch by stretch. It holds one connection.
///
/// # Examples
/// ```no_run
/// # async fn count(pool: &sqlx::PgPool) -> Result<usize, sqlx::Error> {
/// use kernel::Position;
/// use store::read::Run;
///
/// let mut run = Run::over(pool, Position::ORIGIN, Position(1_000_000)).await?;
/// let mut bytes = 0;
/// while let Some(stretch) = run.next().await? {
///     for row in &stretch.rows {
///         bytes += row.facts()?.map_or(0, |facts| facts.payload.len());
///     }
/// }
/// # Ok(bytes)
/// # }
/// ```
pub struct Run(State);

/// What a run read at once.
#[derive(Debug)]
pub struct Stretch {
    /// The seals in their order, with their events. If the run was told [which](Run::of_types)
    /// events it reads, only those; otherwise all, also where the event is missing.
    pub rows: Vec<SealedRow>,
    /// The last position looked at.
    pub position: Position,
    /// The number of the last one within its organisation.
    pub org_sequence: i64,
}

enum State {
    /// Nothing was asked for yet.
    New(Box<Reading>),
    /// The next stretch is on its way.
    Ahead(MaybeDone<BoxFuture<'static, Ahead>>),
    Ended,
}

/// What is read ahead: the stretch, and what reads the one after it.
type Ahead = Result<Option<(Box<Reading>, Stretch)>, sqlx::Error>;

impl Run {
    /// Reads everything after `position` and up to `until`.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn over(
        pool: &PgPool,
        position: Position,
        until: Position,
    ) -> Result<Self, sqlx::Error> {
        Self::open(pool, Range { org_id: None, after: position.0, until }).await
    }

    /// Reads what belongs to one organisation after its sequence number `org_sequence` and up to
    /// the position `until`.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn over_organisation(
        pool: &PgPool,
        org_id: OrgId,
        org_sequence: i64,
        until: Position,
    ) -> Result<Self, sqlx::Error> {
        Self::open(pool, Range { org_id: Some(org_id), after: org_sequence, until }).await
    }

    async fn open(pool: &PgPool, range: Range) -> Result<Self, sqlx::Error> {
        let transaction = transaction::begin_reading(pool).await?;
        Ok(Self(State::New(Box::new(Reading {
            transaction,
            range,
            names: None,
            positions: POSITIONS_FIRST,
            seals: Vec::new(),
        }))))
    }

    /// Reads only events of the types in `filter`.
    ///
    /// # Panics
    /// When something was read already.
    #[must_use]
    pub fn of_types(self, filter: &[EventName]) -> Self {
        let State::New(mut reading) = self.0 else {
            panic!("a run is told which events it reads before it reads any");
        };
        reading.names = Some(filter.to_vec());
        Self(State::New(reading))
    }

    /// The next stretch; `None` at the end.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached; the run ends with it.
    ///
    /// # Cancel safety
    /// A run whose `next` was dropped has ended.
    pub async fn next(&mut self) -> Result<Option<Stretch>, sqlx::Error> {
        let read = match mem::replace(&mut self.0, State::Ended) {
            State::Ended => return Ok(None),
            State::New(mut reading) => {
                reading.find_seals().await?;
                reading.read().await?
            }
            State::Ahead(mut ahead) => {
                (&mut ahead).await;
                std::pin::Pin::new(&mut ahead).take_output().unwrap_or(Ok(None))?
            }
        };
        let Some((reading, stretch)) = read else { return Ok(None) };
        let mut ahead = maybe_done(reading.read().boxed());
        // Asked once, so that the statement is on its way while the caller is at work.
        let _ = (&mut ahead).now_or_never();
        self.0 = State::Ahead(ahead);
        Ok(Some(stretch))
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::New(_) => "new",
            State::Ahead(_) => "under way",
            State::Ended => "ended",
        };
        formatter.debug_tuple("Run").field(&state).finish()
    }
}

/// Which seals a run reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) org_id: Option<OrgId>,
    /// The last place read: a position, or a sequence number of the organisation.
    pub(super) after: i64,
    pub(super) until: Position,
}

impl Range {
    /// The next seals, up to `limit`.
    pub(super) async fn seals(
        self,
        connection: &mut PgConnection,
        limit: i64,
    ) -> Result<Vec<SealedRow>, sqlx::Error> {
        let mut rows = match self.org_id {
            None => sqlx::query(concat!(
                "select ",
                seal_columns!(),
                " from events.seals as seal
                 where seal.position > $1 and seal.position <= $2
                 order by seal.position limit $3"
            )),
            Some(_) => sqlx::query(concat!(
                "select ",
                seal_columns!(),
                " from events.seals as seal
                 where seal.org_sequence > $1 and seal.position <= $2 and seal.org_id = $4
                 order by seal.org_sequence limit $3"
            )),
        }
        .bind(self.after)
        .bind(self.until.0)
        .bind(limit);
        if let Some(org_id) = self.org_id {
            rows = rows.bind(org_id);
        }
        rows.fetch(connection)
            .map_ok(|row| SealedRow::alone(&row))
            .try_collect::<Vec<_>>()
            .await?
            .into_iter()
            .collect()
    }
}

/// A run between two statements.
struct Reading {
    transaction: Transaction<'static, Postgres>,
    range: Range,
    names: Option<Vec<EventName>>,
    /// How many seals are read next.
    positions: i64,
    /// The seals of the next stretch.
    seals: Vec<SealedRow>,
}

impl Reading {
    async fn find_seals(&mut self) -> Result<(), sqlx::Error> {
        self.seals = self.range.seals(&mut self.transaction, self.positions).await?;
        Ok(())
    }

    /// Reads the events of the seals it holds, and the seals after them.
    async fn read(mut self: Box<Self>) -> Ahead {
        if self.seals.is_empty() {
            self.transaction.rollback().await?;
            return Ok(None);
        }
        let mut seals = mem::take(&mut self.seals);
        let names = self.names.as_deref();
        let events = events_of(&mut self.transaction, &mut seals, self.range, names).await?;
        let last = seals.last().expect("there is at least one");
        let (position, org_sequence) = (last.position, last.org_sequence);
        self.range.after = if self.range.org_id.is_some() { org_sequence } else { position.0 };
        self.positions = next_count(seals.len(), events.bytes);
        let mut rows = joined(seals, events.rows)?;
        if self.names.is_some() {
            rows.retain(|row| !row.is_missing());
        }
        self.find_seals().await?;
        Ok(Some((self, Stretch { rows, position, org_sequence })))
    }
}

/// How many seals to read after `count` of them whose events had so many bytes.
fn next_count(count: usize, bytes: usize) -> i64 {
    let per_event = (bytes / count).max(1);
    let fitting = i64::try_from(BYTES_AIM / per_event).unwrap_or(POSITIONS_MAX);
    let grown = i64::try_from(count * 4).unwrap_or(POSITIONS_MAX);
    fitting.min(grown).clamp(1, POSITIONS_MAX)
}

/// Events in the order in which Postgres found them.
pub(super) struct Events {
    pub(super) rows: Vec<PgRow>,
    bytes: usize,
}

/// The events of `seals`, and perhaps some of their neighbours. If they are too large to be read at
/// once, `seals` is cut to the first few.
pub(super) async fn events_of(
    connection: &mut PgConnection,
    seals: &mut Vec<SealedRow>,
    range: Range,
    names: Option<&[EventName]>,
) -> Result<Events, sqlx::Error> {
    loop {
        match events(connection, seals, range, names).await? {
            Some(events) => return Ok(events),
            None => seals.truncate((seals.len() / 8).max(1)),
        }
    }
}

/// The events of `seals`; `None` if they are too large and could be read apart.
async fn events(
    connection: &mut PgConnection,
    seals: &[SealedRow],
    range: Range,
    names: Option<&[EventName]>,
) -> Result<Option<Events>, sqlx::Error> {
    let mut arrivals: Vec<i64> = seals.iter().map(|seal| seal.arrival).collect();
    arrivals.sort_unstable();
    let spans = Spans::over(arrivals);
    let (domains, types): (Vec<&str>, Vec<&str>) = names
        .unwrap_or_default()
        .iter()
        .map(|(domain, event_type)| (domain.as_str(), event_type.as_str()))
        .unzip();
    // The times bound which partitions are looked at.
    let mut found = sqlx::query(concat!(
        "select ",
        event_columns!(),
        " from unnest($1::bigint[], $2::bigint[]) as span (first, last)
         join events.domain_events as event
             on event.arrival >= span.first and event.arrival <= span.last
         where event.inserted_at >= $3 and event.inserted_at <= $4
             and ($5::uuid is null or event.org_id = $5)
             and ($6 or (event.domain, event.event_type)
                 in (select name.domain, name.event_type
                     from unnest($7::text[], $8::text[]) as name (domain, event_type)))"
    ))
    .bind(spans.firsts)
    .bind(spans.lasts)
    .bind(seals.iter().map(|seal| seal.recorded_at).min())
    .bind(seals.iter().map(|seal| seal.recorded_at).max())
    .bind(range.org_id)
    .bind(names.is_none())
    .bind(domains)
    .bind(types)
    .fetch(connection);
    let mut events = Events { rows: Vec::with_capacity(seals.len()), bytes: 0 };
    while let Some(row) = found.try_next().await? {
        events.bytes += row.try_get::<&[u8], _>("payload")?.len();
        events.rows.push(row);
        if events.bytes > BYTES_MAX && seals.len() > 1 {
            return Ok(None);
        }
    }
    Ok(Some(events))
}

/// Puts each event to its seal.
pub(super) fn joined(
    mut seals: Vec<SealedRow>,
    events: Vec<PgRow>,
) -> Result<Vec<SealedRow>, sqlx::Error> {
    let mut places: Vec<(i64, usize)> =
        seals.iter().enumerate().map(|(index, seal)| (seal.arrival, index)).collect();
    places.sort_unstable();
    let mut next = 0;
    for row in events {
        let arrival: i64 = row.try_get(0)?;
        // Most come in the order of their arrival, so the place is mostly the next one.
        if places.get(next).is_none_or(|place| place.0 != arrival) {
            next = places.partition_point(|place| place.0 < arrival);
        }
        let Some((_, index)) = places.get(next).filter(|place| place.0 == arrival) else {
            continue;
        };
        let seal = &mut seals[*index];
        if facts(&row)?.recorded_at == seal.recorded_at {
            seal.put(row);
        }
        next += 1;
    }
    Ok(seals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_grow_with_small_events_and_shrink_with_large_ones() {
        assert_eq!(next_count(1_000, 600 * 1_000), 4_000);
        assert_eq!(next_count(10_000, 600 * 10_000), 10_000);
        assert_eq!(next_count(10_000, 0), 10_000);
        assert_eq!(next_count(100, 100 * 256 * 1024), 64);
        assert_eq!(next_count(1, BYTES_MAX), 1);
    }
}
