//! Cursors: named positions, advanced in the commit of the effect they account for.

use kernel::{Position, Timestamp};
use serde::Serialize;
use sqlx::{PgConnection, Row};

/// How far a consumer has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cursor {
    /// The consumer's persistent name.
    pub name: String,
    /// Everything up to here has had its effect.
    pub position: Position,
    /// When it was last moved.
    pub updated_at: Timestamp,
}

/// All cursors, by name.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Cursor>, sqlx::Error> {
    let rows = sqlx::query("select name, position, updated_at from events.cursors order by name")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Cursor {
                name: row.try_get("name")?,
                position: Position(row.try_get("position")?),
                updated_at: row.try_get("updated_at")?,
            })
        })
        .collect()
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

/// Makes the cursor `name` at `position`, unless it exists.
pub(crate) async fn create(
    connection: &mut PgConnection,
    name: &str,
    position: Position,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into events.cursors (name, position, updated_at) values ($1, $2, $3)
         on conflict (name) do nothing",
    )
    .bind(name)
    .bind(position.0)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves the cursor `name` from `from` to `to`; answers whether it still stood at `from`.
///
/// The row stays locked until the transaction ends, so two consumers of one name cannot both have
/// the effect of the same events: the second finds the cursor moved.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    name: &str,
    from: Position,
    to: Position,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "update events.cursors set position = $3, updated_at = $4
         where name = $1 and position = $2",
    )
    .bind(name)
    .bind(from.0)
    .bind(to.0)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}
