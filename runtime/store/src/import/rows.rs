//! The rows of an import: the events themselves, and what will become their seals.

use std::collections::BTreeMap;

use kernel::{Link, OrgId};
use sqlx::{PgConnection, Row};

use crate::chained::{ChainedEvent, Part};
use crate::sealed::digest;

/// The last event of an organisation here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) org_sequence: i64,
    pub(super) link: Link,
}

/// The last seals of those of the organisations that have any.
pub(super) async fn heads(
    connection: &mut PgConnection,
    org_ids: &[OrgId],
) -> Result<BTreeMap<OrgId, Head>, sqlx::Error> {
    let rows = sqlx::query(
        "select head.org_id, head.org_sequence, head.hash
         from unnest($1::uuid[]) as organisation (org_id)
         cross join lateral (
             select seal.org_id, seal.org_sequence, seal.hash
             from events.seals as seal
             where seal.org_id = organisation.org_id
             order by seal.org_sequence desc
             limit 1
         ) as head",
    )
    .bind(org_ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let head =
                Head { org_sequence: row.try_get("org_sequence")?, link: digest(row, "hash")? };
            Ok((row.try_get("org_id")?, head))
        })
        .collect()
}

/// Whether the chain here, where it goes further than the file, went through the file's last link.
pub(super) async fn is_here(
    connection: &mut PgConnection,
    org_id: OrgId,
    part: &Part,
    here: Option<&Head>,
) -> Result<bool, sqlx::Error> {
    if here.is_none_or(|here| here.org_sequence <= part.last_sequence) {
        return Ok(true);
    }
    sqlx::query_scalar(
        "select exists (
             select from events.seals where org_id = $1 and org_sequence = $2 and hash = $3)",
    )
    .bind(org_id)
    .bind(part.last_sequence)
    .bind(part.last.as_bytes().as_slice())
    .fetch_one(connection)
    .await
}

/// Makes the table in which seals wait for their positions. It is gone with the transaction.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "create temporary table importing (
             arrival bigint primary key,
             event_id uuid not null,
             inserted_at timestamptz not null,
             org_id uuid not null,
             org_sequence bigint not null,
             previous_hash bytea not null,
             hash bytea not null
         ) on commit drop;
         grant select on importing to finnest_runtime",
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Inserts `events`; they arrive in their order.
pub(super) async fn insert(
    connection: &mut PgConnection,
    events: &[ChainedEvent],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with given as materialized (
             select nextval(pg_get_serial_sequence('events.domain_events', 'arrival')) as arrival,
                 line.*
             from unnest(
                 $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::uuid[],
                 $7::bytea[], $8::bytea[], $9::timestamptz[], $10::bigint[], $11::bytea[],
                 $12::bytea[]
             ) as line
                 (id, org_id, domain, event_type, version, aggregate_id, payload, metadata,
                  inserted_at, org_sequence, previous_hash, hash)
         ), recorded as (
             insert into events.domain_events
                 (id, org_id, domain, event_type, version, aggregate_id, payload, metadata,
                  inserted_at, arrival)
             overriding system value
             select id, org_id, domain, event_type, version, aggregate_id, payload, metadata,
                 inserted_at, arrival
             from given
         )
         insert into importing
             (arrival, event_id, inserted_at, org_id, org_sequence, previous_hash, hash)
         select arrival, id, inserted_at, org_id, org_sequence, previous_hash, hash
         from given",
    )
    .bind(column(events, |event| event.event_id))
    .bind(column(events, |event| event.org_id))
    .bind(column(events, |event| event.domain.as_str()))
    .bind(column(events, |event| event.event_type.as_str()))
    .bind(column(events, |event| i32::from(event.version)))
    .bind(column(events, |event| event.aggregate_id))
    .bind(column(events, |event| event.payload.as_slice()))
    .bind(column(events, |event| event.metadata.as_slice()))
    .bind(column(events, |event| event.recorded_at))
    .bind(column(events, |event| event.org_sequence))
    .bind(column(events, |event| event.previous_hash.as_bytes().to_vec()))
    .bind(column(events, |event| event.hash.as_bytes().to_vec()))
    .execute(connection)
    .await
    .map(drop)
}

fn column<'a, T>(events: &'a [ChainedEvent], field: impl Fn(&'a ChainedEvent) -> T) -> Vec<T> {
    events.iter().map(field).collect()
}
