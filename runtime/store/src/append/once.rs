//! Appending once: an event whose caller may come again with the same id.
//!
//! Such an id is claimed, with what the event says, in a table of its own. Two who append it at the
//! same time meet there: the second waits for the first, and then compares. Only those who ask for
//! it pay for it.

use kernel::{Digest, EventId, Position, Timestamp};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{AppendError, Bytes, NewEvent, insert};

/// What became of an event that may have been appended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is recorded now.
    Now,
    /// It was recorded before, and nothing was done.
    Before {
        /// Its place, if it is sealed already.
        position: Option<Position>,
    },
}

/// Appends `event`, unless an event with its id and content is recorded already.
///
/// Content is what the event says: type, version, aggregate and payload. When it was recorded, by
/// whom and in which chain of causes may differ, as it does when a caller tries again. An event
/// that was recorded by another kind of append is recognised once it is sealed.
///
/// # Errors
/// [`AppendError::IdTaken`] if the id belongs to an event with other content, and names what
/// differs; the transaction is still of use then.
pub async fn append_once(
    connection: &mut PgConnection,
    event: &NewEvent,
) -> Result<Appended, AppendError> {
    let event_type = event.event_type;
    let database = |source| AppendError::Database { event_type, source };
    let bytes = Bytes::of(event)?;
    let content = Content {
        event_type: event_type.to_owned(),
        version: i32::from(event.version),
        aggregate_id: event.aggregate_id,
        payload_hash: Digest::of(&bytes.payload).as_bytes().to_vec(),
    };
    let place = place_of(connection, event.event_id).await.map_err(database)?;
    if place.is_none() && claim(connection, event, &content).await.map_err(database)? {
        insert(connection, event, bytes).await?;
        return Ok(Appended::Now);
    }
    let recorded = recorded(connection, event.event_id, place.as_ref()).await.map_err(database)?;
    let differs = recorded.map_or_else(
        // Row security hides it: it is another tenant's or another domain's.
        || vec!["the organisation or the domain"],
        |recorded| content.differences(&recorded),
    );
    if differs.is_empty() {
        return Ok(Appended::Before { position: place.map(|place| place.position) });
    }
    Err(AppendError::IdTaken { event_id: event.event_id, differs })
}

/// What an event says.
struct Content {
    event_type: String,
    version: i32,
    aggregate_id: Option<Uuid>,
    payload_hash: Vec<u8>,
}

impl Content {
    fn differences(&self, recorded: &Self) -> Vec<&'static str> {
        [
            ("event_type", self.event_type != recorded.event_type),
            ("version", self.version != recorded.version),
            ("aggregate_id", self.aggregate_id != recorded.aggregate_id),
            ("payload", self.payload_hash != recorded.payload_hash),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    fn read(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            event_type: row.try_get("event_type")?,
            version: row.try_get("version")?,
            aggregate_id: row.try_get("aggregate_id")?,
            payload_hash: row.try_get("payload_hash")?,
        })
    }
}

/// The place of a sealed event.
struct Place {
    position: Position,
    arrival: i64,
    inserted_at: Timestamp,
}

/// Claims the id; answers whether nobody had. Waits for whoever is about to.
async fn claim(
    connection: &mut PgConnection,
    event: &NewEvent,
    content: &Content,
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query(
        "insert into events.claimed_ids
             (event_id, org_id, domain, event_type, version, aggregate_id, payload_hash)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict do nothing",
    )
    .bind(event.event_id)
    .bind(event.scope.org_id)
    .bind(event.domain)
    .bind(&content.event_type)
    .bind(content.version)
    .bind(content.aggregate_id)
    .bind(&content.payload_hash)
    .execute(connection)
    .await?;
    Ok(claimed.rows_affected() == 1)
}

/// What the event with that id says, if this tenant's domain has recorded it.
async fn recorded(
    connection: &mut PgConnection,
    event_id: EventId,
    place: Option<&Place>,
) -> Result<Option<Content>, sqlx::Error> {
    if let Some(place) = place
        && let Some(content) = recorded_at(connection, place).await?
    {
        return Ok(Some(content));
    }
    // Not sealed yet, or archived.
    claimed(connection, event_id).await
}

/// What was claimed with the id.
async fn claimed(
    connection: &mut PgConnection,
    event_id: EventId,
) -> Result<Option<Content>, sqlx::Error> {
    let row = sqlx::query(
        "select event_type, version, aggregate_id, payload_hash from events.claimed_ids
         where event_id = $1",
    )
    .bind(event_id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(Content::read).transpose()
}

async fn place_of(
    connection: &mut PgConnection,
    event_id: EventId,
) -> Result<Option<Place>, sqlx::Error> {
    let row = sqlx::query("select position, arrival, inserted_at from events.place_of($1)")
        .bind(event_id)
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(Place {
            position: Position(row.try_get("position")?),
            arrival: row.try_get("arrival")?,
            inserted_at: row.try_get("inserted_at")?,
        })
    })
    .transpose()
}

/// What the event at `place` says, if it is there and this domain's own.
async fn recorded_at(
    connection: &mut PgConnection,
    place: &Place,
) -> Result<Option<Content>, sqlx::Error> {
    let row = sqlx::query(
        "select event_type, version, aggregate_id, sha256(payload) as payload_hash
         from events.domain_events
         where arrival = $1 and inserted_at = $2",
    )
    .bind(place.arrival)
    .bind(place.inserted_at)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(Content::read).transpose()
}
