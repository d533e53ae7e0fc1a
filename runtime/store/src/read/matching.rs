//! Reading the events of a few types: few positions in one statement, many as ranges.

use kernel::Position;
use sqlx::PgConnection;

use super::run::{POSITIONS_MAX, Range, events_of, joined};
use super::{EventName, parsed, sealed_events};
use crate::sealed::{ReadError, SealedEvent, event_columns, seal_columns};

/// Positions that are looked through in one statement at most. For a handful of events one trip to
/// Postgres costs more than a look into an index for each.
const FEW_POSITIONS: i64 = 200;

/// Up to `limit` events of the types in `filter` after `position` and up to `until`, in order.
///
/// # Errors
/// [`ReadError`].
pub async fn matching(
    connection: &mut PgConnection,
    position: Position,
    until: Position,
    filter: &[EventName],
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    if until.0 - position.0 <= FEW_POSITIONS {
        return among_few(connection, position, until, filter, limit).await;
    }
    let limit = limit as usize;
    let mut range = Range { org_id: None, after: position.0, until };
    // As many positions as events are wanted, for the case that all match; then quickly more.
    let mut positions = i64::try_from(limit).unwrap_or(POSITIONS_MAX).max(FEW_POSITIONS);
    let mut matching = Vec::new();
    while matching.len() < limit {
        let mut seals = range.seals(connection, positions.min(POSITIONS_MAX)).await?;
        if seals.is_empty() {
            break;
        }
        let events = events_of(connection, &mut seals, range, Some(filter)).await?;
        range.after = seals.last().map_or(until.0, |seal| seal.position.0);
        for row in joined(seals, events.rows)?.iter().filter(|row| !row.is_missing()) {
            if matching.len() < limit {
                matching.extend(row.event()?);
            }
        }
        positions = positions.saturating_mul(4);
    }
    Ok(matching)
}

async fn among_few(
    connection: &mut PgConnection,
    position: Position,
    until: Position,
    filter: &[EventName],
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let (domains, types): (Vec<&str>, Vec<&str>) =
        filter.iter().map(|(domain, event_type)| (domain.as_str(), event_type.as_str())).unzip();
    let rows = sqlx::query(sealed_events!(
        "seal.position > $1 and seal.position <= $2
             and (event.domain, event.event_type)
                 in (select name.domain, name.event_type
                     from unnest($3::text[], $4::text[]) as name (domain, event_type))
         order by seal.position
         limit $5"
    ))
    .bind(position.0)
    .bind(until.0)
    .bind(domains)
    .bind(types)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    parsed(rows)
}
