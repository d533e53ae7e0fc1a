//! Reading the events of a few types: few positions in one statement, many as ranges.

use kernel::{OrgId, Position};
use sqlx::PgConnection;

use super::run::{POSITIONS_MAX, Range, events_of, joined};
use super::{EventName, sealed_events};
use crate::sealed::{ReadError, SealedEvent, SealedRow, event_columns, seal_columns};

/// Positions that are looked through in one statement at most. For a handful of events one trip to
/// Postgres costs more than a look into an index for each.
const FEW_POSITIONS: i64 = 200;

/// Which events are wanted: what the seals tell, and what only the events do.
pub(crate) struct Sieve<'a> {
    /// Of which organisations.
    pub(crate) wants_org: &'a (dyn Fn(OrgId) -> bool + Send + Sync),
    /// Only of these types, which Postgres then sorts out; of all unless told.
    pub(crate) names: Option<&'a [EventName]>,
    /// Of which domain and type.
    pub(crate) wants_sort: &'a (dyn Fn(&str, &str) -> bool + Send + Sync),
}

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
    let sieve = Sieve { wants_org: &|_| true, names: Some(filter), wants_sort: &|_, _| true };
    sifted(connection, position, until, &sieve, limit).await
}

/// Up to `limit` events that pass the `sieve` after `position` and up to `until`, in order.
pub(crate) async fn sifted(
    connection: &mut PgConnection,
    position: Position,
    until: Position,
    sieve: &Sieve<'_>,
    limit: u32,
) -> Result<Vec<SealedEvent>, ReadError> {
    let limit = limit as usize;
    if until.0 - position.0 <= FEW_POSITIONS {
        return among_few(connection, position, until, sieve, limit).await;
    }
    let mut range = Range { org_id: None, after: position.0, until };
    // As many positions as events are wanted, for the case that all match; then quickly more.
    let mut positions = i64::try_from(limit).unwrap_or(POSITIONS_MAX).max(FEW_POSITIONS);
    let mut sifted = Vec::new();
    while sifted.len() < limit {
        let mut seals = range.seals(connection, positions.min(POSITIONS_MAX)).await?;
        let Some(last) = seals.last().map(|seal| seal.position.0) else { break };
        seals.retain(|seal| (sieve.wants_org)(seal.org_id));
        let wanted = seals.len();
        range.after = last;
        if wanted > 0 {
            let events = events_of(connection, &mut seals, range, sieve.names).await?;
            if let Some(seal) = seals.last().filter(|_| seals.len() < wanted) {
                range.after = seal.position.0;
            }
            for row in joined(seals, events.rows)? {
                take(&row, sieve, limit, &mut sifted)?;
            }
        }
        positions = positions.saturating_mul(4);
    }
    Ok(sifted)
}

/// Keeps the event in `row` if it is wanted and there is room.
fn take(
    row: &SealedRow,
    sieve: &Sieve<'_>,
    limit: usize,
    sifted: &mut Vec<SealedEvent>,
) -> Result<(), ReadError> {
    let Some(facts) = row.facts()? else { return Ok(()) };
    let is_wanted =
        (sieve.wants_org)(facts.org_id) && (sieve.wants_sort)(facts.domain, facts.event_type);
    if is_wanted && sifted.len() < limit {
        sifted.extend(row.event()?);
    }
    Ok(())
}

async fn among_few(
    connection: &mut PgConnection,
    position: Position,
    until: Position,
    sieve: &Sieve<'_>,
    limit: usize,
) -> Result<Vec<SealedEvent>, ReadError> {
    let (domains, types): (Vec<&str>, Vec<&str>) = sieve
        .names
        .unwrap_or_default()
        .iter()
        .map(|(domain, event_type)| (domain.as_str(), event_type.as_str()))
        .unzip();
    let rows = sqlx::query(sealed_events!(
        "seal.position > $1 and seal.position <= $2
             and ($3 or (event.domain, event.event_type)
                 in (select name.domain, name.event_type
                     from unnest($4::text[], $5::text[]) as name (domain, event_type)))
         order by seal.position"
    ))
    .bind(position.0)
    .bind(until.0)
    .bind(sieve.names.is_none())
    .bind(domains)
    .bind(types)
    .fetch_all(connection)
    .await?;
    let mut sifted = Vec::new();
    for row in rows {
        take(&SealedRow::joined(row)?, sieve, limit, &mut sifted)?;
    }
    Ok(sifted)
}
