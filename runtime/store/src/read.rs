//! Reading the log: by position, by aggregate, by organisation; always sealed, always in order.
//!
//! Few events are read in one statement. Many are read as a [`Run`]: a range of seals and the range
//! of events that belongs to it, each dense in its own table, put together here.
//!
//! **Invariant:** nothing here can return an event without a seal. The order of commits and the
//! order of sequence numbers differ, so whoever reads unsealed rows by number loses some of them.

mod matching;
mod run;
mod spans;
mod standing;

use kernel::{OrgId, Position, Topic};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

pub use crate::sealed::SealedRow;
use crate::sealed::{ReadError, SealedEvent, event_columns, seal_columns};
pub use matching::matching;
pub(crate) use matching::{Sieve, sifted};
pub use run::{Run, Stretch};
pub use standing::{Standing, standing};

/// A domain and an event type of it, as a consumer asks for them.
pub type EventName = (String, String);

/// Events with their seals, from the seals.
macro_rules! sealed_events {
    ($conditions:literal) => {
        concat!(
            "select ",
            event_columns!(),
            ", ",
            seal_columns!(),
            " from events.seals as seal
             join events.domain_events as event
                 on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
             where ",
            $conditions
        )
    };
}
use sealed_events;

/// The highest sealed position; [`Position::ORIGIN`] in an empty log.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn head(connection: &mut PgConnection) -> Result<Position, sqlx::Error> {
    sqlx::query_scalar("select coalesce(max(position), 0) from events.seals")
        .fetch_one(connection)
        .await
        .map(Position)
}

/// The position of the event `event_id`, if it is sealed.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn position_of(
    connection: &mut PgConnection,
    event_id: kernel::EventId,
) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_scalar("select position from events.seals where event_id = $1")
        .bind(event_id)
        .fetch_optional(connection)
        .await
        .map(|position| position.map(Position))
}

/// Up to `limit` events after `position`, in order.
///
/// # Errors
/// [`ReadError`].
pub async fn after(
    connection: &mut PgConnection,
    position: Position,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let statement = sealed_events!("seal.position > $1 order by seal.position limit $2");
    let rows = sqlx::query(statement)
        .bind(position.0)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    parsed(rows)
}

/// Up to `limit` events of one aggregate after `position`, in order.
///
/// # Errors
/// [`ReadError`].
pub async fn of_aggregate(
    connection: &mut PgConnection,
    org_id: OrgId,
    domain: &str,
    aggregate_id: Uuid,
    position: Position,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let rows = sqlx::query(concat!(
        "select ",
        event_columns!(),
        ", ",
        seal_columns!(),
        // From the events, so by the seals' index of ids; the arrival tells duplicates apart.
        " from events.domain_events as event
         join events.seals as seal
             on seal.event_id = event.id and seal.arrival = event.arrival
         where event.org_id = $1 and event.aggregate_id = $2 and event.domain = $3
             and seal.position > $4
         order by seal.position
         limit $5"
    ))
    .bind(org_id)
    .bind(aggregate_id)
    .bind(domain)
    .bind(position.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    parsed(rows)
}

/// Up to `limit` events of `topic` after `position`, in order; for clients that come back.
///
/// The log is walked from `position` on, so the caller bounds how far back that may be.
///
/// # Errors
/// [`ReadError`].
pub async fn of_topic(
    connection: &mut PgConnection,
    topic: &Topic,
    position: Position,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let rows = sqlx::query(sealed_events!(
        "seal.org_id = $1 and seal.position > $4 and event.domain = $2
             and ($3::uuid is null or event.aggregate_id = $3)
         order by seal.position
         limit $5"
    ))
    .bind(topic.org_id)
    .bind(&topic.domain)
    .bind(topic.aggregate_id)
    .bind(position.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    parsed(rows)
}

/// Up to `limit` events of one organisation after its sequence number `org_sequence`, in order.
///
/// # Errors
/// [`ReadError`].
pub async fn of_organisation(
    connection: &mut PgConnection,
    org_id: OrgId,
    org_sequence: i64,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let rows = sqlx::query(sealed_events!(
        "seal.org_id = $1 and seal.org_sequence > $2 order by seal.org_sequence limit $3"
    ))
    .bind(org_id)
    .bind(org_sequence)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    parsed(rows)
}

/// How many committed events wait for a seal.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn unsealed_count(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query(
        "with looked as materialized (
             select coalesce(
                 (select sealed_snapshot from events.seals order by position desc limit 1),
                 '1:1:'
             ) as snapshot
         )
         select count(*) as waiting
         from looked
         cross join lateral (
             select event.id, event.arrival from events.domain_events as event
             where event.tx >= pg_snapshot_xmax(looked.snapshot)
             union all
             select event.id, event.arrival
             from pg_snapshot_xip(looked.snapshot) as running (tx)
             join events.domain_events as event on event.tx = running.tx
         ) as candidate
         where not exists (
                 select from events.seals as seal
                 where seal.event_id = candidate.id and seal.arrival = candidate.arrival)
             and not exists (
                 select from events.duplicates as duplicate
                 where duplicate.arrival = candidate.arrival)",
    )
    .fetch_one(connection)
    .await?;
    row.try_get("waiting")
}

/// The events in rows of both lists of columns.
fn parsed(rows: Vec<PgRow>) -> Result<Vec<SealedEvent>, ReadError> {
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        events.extend(SealedRow::joined(row)?.event()?);
    }
    Ok(events)
}
