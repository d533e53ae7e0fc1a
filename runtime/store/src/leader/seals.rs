//! The statements of the leader, over seals and what is set aside.

use std::collections::HashSet;

use kernel::{Digest, OrgId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::chain::{Seal, Unsealed};
use crate::unsealed::{Horizon, Target};

/// The last position given and the horizon stored with it; `None` in an empty log.
pub(super) async fn last_seal(
    session: &mut PgConnection,
) -> Result<Option<(i64, Horizon)>, sqlx::Error> {
    let row = sqlx::query(
        "select position, sealed_snapshot::text, target_snapshot::text, last_arrival
         from events.seals order by position desc limit 1",
    )
    .fetch_optional(session)
    .await?;
    row.map(|row| {
        let snapshot: Option<String> = row.try_get("target_snapshot")?;
        let last_arrival: Option<i64> = row.try_get("last_arrival")?;
        let target = snapshot
            .zip(last_arrival)
            .map(|(snapshot, last_arrival)| Target { snapshot, last_arrival });
        let horizon = Horizon { sealed: row.try_get("sealed_snapshot")?, target };
        Ok((row.try_get("position")?, horizon))
    })
    .transpose()
}

/// The last seals of the organisations that have any.
pub(super) async fn heads_of(
    session: &mut PgConnection,
    org_ids: &[OrgId],
) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::query(
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
    .fetch_all(session)
    .await
}

/// Stores `seals` and, on the last of them, the new horizon; answers how many were stored, which is
/// none when the epoch has passed. One statement, hence one commit.
pub(super) async fn store(
    session: &mut PgConnection,
    epoch: i64,
    seals: &[Seal],
    horizon: &Horizon,
) -> Result<u64, sqlx::Error> {
    let last_position = seals.last().map_or(0, |seal| seal.position);
    let target = horizon.target.as_ref();
    let stored = sqlx::query(
        "with leader as materialized (
             select epoch from events.sealer_state where epoch = $1 for share
         )
         insert into events.seals
             (position, arrival, event_id, inserted_at, org_id, org_sequence, previous_hash, hash,
              sealed_snapshot, target_snapshot, last_arrival)
         select seal.position, seal.arrival, seal.event_id, seal.inserted_at, seal.org_id,
             seal.org_sequence, seal.previous_hash, seal.hash,
             case when seal.position = $2 then $3::text::pg_snapshot end,
             case when seal.position = $2 then $4::text::pg_snapshot end,
             case when seal.position = $2 then $5 end
         from leader
         cross join unnest(
             $6::bigint[], $7::bigint[], $8::uuid[], $9::timestamptz[], $10::uuid[], $11::bigint[],
             $12::bytea[], $13::bytea[]
         ) as seal
             (position, arrival, event_id, inserted_at, org_id, org_sequence, previous_hash,
              hash)",
    )
    .bind(epoch)
    .bind(last_position)
    .bind(horizon.sealed.as_deref())
    .bind(target.map(|target| target.snapshot.as_str()))
    .bind(target.map(|target| target.last_arrival))
    .bind(column(seals, |seal| seal.position))
    .bind(column(seals, |seal| seal.arrival))
    .bind(column(seals, |seal| seal.event_id))
    .bind(column(seals, |seal| seal.inserted_at))
    .bind(column(seals, |seal| seal.org_id))
    .bind(column(seals, |seal| seal.org_sequence))
    .bind(column(seals, |seal| bytes(&seal.previous_hash)))
    .bind(column(seals, |seal| bytes(&seal.hash)))
    .execute(session)
    .await?;
    Ok(stored.rows_affected())
}

fn column<T>(seals: &[Seal], field: impl Fn(&Seal) -> T) -> Vec<T> {
    seals.iter().map(field).collect()
}

fn bytes(digest: &Digest) -> Vec<u8> {
    digest.as_bytes().to_vec()
}

/// Which of the events' ids are sealed already.
pub(super) async fn sealed_ids(
    session: &mut PgConnection,
    events: &[Unsealed],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let ids: Vec<_> = events.iter().map(|event| event.event_id).collect();
    let sealed: Vec<Uuid> =
        sqlx::query_scalar("select event_id from events.seals where event_id = any($1)")
            .bind(ids)
            .fetch_all(session)
            .await?;
    Ok(sealed.into_iter().collect())
}

/// Sets an event aside, for ever.
pub(super) async fn keep_duplicate(
    session: &mut PgConnection,
    duplicate: &Unsealed,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into events.duplicates (arrival, event_id, inserted_at, org_id, domain, found_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (arrival) do nothing",
    )
    .bind(duplicate.arrival)
    .bind(duplicate.event_id)
    .bind(duplicate.inserted_at)
    .bind(duplicate.org_id)
    .bind(&duplicate.domain)
    .bind(now)
    .execute(session)
    .await?;
    Ok(())
}
