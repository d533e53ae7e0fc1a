//! The statements of a walk over the log.

use std::collections::HashSet;

use chrono::{Datelike as _, NaiveDate};
use kernel::{Digest, EventId, Link, OrgId, Position, Timestamp};
use sqlx::{PgConnection, Row};

use crate::chain::Head;
use crate::sealed::{digest, digest_of, event_columns};

/// The months that were archived, by their first days.
#[derive(Debug, Clone, Default)]
pub(super) struct Archived(HashSet<NaiveDate>);

impl Archived {
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let is_known: bool =
            sqlx::query_scalar("select to_regclass('events.archives') is not null")
                .fetch_one(&mut *connection)
                .await?;
        if !is_known {
            return Ok(Self::default());
        }
        let months: Vec<NaiveDate> =
            sqlx::query_scalar("select month from events.archives where detached_at is not null")
                .fetch_all(connection)
                .await?;
        Ok(Self(months.into_iter().collect()))
    }

    pub(super) fn covers(&self, instant: Timestamp) -> bool {
        let day = instant.date_naive();
        day.with_day(1).is_some_and(|first| self.0.contains(&first))
    }
}

/// Where these chains stood before their given numbers; nothing for one that had not begun.
pub(super) async fn heads_before(
    connection: &mut PgConnection,
    beginnings: &[(OrgId, i64)],
) -> Result<Vec<(OrgId, Head)>, sqlx::Error> {
    let (org_ids, numbers): (Vec<OrgId>, Vec<i64>) = beginnings.iter().copied().unzip();
    let rows = sqlx::query(
        "select head.org_id, head.org_sequence, head.hash
         from unnest($1::uuid[], $2::bigint[]) as beginning (org_id, org_sequence)
         cross join lateral (
             select seal.org_id, seal.org_sequence, seal.hash
             from events.seals as seal
             where seal.org_id = beginning.org_id and seal.org_sequence < beginning.org_sequence
             order by seal.org_sequence desc
             limit 1
         ) as head",
    )
    .bind(org_ids)
    .bind(numbers)
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

/// Where one chain stood before a position.
pub(super) async fn head_before(
    connection: &mut PgConnection,
    org_id: OrgId,
    position: Position,
) -> Result<Head, sqlx::Error> {
    let row = sqlx::query(
        "select org_sequence, hash from events.seals
         where org_id = $1 and position < $2
         order by org_sequence desc limit 1",
    )
    .bind(org_id)
    .bind(position.0)
    .fetch_optional(connection)
    .await?;
    row.map_or(Ok(Head::GENESIS), |row| {
        Ok(Head { org_sequence: row.try_get("org_sequence")?, link: digest(&row, "hash")? })
    })
}

/// The digest of the event at a place in the order of arrival, whoever it belongs to.
pub(super) async fn digest_at(
    connection: &mut PgConnection,
    arrival: i64,
    recorded_at: Timestamp,
) -> Result<Option<Digest>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "select ",
        event_columns!(),
        " from events.domain_events as event
         where event.arrival = $1 and event.inserted_at = $2"
    ))
    .bind(arrival)
    .bind(recorded_at)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(digest_of).transpose()
}

/// The link at a position, if it is sealed.
pub(super) async fn link_at(
    connection: &mut PgConnection,
    position: Position,
) -> Result<Option<Link>, sqlx::Error> {
    let row = sqlx::query("select hash from events.seals where position = $1")
        .bind(position.0)
        .fetch_optional(connection)
        .await?;
    row.map(|row| digest(&row, "hash")).transpose()
}

/// Events that the last snapshot remembered with the seals up to `head` saw, and that have none.
pub(super) async fn without_seal(
    connection: &mut PgConnection,
    org: Option<OrgId>,
    head: Position,
) -> Result<Vec<(OrgId, EventId)>, sqlx::Error> {
    let rows = sqlx::query(
        "select event.id, event.org_id
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
    .bind(org)
    .bind(head.0)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("org_id")?, row.try_get("id")?))).collect()
}

/// The furthest position anybody remembers.
pub(crate) async fn furthest_known(connection: &mut PgConnection) -> Result<Position, sqlx::Error> {
    sqlx::query_scalar(
        "select greatest(
             (select max(noted_position) from events.sealer_state),
             (select coalesce(max(position), 0) from events.cursors),
             (select coalesce(max(position), 0) from events.checkpoints))",
    )
    .fetch_one(connection)
    .await
    .map(Position)
}
