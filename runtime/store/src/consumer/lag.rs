//! Lag: how far the lanes of a consumer are behind, at a cost that does not grow with it.

use kernel::{Position, Timestamp};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::filter::Filter;
use super::lane::Lane;
use super::stall::Stall;
use crate::cursor;

/// Positions that are looked through for events of interest; beyond them, their number is
/// estimated by what was found so far.
const COUNT_POSITIONS_MAX: i64 = 10_000;

/// How far a lane of a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The name of its cursor: that of the consumer, with the lane if it has several (`name#2/4`).
    pub name: String,
    /// Everything up to here has had its effect, or waits with its organisation.
    pub position: Position,
    /// When the cursor was last moved.
    pub updated_at: Timestamp,
    /// Events that wait for it; those of no interest to it do not count.
    pub events: u64,
    /// Whether their number is estimated from the first of them.
    pub is_estimated: bool,
    /// How long the oldest of them has been recorded, in whole seconds by the clock of the
    /// database.
    pub seconds: u64,
    /// Which process works the lane; `None` if nobody does.
    pub holder: Option<Uuid>,
}

impl Lag {
    /// Whether `stall` is in the way of this lane.
    #[must_use]
    pub fn is_about(&self, stall: &Stall) -> bool {
        let lane = Lane::named(&self.name);
        lane.is_some_and(|lane| {
            lane.name(&stall.consumer) == self.name && Lane::of(stall.org_id, lane.count) == lane
        })
    }
}

/// How far the lanes of `consumer` are behind `head`, in their order; none before its first start.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn of_consumer(
    connection: &mut PgConnection,
    consumer: &str,
    filter: &Filter,
    head: Position,
) -> Result<Vec<Lag>, sqlx::Error> {
    let mut lags = Vec::new();
    for cursor in cursor::list_of(connection, consumer).await? {
        let Some(lane) = Lane::named(&cursor.name) else { continue };
        let until = Position(head.0.min(cursor.position.0 + COUNT_POSITIONS_MAX));
        let waiting = waiting(connection, cursor.position, until, lane, filter).await?;
        let looked = u64::try_from(until.0 - cursor.position.0).unwrap_or_default().max(1);
        let behind = u64::try_from(head.0 - cursor.position.0).unwrap_or_default();
        let holder = sqlx::query_scalar(
            "select holder from events.leases where name = $1 and expires_at > clock_timestamp()",
        )
        .bind(&cursor.name)
        .fetch_optional(&mut *connection)
        .await?;
        lags.push(Lag {
            name: cursor.name,
            position: cursor.position,
            updated_at: cursor.updated_at,
            events: estimated(waiting.count, looked, behind),
            is_estimated: behind > looked,
            seconds: waiting.seconds,
            holder,
        });
    }
    lags.sort_unstable_by_key(|lag| Lane::named(&lag.name).map(|lane| lane.number));
    Ok(lags)
}

/// How many there are in `behind` positions, if there are `count` in the first `looked` of them.
fn estimated(count: u64, looked: u64, behind: u64) -> u64 {
    if behind <= looked { count } else { count.saturating_mul(behind) / looked }
}

struct Found {
    count: u64,
    seconds: u64,
}

async fn waiting(
    connection: &mut PgConnection,
    after: Position,
    until: Position,
    lane: Lane,
    filter: &Filter,
) -> Result<Found, sqlx::Error> {
    let (domains, types): (Vec<&str>, Vec<&str>) =
        filter.names.iter().map(|name| (name.0.as_str(), name.1.as_str())).unzip();
    let row = sqlx::query(
        "select count(*) as count,
             coalesce(extract(epoch from clock_timestamp() - min(event.inserted_at)), 0)::bigint
                 as seconds
         from events.seals as seal
         join events.domain_events as event
             on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
         where seal.position > $1 and seal.position <= $2
             and ($3 = 1
                 or ('x' || right(seal.org_id::text, 8))::bit(32)::bigint % $3 = $4 - 1)
             and (cardinality($5::uuid[]) = 0 or seal.org_id = any($5))
             and ($6
                 or (event.domain, event.event_type)
                     in (select name.domain, name.event_type
                         from unnest($7::text[], $8::text[]) as name (domain, event_type))
                 or event.domain = any($9) or event.event_type = any($10))",
    )
    .bind(after.0)
    .bind(until.0)
    .bind(i64::from(lane.count))
    .bind(i64::from(lane.number))
    .bind(&filter.org_ids[..])
    .bind(filter.is_everything)
    .bind(domains)
    .bind(types)
    .bind(&filter.domains[..])
    .bind(&filter.types[..])
    .fetch_one(connection)
    .await?;
    let whole = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(Found { count: whole(row.try_get("count")?), seconds: whole(row.try_get("seconds")?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_exact_as_far_as_one_looks_and_then_in_proportion() {
        assert_eq!(estimated(7, 10_000, 9_000), 7);
        assert_eq!(estimated(2_500, 10_000, 1_000_000), 250_000);
        assert_eq!(estimated(0, 10_000, 1_000_000), 0);
    }
}
