//! Places: how far somebody outside has got with the log, kept among the cursors.
//!
//! A consumer moves its [cursor] in the commit of its effect. Whoever has its effect
//! elsewhere, such as a relay, says afterwards how far it has come; what it did after that comes to
//! it again.

use kernel::{Position, Timestamp};
use sqlx::PgPool;

use crate::{cursor, transaction};

/// The place kept under `name`, if there is one.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn find(pool: &PgPool, name: &str) -> Result<Option<Position>, sqlx::Error> {
    let mut reading = transaction::begin_reading(pool).await?;
    let place = cursor::find(&mut reading, name).await?;
    reading.rollback().await?;
    Ok(place)
}

/// Keeps `position` under `name`, unless a later one is kept there.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn keep(
    pool: &PgPool,
    name: &str,
    position: Position,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut transaction = transaction::begin(pool).await?;
    sqlx::query(
        "insert into events.cursors as cursor (name, position, updated_at) values ($1, $2, $3)
         on conflict (name) do update
         set position = excluded.position, updated_at = excluded.updated_at
         where cursor.position < excluded.position",
    )
    .bind(name)
    .bind(position.0)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
