//! What a lane knows and notes of the organisations whose events wait.

use std::collections::HashMap;
use std::time::Duration;

use kernel::{EventId, OrgId, Position};
use sqlx::{PgConnection, Row};
use tokio::time::Instant;

use crate::consumer::lane::Lane;

/// The wait before the second attempt; doubled each time up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What a lane knows of an organisation whose events wait.
#[derive(Debug, Clone)]
pub(in crate::consumer) struct Waiting {
    pub(in crate::consumer) is_parked: bool,
    /// Everything of the organisation up to here is settled or of no interest.
    pub(in crate::consumer) looked: Position,
    /// The event; `None` while those behind it are caught up.
    pub(in crate::consumer) position: Option<Position>,
    pub(in crate::consumer) attempts: u32,
    /// When it is tried next.
    pub(in crate::consumer) due: Instant,
    /// Take one event at a time, to find the one that fails.
    pub(in crate::consumer) is_careful: bool,
}

/// What stands in the way of one lane.
pub(in crate::consumer) type Waitings = HashMap<OrgId, Waiting>;

/// The stalls of a lane.
pub(in crate::consumer) async fn of_lane(
    connection: &mut PgConnection,
    consumer: &str,
    lane: Lane,
) -> Result<Waitings, sqlx::Error> {
    let rows = sqlx::query(
        "select org_id, is_parked, settled_position, position, attempts,
             greatest(extract(epoch from next_attempt_at - clock_timestamp()) * 1000, 0)::bigint
                 as remaining_ms
         from events.stalls where consumer = $1",
    )
    .bind(consumer)
    .fetch_all(connection)
    .await?;
    let mut waitings = Waitings::new();
    for row in &rows {
        let org_id: OrgId = row.try_get("org_id")?;
        if Lane::of(org_id, lane.count) != lane {
            continue;
        }
        let attempts: i32 = row.try_get("attempts")?;
        let remaining_ms: i64 = row.try_get("remaining_ms")?;
        let remaining = Duration::from_millis(u64::try_from(remaining_ms).unwrap_or_default());
        let position = row.try_get::<Option<i64>, _>("position")?.map(Position);
        let waiting = Waiting {
            is_parked: row.try_get("is_parked")?,
            looked: Position(row.try_get("settled_position")?),
            position,
            attempts: u32::try_from(attempts).unwrap_or_default(),
            due: Instant::now() + remaining.min(WAIT_MAX),
            is_careful: position.is_some(),
        };
        waitings.insert(org_id, waiting);
    }
    Ok(waitings)
}

/// A failed attempt, to be noted.
#[derive(Debug)]
pub(in crate::consumer) struct Failure {
    pub(in crate::consumer) org_id: OrgId,
    pub(in crate::consumer) is_parked: bool,
    pub(in crate::consumer) settled: Position,
    pub(in crate::consumer) position: Position,
    pub(in crate::consumer) event_id: EventId,
    pub(in crate::consumer) error: String,
    pub(in crate::consumer) attempts: u32,
}

impl Failure {
    /// How long to wait before the next attempt.
    pub(in crate::consumer) fn wait(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.attempts.saturating_sub(1));
        WAIT_MIN.saturating_mul(doubled).min(WAIT_MAX)
    }
}

/// Notes a failed attempt.
pub(in crate::consumer) async fn note(
    connection: &mut PgConnection,
    consumer: &str,
    failure: &Failure,
) -> Result<(), sqlx::Error> {
    let wait_ms = i64::try_from(failure.wait().as_millis()).unwrap_or(i64::MAX);
    sqlx::query(
        "insert into events.stalls as stall
             (consumer, org_id, is_parked, settled_position, position, event_id, error, attempts,
              stalled_at, next_attempt_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp(),
             clock_timestamp() + $9 * interval '1 ms')
         on conflict (consumer, org_id) do update
             set is_parked = excluded.is_parked, settled_position = excluded.settled_position,
                 position = excluded.position, event_id = excluded.event_id,
                 error = excluded.error, attempts = excluded.attempts,
                 stalled_at = case when stall.position = excluded.position
                     then stall.stalled_at else excluded.stalled_at end,
                 next_attempt_at = excluded.next_attempt_at",
    )
    .bind(consumer)
    .bind(failure.org_id)
    .bind(failure.is_parked)
    .bind(failure.settled.0)
    .bind(failure.position.0)
    .bind(failure.event_id)
    .bind(&failure.error)
    .bind(i32::try_from(failure.attempts).unwrap_or(i32::MAX))
    .bind(wait_ms)
    .execute(connection)
    .await?;
    Ok(())
}

/// Everything of a parked organisation up to `settled` has had its effect or is skipped.
pub(in crate::consumer) async fn settle(
    connection: &mut PgConnection,
    consumer: &str,
    org_id: OrgId,
    settled: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update events.stalls
         set settled_position = $3, position = null, event_id = null, error = null, attempts = 0,
             next_attempt_at = clock_timestamp()
         where consumer = $1 and org_id = $2",
    )
    .bind(consumer)
    .bind(org_id)
    .bind(settled.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Nothing of the organisation stands in the way any more.
pub(in crate::consumer) async fn remove(
    connection: &mut PgConnection,
    consumer: &str,
    org_id: OrgId,
) -> Result<(), sqlx::Error> {
    sqlx::query("delete from events.stalls where consumer = $1 and org_id = $2")
        .bind(consumer)
        .bind(org_id)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_further_and_further_apart_up_to_five_seconds() {
        let wait = |attempts| {
            let failure = Failure {
                org_id: OrgId::new(),
                is_parked: false,
                settled: Position(6),
                position: Position(7),
                event_id: EventId::new(),
                error: String::new(),
                attempts,
            };
            failure.wait().as_millis()
        };

        assert_eq!([1, 2, 3, 6, 7, 99].map(wait), [100, 200, 400, 3_200, 5_000, 5_000]);
    }
}
