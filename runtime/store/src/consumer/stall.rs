//! Stalls: events that a consumer cannot digest, and what an operator may do about them.
//!
//! They stand in a table, so every node can show them and an operator can act on them wherever the
//! consumer runs: it looks at the table while something stands in its way.

mod waiting;

use kernel::{EventId, OrgId, Position, Timestamp};
use serde::Serialize;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::lane::Lane;
use super::open;
use crate::cursor::{self, Standing};
use crate::transaction;
pub(super) use waiting::{Failure, Waiting, Waitings, note, of_lane, remove, settle};

/// Something stands in the way of a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stall {
    /// The consumer's persistent name.
    pub consumer: String,
    /// The organisation whose events wait.
    pub org_id: OrgId,
    /// Whether the organisation alone waits, and not its whole lane.
    pub is_parked: bool,
    /// Everything of the organisation up to here has had its effect or was skipped.
    pub settled_position: Position,
    /// The event's place; absent while events that waited behind it are caught up.
    pub position: Option<Position>,
    /// The event.
    pub event_id: Option<EventId>,
    /// Why it cannot be digested, with all causes.
    pub error: Option<String>,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it was met first, by the clock of the database.
    pub stalled_at: Timestamp,
    /// When it is tried again, by the clock of the database.
    pub next_attempt_at: Timestamp,
}

/// An event that a consumer leaves out by order of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedEvent {
    /// Its place among what was skipped.
    pub number: i64,
    /// The consumer's persistent name.
    pub consumer: String,
    /// The event's place.
    pub position: Position,
    /// The event.
    pub event_id: EventId,
    /// The organisation it belongs to.
    pub org_id: OrgId,
    /// Why it was skipped.
    pub reason: String,
    /// Who ordered it.
    pub skipped_by: String,
    /// Why it could not be digested.
    pub error: Option<String>,
    /// When it was skipped, by the clock of the database.
    pub skipped_at: Timestamp,
}

/// An order to leave an event out.
#[derive(Debug, Clone)]
pub struct Skip {
    /// The consumer's persistent name.
    pub consumer: String,
    /// The event's place: where the consumer is stalled.
    pub position: Position,
    /// Why.
    pub reason: String,
    /// Who orders it.
    pub skipped_by: String,
}

/// An event was not skipped.
#[derive(Debug, thiserror::Error)]
pub enum SkipError {
    /// The consumer is not stalled at that event.
    #[error("{consumer} is not stalled at position {position}")]
    NotStalledThere {
        /// The consumer.
        consumer: String,
        /// The position asked for.
        position: Position,
    },
    /// The consumer is trying the event just now.
    #[error("{consumer} is trying the event at position {position} just now")]
    Busy {
        /// The consumer.
        consumer: String,
        /// The position asked for.
        position: Position,
    },
    /// Postgres refused or could not be reached.
    #[error("the event could not be skipped")]
    Database(#[from] sqlx::Error),
}

/// All stalls, by consumer and organisation.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Stall>, sqlx::Error> {
    let rows = sqlx::query(
        "select consumer, org_id, is_parked, settled_position, position, event_id, error, attempts,
             stalled_at, next_attempt_at
         from events.stalls
         order by consumer, org_id",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(stall).collect()
}

/// Has a consumer try what stands in its way at once; answers how many events those are.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn retry(pool: &PgPool, consumer: &str) -> Result<u64, sqlx::Error> {
    let mut transaction = transaction::begin(pool).await?;
    let hurried = sqlx::query(
        "update events.stalls set next_attempt_at = clock_timestamp()
         where consumer = $1 and position is not null",
    )
    .bind(consumer)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(hurried.rows_affected())
}

/// Leaves out the event at which a consumer is stalled: noted for ever in the commit that moves the
/// cursor past it.
///
/// # Errors
/// [`SkipError`].
pub async fn skip(pool: &PgPool, order: &Skip) -> Result<SkippedEvent, SkipError> {
    let (consumer, position) = (&order.consumer, order.position);
    let busy = |error: sqlx::Error| match error.as_database_error().and_then(DatabaseError::code) {
        Some(code) if code == "55P03" => SkipError::Busy { consumer: consumer.clone(), position },
        _ => SkipError::Database(error),
    };
    let not_there = || SkipError::NotStalledThere { consumer: consumer.clone(), position };
    let begin = "begin; set local role finnest_runtime; set local lock_timeout = '2s'";
    let mut transaction = transaction::open(pool, begin).await?;
    // The cursors first, as consumers do: what they are at is finished, and nothing new begins.
    let cursors = cursor::of_consumer(&mut transaction, consumer, true).await.map_err(busy)?;
    let found = at(&mut transaction, consumer, position).await?.ok_or_else(not_there)?;
    let cursor =
        cursors.into_iter().find(|cursor| is_of(cursor, found.org_id)).ok_or_else(not_there)?;
    let mut moved = Standing { epoch: cursor.epoch + 1, ..cursor.clone() };
    if found.is_parked {
        settle(&mut transaction, consumer, found.org_id, position).await?;
    } else {
        // Something else has moved the cursor since, so the stall speaks of the past.
        if cursor.position != found.settled_position || cursor.position >= position {
            return Err(not_there());
        }
        moved.position = position;
        remove(&mut transaction, consumer, found.org_id).await?;
    }
    let skipped = keep(&mut transaction, order, &found).await?;
    let (key, now) = (open::key(&cursor.name), skipped.skipped_at);
    if !cursor::advance(&mut transaction, key, &cursor, &moved, now).await.map_err(busy)? {
        return Err(not_there());
    }
    transaction.commit().await?;
    Ok(skipped)
}

fn is_of(cursor: &Standing, org_id: OrgId) -> bool {
    Lane::named(&cursor.name).is_some_and(|lane| Lane::of(org_id, lane.count) == lane)
}

async fn at(
    connection: &mut PgConnection,
    consumer: &str,
    position: Position,
) -> Result<Option<Stall>, sqlx::Error> {
    let row = sqlx::query(
        "select consumer, org_id, is_parked, settled_position, position, event_id, error, attempts,
             stalled_at, next_attempt_at
         from events.stalls where consumer = $1 and position = $2 for update",
    )
    .bind(consumer)
    .bind(position.0)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(stall).transpose()
}

async fn keep(
    connection: &mut PgConnection,
    order: &Skip,
    stall: &Stall,
) -> Result<SkippedEvent, sqlx::Error> {
    let row = sqlx::query(
        "insert into events.skipped_events
             (consumer, position, event_id, org_id, reason, skipped_by, error, skipped_at)
         values ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())
         returning number, consumer, position, event_id, org_id, reason, skipped_by, error,
             skipped_at",
    )
    .bind(&order.consumer)
    .bind(order.position.0)
    .bind(stall.event_id)
    .bind(stall.org_id)
    .bind(&order.reason)
    .bind(&order.skipped_by)
    .bind(&stall.error)
    .fetch_one(connection)
    .await?;
    skipped(&row)
}

/// Up to `limit` skipped events, of one consumer or of all, newest first.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list_skipped(
    connection: &mut PgConnection,
    consumer: Option<&str>,
    limit: u32,
) -> Result<Vec<SkippedEvent>, sqlx::Error> {
    let rows = sqlx::query(
        "select number, consumer, position, event_id, org_id, reason, skipped_by, error, skipped_at
         from events.skipped_events
         where $1::text is null or consumer = $1
         order by number desc
         limit $2",
    )
    .bind(consumer)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(skipped).collect()
}

/// Where the events lie that `consumer` leaves out, after `after` and up to `until`.
pub(crate) async fn skipped_between(
    connection: &mut PgConnection,
    consumer: &str,
    after: Position,
    until: Position,
) -> Result<Vec<Position>, sqlx::Error> {
    let positions: Vec<i64> = sqlx::query_scalar(
        "select position from events.skipped_events
         where consumer = $1 and position > $2 and position <= $3",
    )
    .bind(consumer)
    .bind(after.0)
    .bind(until.0)
    .fetch_all(connection)
    .await?;
    Ok(positions.into_iter().map(Position).collect())
}

fn stall(row: &PgRow) -> Result<Stall, sqlx::Error> {
    let attempts: i32 = row.try_get("attempts")?;
    Ok(Stall {
        consumer: row.try_get("consumer")?,
        org_id: row.try_get("org_id")?,
        is_parked: row.try_get("is_parked")?,
        settled_position: Position(row.try_get("settled_position")?),
        position: row.try_get::<Option<i64>, _>("position")?.map(Position),
        event_id: row.try_get("event_id")?,
        error: row.try_get("error")?,
        attempts: u32::try_from(attempts).unwrap_or_default(),
        stalled_at: row.try_get("stalled_at")?,
        next_attempt_at: row.try_get("next_attempt_at")?,
    })
}

fn skipped(row: &PgRow) -> Result<SkippedEvent, sqlx::Error> {
    Ok(SkippedEvent {
        number: row.try_get("number")?,
        consumer: row.try_get("consumer")?,
        position: Position(row.try_get("position")?),
        event_id: row.try_get("event_id")?,
        org_id: row.try_get("org_id")?,
        reason: row.try_get("reason")?,
        skipped_by: row.try_get("skipped_by")?,
        error: row.try_get("error")?,
        skipped_at: row.try_get("skipped_at")?,
    })
}
