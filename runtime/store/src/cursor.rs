//! Cursors: named positions, advanced in the commit of the effect they account for.

use kernel::{Position, Timestamp};
use serde::Serialize;
use sqlx::{PgConnection, Row};

/// How far a consumer has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cursor {
    /// Its persistent name: that of the consumer, with the lane if it has several (`name#2/4`).
    pub name: String,
    /// The consumer's persistent name.
    pub consumer: String,
    /// Everything up to here has had its effect, or is told by the consumer's stalls.
    pub position: Position,
    /// When it was last moved.
    pub updated_at: Timestamp,
}

/// All cursors, by name.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Cursor>, sqlx::Error> {
    let rows = sqlx::query(
        "select name, consumer, position, updated_at from events.cursors order by name",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Cursor {
                name: row.try_get("name")?,
                consumer: row.try_get("consumer")?,
                position: Position(row.try_get("position")?),
                updated_at: row.try_get("updated_at")?,
            })
        })
        .collect()
}

/// The cursors of one consumer: one for each of its lanes.
pub(crate) async fn list_of(
    connection: &mut PgConnection,
    consumer: &str,
) -> Result<Vec<Cursor>, sqlx::Error> {
    let mut cursors = list(connection).await?;
    cursors.retain(|cursor| cursor.consumer == consumer);
    Ok(cursors)
}

/// Where the cursor `name` stands, if it exists.
pub(crate) async fn find(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_scalar("select position from events.cursors where name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await
        .map(|position| position.map(Position))
}

/// Where the cursor `name` stands, held there until the transaction ends.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_scalar("select position from events.cursors where name = $1 for update")
        .bind(name)
        .fetch_optional(connection)
        .await
        .map(|position| position.map(Position))
}

/// A cursor as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) position: Position,
    /// Raised by whatever changes what the position means.
    pub(crate) epoch: i64,
    /// Where the lanes of earlier layouts stood.
    pub(crate) passed: Option<Vec<i64>>,
}

/// The cursors of a consumer: one for each of its lanes, locked or only looked at.
pub(crate) async fn of_consumer(
    connection: &mut PgConnection,
    consumer: &str,
    is_locking: bool,
) -> Result<Vec<Standing>, sqlx::Error> {
    let statement = if is_locking {
        "select name, position, epoch, passed from events.cursors where consumer = $1
         order by name for update"
    } else {
        "select name, position, epoch, passed from events.cursors where consumer = $1"
    };
    let rows = sqlx::query(statement).bind(consumer).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(Standing {
                name: row.try_get("name")?,
                position: Position(row.try_get("position")?),
                epoch: row.try_get("epoch")?,
                passed: row.try_get("passed")?,
            })
        })
        .collect()
}

/// Removes all cursors of a consumer, to be replaced by those of another layout.
pub(crate) async fn remove(
    connection: &mut PgConnection,
    consumer: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("delete from events.cursors where consumer = $1")
        .bind(consumer)
        .execute(connection)
        .await?;
    Ok(())
}

/// Makes a cursor, unless it exists.
pub(crate) async fn create(
    connection: &mut PgConnection,
    cursor: &Standing,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into events.cursors (name, position, epoch, passed, updated_at)
         values ($1, $2, $3, $4, $5)
         on conflict (name) do nothing",
    )
    .bind(&cursor.name)
    .bind(cursor.position.0)
    .bind(cursor.epoch)
    .bind(&cursor.passed)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Brings a cursor from one standing to another; answers whether it still stood as it was left.
///
/// The row stays locked until the transaction ends, so two consumers of one name cannot both have
/// the effect of the same events: the second finds the cursor moved. Before it, the advisory lock
/// `key` is taken, by which a transaction that was left open can be found.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    key: i64,
    from: &Standing,
    to: &Standing,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "with held as materialized (select pg_advisory_xact_lock($8))
         update events.cursors set position = $4, epoch = $5, passed = $6, updated_at = $7
         from held
         where name = $1 and position = $2 and epoch = $3",
    )
    .bind(&from.name)
    .bind(from.position.0)
    .bind(from.epoch)
    .bind(to.position.0)
    .bind(to.epoch)
    .bind(&to.passed)
    .bind(now)
    .bind(key)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}
