//! The seals of an import: appended by the importer itself, as a leader of one batch.
//!
//! The epoch is raised and its row held until the commit, so no sealer can store a batch beside
//! this one, and none that began before it can store one afterwards.
//!
//! The sealer looks for events by transaction. It must never look at those of this one again, and
//! must still find everything else that waits; so the horizon stored with the last seal is the one
//! before it, with this transaction as if it had been visible then.

use kernel::{Digest, OrgId, Position, Timestamp};
use sqlx::{PgConnection, Row};

use super::{ImportError, Reactions};

/// Seals what waits in `importing`; answers the first and the last position.
pub(super) async fn append(
    connection: &mut PgConnection,
    reactions: Reactions,
    sha256: Digest,
    now: Timestamp,
) -> Result<(Position, Position), ImportError> {
    sqlx::raw_sql(
        "set local role finnest_runtime;
         update events.sealer_state set epoch = epoch + 1;
         set local enable_seqscan = off; set local jit = off",
    )
    .execute(&mut *connection)
    .await?;
    refuse_overtaken(connection).await?;
    refuse_known_ids(connection).await?;
    let before = crate::read::head(connection).await?;
    let sealed = store(connection, before).await?;
    let after = Position(before.0 + i64::try_from(sealed).unwrap_or(i64::MAX));
    sqlx::query(
        "insert into events.imports
             (first_position, last_position, runs_reactions, sha256, imported_at)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(before.next().0)
    .bind(after.0)
    .bind(reactions == Reactions::Run)
    .bind(sha256.as_bytes().as_slice())
    .bind(now)
    .execute(connection)
    .await?;
    Ok((before.next(), after))
}

/// Each chain must still end where the imported part begins, and nothing of its organisation may
/// wait for a seal that would then come after it.
async fn refuse_overtaken(connection: &mut PgConnection) -> Result<(), ImportError> {
    let overtaken: Option<OrgId> = sqlx::query_scalar(
        "with part as materialized (
             select org_id, min(org_sequence) as first_sequence from importing group by org_id
         ), looked as materialized (
             select coalesce(
                 (select sealed_snapshot from events.seals order by position desc limit 1),
                 '1:1:'
             ) as snapshot
         )
         select part.org_id
         from part
         where part.first_sequence <> 1 + coalesce((
                 select seal.org_sequence from events.seals as seal
                 where seal.org_id = part.org_id
                 order by seal.org_sequence desc limit 1), 0)
             or exists (
                 select
                 from looked
                 cross join lateral (
                     select event.id, event.org_id, event.arrival, event.tx
                     from events.domain_events as event
                     where event.tx >= pg_snapshot_xmax(looked.snapshot)
                     union all
                     select event.id, event.org_id, event.arrival, event.tx
                     from pg_snapshot_xip(looked.snapshot) as running (tx)
                     join events.domain_events as event on event.tx = running.tx
                 ) as waiting
                 where waiting.org_id = part.org_id
                     and waiting.tx <> pg_current_xact_id()
                     and not exists (
                         select from events.seals as seal where seal.event_id = waiting.id)
                     and not exists (
                         select from events.duplicates as duplicate
                         where duplicate.arrival = waiting.arrival))
         limit 1",
    )
    .fetch_optional(connection)
    .await?;
    overtaken.map_or(Ok(()), |org_id| Err(ImportError::Overtaken { org_id }))
}

async fn refuse_known_ids(connection: &mut PgConnection) -> Result<(), ImportError> {
    let known = sqlx::query(
        "select importing.event_id from importing
         join events.seals as seal on seal.event_id = importing.event_id
         order by importing.arrival limit 1",
    )
    .fetch_optional(connection)
    .await?;
    match known {
        None => Ok(()),
        Some(row) => Err(ImportError::ElsewhereAlready { event_id: row.try_get("event_id")? }),
    }
}

async fn store(connection: &mut PgConnection, head: Position) -> Result<u64, sqlx::Error> {
    let stored = sqlx::query(
        "with horizon as materialized (
             select last.sealed_snapshot, last.target_snapshot, last.last_arrival
             from (select) as nothing
             left join lateral (
                 select sealed_snapshot, target_snapshot, last_arrival, position
                 from events.seals order by position desc limit 1
             ) as last on true
         ), numbered as materialized (
             select importing.*, $1 + row_number() over (order by arrival) as position,
                 lead(arrival) over (order by arrival) is null as is_last
             from importing
         )
         insert into events.seals
             (position, event_id, arrival, inserted_at, org_id, org_sequence, previous_hash, hash,
              sealed_snapshot, target_snapshot, last_arrival)
         select numbered.position, numbered.event_id, numbered.arrival, numbered.inserted_at,
             numbered.org_id, numbered.org_sequence, numbered.previous_hash, numbered.hash,
             case when is_last then events.with_this_visible(case
                 when $1 = 0 then '1:1:'::pg_snapshot else horizon.sealed_snapshot end) end,
             case when is_last then events.with_this_visible(horizon.target_snapshot) end,
             case when is_last then horizon.last_arrival end
         from numbered
         cross join horizon
         order by numbered.position",
    )
    .bind(head.0)
    .execute(connection)
    .await?;
    Ok(stored.rows_affected())
}
