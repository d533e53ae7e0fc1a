//! Standing: where the log stands, for whoever was away and wants to go on.

use std::sync::Arc;

use kernel::Position;
use sqlx::{PgConnection, Row as _};

/// Where the log stands, and whether what came after a position can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The highest sealed position.
    pub head: Position,
    /// Which numbering the positions are of. It stays as long as positions mean the same events,
    /// on every node and over every restart, and is another in a fresh database and in one that
    /// was restored or has failed over, where events may have got other positions.
    pub epoch: Arc<str>,
    /// Whether all events after the position are at hand, and none in a file of an old month.
    pub is_at_hand: bool,
}

/// Where the log stands, seen from `after`.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn standing(
    connection: &mut PgConnection,
    after: Position,
) -> Result<Standing, sqlx::Error> {
    // The cluster, its timeline and the database: a copy differs in the first or the last, what was
    // restored to a point in time, or promoted, in the second.
    let row = sqlx::query(
        "select
             (select coalesce(max(position), 0) from events.seals) as head,
             left(encode(sha256(convert_to(
                 concat_ws('/', system.system_identifier, checkpoint.timeline_id, database.oid),
                 'UTF8')), 'hex'), 16) as epoch,
             not exists (
                 select from events.archives as archive
                 where archive.detached_at is not null and archive.last_position > $1
             ) as is_at_hand
         from pg_control_system() as system, pg_control_checkpoint() as checkpoint,
             pg_database as database
         where database.datname = current_database()",
    )
    .bind(after.0)
    .fetch_one(connection)
    .await?;
    let epoch: String = row.try_get("epoch")?;
    Ok(Standing {
        head: Position(row.try_get("head")?),
        epoch: epoch.into(),
        is_at_hand: row.try_get("is_at_hand")?,
    })
}
