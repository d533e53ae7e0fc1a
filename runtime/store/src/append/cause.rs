//! The chain of causes of an event, for whoever has to explain why it may not grow.

use std::fmt;

use kernel::{EventId, Hops};
use sqlx::{PgConnection, Row};

/// An event in a chain of causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The event.
    pub event_id: EventId,
    /// The domain that recorded it.
    pub domain: String,
    /// Its type.
    pub event_type: String,
}

/// A chain of causes, the first first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainOfCauses(pub Vec<Cause>);

impl fmt::Display for ChainOfCauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the chain is ")?;
        for (index, cause) in self.0.iter().enumerate() {
            let arrow = if index > 0 { " -> " } else { "" };
            write!(f, "{arrow}{}/{} {}", cause.domain, cause.event_type, cause.event_id)?;
        }
        Ok(())
    }
}

/// The chain that ends with the sealed event `last`, as far back as the log and [`Hops::MAX`] go.
///
/// It crosses domains, so the transaction must run as the runtime.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn chain_of_causes(
    connection: &mut PgConnection,
    last: EventId,
) -> Result<ChainOfCauses, sqlx::Error> {
    let rows = sqlx::query(
        "with recursive cause (event_id, domain, event_type, metadata, distance) as (
             select seal.event_id, event.domain, event.event_type, event.metadata, 1
             from events.seals as seal
             join events.domain_events as event
                 on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
             where seal.event_id = $1
             union all
             select seal.event_id, event.domain, event.event_type, event.metadata,
                 cause.distance + 1
             from cause
             join events.seals as seal
                 on seal.event_id
                     = (convert_from(cause.metadata, 'UTF8')::json ->> 'causation_id')::uuid
             join events.domain_events as event
                 on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
             where cause.distance < $2
         )
         select event_id, domain, event_type from cause order by distance desc",
    )
    .bind(last)
    .bind(i32::from(Hops::MAX))
    .fetch_all(connection)
    .await?;
    let cause = |row: &sqlx::postgres::PgRow| {
        Ok(Cause {
            event_id: row.try_get("event_id")?,
            domain: row.try_get("domain")?,
            event_type: row.try_get("event_type")?,
        })
    };
    rows.iter().map(cause).collect::<Result<_, _>>().map(ChainOfCauses)
}
