//! Reading the log: by position, by aggregate, by organisation; always sealed, always in order.
//!
//! **Invariant:** nothing here can return an event without a seal. The order of commits and the
//! order of sequence numbers differ, so whoever reads unsealed rows by number loses some of them.

use kernel::{OrgId, Position, Topic};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::sealed::{ReadError, SealedEvent, sealed_event};

/// A domain and an event type of it, as a consumer asks for them.
pub type EventName = (String, String);

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

/// Up to `limit` events after `position`, in order.
///
/// # Errors
/// [`ReadError`].
pub async fn after(
    connection: &mut PgConnection,
    position: Position,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let rows = sqlx::query(
        "select seal.position, seal.org_sequence, event.id as event_id, event.org_id, event.domain,
             event.event_type, event.version, event.aggregate_id, event.payload, event.metadata,
             event.inserted_at, seal.previous_hash, seal.hash
         from events.seals as seal
         join events.domain_events as event
             on event.id = seal.event_id and event.inserted_at = seal.inserted_at
         where seal.position > $1
         order by seal.position
         limit $2",
    )
    .bind(position.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    sealed_events(&rows)
}

/// Up to `limit` events of the types in `filter` after `position` and up to `until`, in order.
///
/// # Errors
/// [`ReadError`].
pub async fn matching(
    connection: &mut PgConnection,
    position: Position,
    until: Position,
    filter: &[EventName],
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let (domains, types): (Vec<&str>, Vec<&str>) =
        filter.iter().map(|(domain, event_type)| (domain.as_str(), event_type.as_str())).unzip();
    let rows = sqlx::query(
        "select seal.position, seal.org_sequence, event.id as event_id, event.org_id, event.domain,
             event.event_type, event.version, event.aggregate_id, event.payload, event.metadata,
             event.inserted_at, seal.previous_hash, seal.hash
         from events.seals as seal
         join events.domain_events as event
             on event.id = seal.event_id and event.inserted_at = seal.inserted_at
         where seal.position > $1 and seal.position <= $2
             and (event.domain, event.event_type)
                 in (select name.domain, name.event_type
                     from unnest($3::text[], $4::text[]) as name (domain, event_type))
         order by seal.position
         limit $5",
    )
    .bind(position.0)
    .bind(until.0)
    .bind(domains)
    .bind(types)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    sealed_events(&rows)
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
    let rows = sqlx::query(
        "select seal.position, seal.org_sequence, event.id as event_id, event.org_id, event.domain,
             event.event_type, event.version, event.aggregate_id, event.payload, event.metadata,
             event.inserted_at, seal.previous_hash, seal.hash
         from events.domain_events as event
         join events.seals as seal
             on seal.event_id = event.id and seal.inserted_at = event.inserted_at
         where event.org_id = $1 and event.aggregate_id = $2 and event.domain = $3
             and seal.position > $4
         order by seal.position
         limit $5",
    )
    .bind(org_id)
    .bind(aggregate_id)
    .bind(domain)
    .bind(position.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    sealed_events(&rows)
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
    let rows = sqlx::query(
        "select seal.position, seal.org_sequence, event.id as event_id, event.org_id, event.domain,
             event.event_type, event.version, event.aggregate_id, event.payload, event.metadata,
             event.inserted_at, seal.previous_hash, seal.hash
         from events.seals as seal
         join events.domain_events as event
             on event.id = seal.event_id and event.inserted_at = seal.inserted_at
         where seal.org_id = $1 and seal.position > $4 and event.domain = $2
             and ($3::uuid is null or event.aggregate_id = $3)
         order by seal.position
         limit $5",
    )
    .bind(topic.org_id)
    .bind(&topic.domain)
    .bind(topic.aggregate_id)
    .bind(position.0)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    sealed_events(&rows)
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
    let rows = sqlx::query(
        "select seal.position, seal.org_sequence, event.id as event_id, event.org_id, event.domain,
             event.event_type, event.version, event.aggregate_id, event.payload, event.metadata,
             event.inserted_at, seal.previous_hash, seal.hash
         from events.seals as seal
         join events.domain_events as event
             on event.id = seal.event_id and event.inserted_at = seal.inserted_at
         where seal.org_id = $1 and seal.org_sequence > $2
         order by seal.org_sequence
         limit $3",
    )
    .bind(org_id)
    .bind(org_sequence)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    sealed_events(&rows)
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
             select event.id, event.inserted_at, event.arrival from events.domain_events as event
             where event.tx >= pg_snapshot_xmax(looked.snapshot)
             union all
             select event.id, event.inserted_at, event.arrival
             from pg_snapshot_xip(looked.snapshot) as running (tx)
             join events.domain_events as event on event.tx = running.tx
         ) as candidate
         where not exists (
                 select from events.seals as seal
                 where seal.event_id = candidate.id and seal.inserted_at = candidate.inserted_at)
             and not exists (
                 select from events.duplicates as duplicate
                 where duplicate.arrival = candidate.arrival)",
    )
    .fetch_one(connection)
    .await?;
    row.try_get("waiting")
}

fn sealed_events(rows: &[PgRow]) -> Result<Vec<SealedEvent>, ReadError> {
    rows.iter().map(sealed_event).collect()
}
