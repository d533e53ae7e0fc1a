//! What waits for a seal: found by the difference of two snapshots.
//!
//! Every event carries the id of the transaction that recorded it. The sealer remembers the
//! snapshot of its last look; a new look finds exactly the rows whose transaction is visible now
//! and was not then. Nothing is skipped and nothing waits for a neighbour that hangs in its
//! transaction: its rows are found in whichever look first sees them committed.
//!
//! **Invariant:** the cost of a look does not depend on how long some transaction has been hanging.
//! What was invisible then is either younger than that snapshot (a range of the index) or one of
//! the transactions that were running and are no more (a few probes); older rows are never visited
//! again.

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::chain::Unsealed;
use crate::sealed::{digest_of, event_columns};

/// Up to where the sealer has looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// Everything visible in this snapshot is sealed; `None` when that is not known.
    pub(crate) sealed: Option<String>,
    /// A look that found more than one batch: it is finished before the next one is taken, so that
    /// order by arrival holds over all of its batches.
    pub(crate) target: Option<Target>,
}

/// The part of a look that has been sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The snapshot of the look.
    pub(crate) snapshot: String,
    /// The last arrival sealed of it.
    pub(crate) last_arrival: i64,
}

impl Horizon {
    /// A snapshot in which nothing is visible.
    pub(crate) const NOTHING: &'static str = "1:1:";

    /// The horizon after a batch out of a look at `snapshot`; `last_arrival` if more is left of it.
    pub(crate) fn after(&self, snapshot: String, last_arrival: Option<i64>) -> Self {
        match last_arrival {
            None => Self { sealed: Some(snapshot), target: None },
            Some(last_arrival) => Self {
                sealed: self.sealed.clone(),
                target: Some(Target { snapshot, last_arrival }),
            },
        }
    }
}

/// What one look found.
#[derive(Debug)]
pub(crate) struct Found {
    /// In order of arrival.
    pub(crate) events: Vec<Unsealed>,
    /// The snapshot of the look; `None` if the difference of two snapshots found nothing.
    pub(crate) snapshot: Option<String>,
}

/// The statement of a look: what is younger than the horizon, and what was running then.
///
/// Two questions and not one with `or`: each is a range or a few probes of the index of
/// transactions, whatever Postgres believes about how few are new. With `or` it believed now and
/// then that walking through another index was as cheap, and read the whole log.
macro_rules! look {
    ($rest:literal, $order:literal) => {
        concat!(
            "with look as materialized (
                 select coalesce($2::text::pg_snapshot, pg_current_snapshot()) as snapshot
             ), batch as (
                 (select ",
            event_columns!(),
            "
                 from events.domain_events as event
                 where event.tx >= pg_snapshot_xmax($1::text::pg_snapshot)
                     and pg_visible_in_snapshot(event.tx, (select look.snapshot from look))
                     and not exists (
                         select from events.duplicates as duplicate
                         where duplicate.arrival = ",
            $order,
            ")
                     and ",
            $rest,
            " order by ",
            $order,
            " limit $4)
                 union all
                 (select ",
            event_columns!(),
            "
                 from events.domain_events as event
                 where event.tx = any (array(
                         select was.running
                         from pg_snapshot_xip($1::text::pg_snapshot) as was (running)
                         where pg_visible_in_snapshot(
                             was.running, (select look.snapshot from look))))
                     and pg_visible_in_snapshot(event.tx, (select look.snapshot from look))
                     and not exists (
                         select from events.duplicates as duplicate
                         where duplicate.arrival = event.arrival + 0)
                     and ",
            $rest,
            " order by event.arrival + 0 limit $4)
             ), first_ones as (
                 select * from batch order by batch.arrival limit $4
             )
             select first_ones.*,
                 case when row_number() over () = 1 then (select look.snapshot::text from look) end
                     as snapshot
             from first_ones
             order by first_ones.arrival"
        )
    };
}

/// Up to `limit` events beyond `horizon`, in order of arrival.
///
/// Only digests are kept: rows are hashed as they stream in, so a batch of large payloads needs no
/// more memory than a batch of small ones.
pub(crate) async fn find(
    connection: &mut PgConnection,
    horizon: &Horizon,
    limit: i64,
) -> Result<Found, sqlx::Error> {
    let target = horizon.target.as_ref();
    let sealed = horizon.sealed.as_deref().unwrap_or(Horizon::NOTHING);
    // A new look is ordered by an expression, so that no index gives that order: the events'
    // primary key would, and Postgres, which cannot know how few are new, would walk through all
    // of it. What is left of a look lies behind the last arrival sealed of it, where the key is
    // right.
    let rows = match target {
        None => sqlx::query(look!("$3::bigint is not null", "event.arrival + 0")),
        Some(_) => sqlx::query(look!("event.arrival > $3", "event.arrival")),
    }
    .bind(sealed)
    .bind(target.map(|target| target.snapshot.as_str()))
    .bind(target.map_or(0, |target| target.last_arrival))
    .bind(limit)
    .fetch(connection);
    collect(rows).await
}

/// Up to `limit` events that have no seal, found by comparing the tables. Slow, and needed only
/// when no remembered snapshot can be trusted: after a logical restore into another cluster.
pub(crate) async fn find_by_comparison(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Found, sqlx::Error> {
    // Taken first: if the comparison then finds nothing, everything this snapshot sees is sealed.
    let snapshot: String = sqlx::query_scalar("select pg_current_snapshot()::text")
        .fetch_one(&mut *connection)
        .await?;
    let rows = sqlx::query(concat!(
        "select ",
        event_columns!(),
        ", $2 as snapshot
         from events.domain_events as event
         where not exists (select from events.seals as seal where seal.event_id = event.id)
         order by event.arrival
         limit $1"
    ))
    .bind(limit)
    .bind(&snapshot)
    .fetch(connection);
    let mut found = collect(rows).await?;
    found.snapshot = Some(snapshot);
    Ok(found)
}

async fn collect(
    mut rows: impl futures_util::Stream<Item = Result<PgRow, sqlx::Error>> + Unpin,
) -> Result<Found, sqlx::Error> {
    let mut found = Found { events: Vec::new(), snapshot: None };
    while let Some(row) = rows.try_next().await? {
        if found.events.is_empty() {
            found.snapshot = row.try_get("snapshot")?;
        }
        found.events.push(Unsealed {
            arrival: row.try_get("arrival")?,
            event_id: row.try_get("event_id")?,
            inserted_at: row.try_get("inserted_at")?,
            org_id: row.try_get("org_id")?,
            domain: row.try_get("domain")?,
            event_type: row.try_get("event_type")?,
            digest: digest_of(&row)?,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_look_keeps_its_start_and_its_snapshot() {
        let horizon = Horizon { sealed: Some("5:5:".into()), target: None };

        let unfinished = horizon.after("9:12:10".into(), Some(42));
        let finished = unfinished.after("9:12:10".into(), None);

        assert_eq!(unfinished.sealed.as_deref(), Some("5:5:"));
        assert_eq!(unfinished.target.map(|target| target.last_arrival), Some(42));
        assert_eq!(finished.sealed.as_deref(), Some("9:12:10"));
        assert_eq!(finished.target, None);
    }
}
