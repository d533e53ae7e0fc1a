//! A sealed event: what readers of the log get, with its place in the order and in its chain.

use kernel::{
    Digest, Event, EventId, OrgId, Position, Principal, Recorded, Scope, SealedFacts, Timestamp,
    UnknownVersion, event_digest,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// An event that has been given its position and its link.
#[derive(Debug, Clone)]
pub struct SealedEvent {
    /// Its place in the order of everything; gapless.
    pub position: Position,
    /// Its place in the order of its organisation, from 1; gapless.
    pub org_sequence: i64,
    /// Its identity.
    pub event_id: EventId,
    /// The organisation it belongs to.
    pub org_id: OrgId,
    /// The domain that recorded it.
    pub domain: String,
    /// Its persistent name.
    pub event_type: String,
    /// The version of its payload's shape.
    pub version: u16,
    /// The aggregate it is about, if any.
    pub aggregate_id: Option<Uuid>,
    /// The fact, as canonical JSON.
    pub payload: Vec<u8>,
    /// Who recorded it, for which organisation, in which chain of causes.
    pub scope: Scope,
    /// The instant of the transaction that recorded it.
    pub recorded_at: Timestamp,
    /// The link before it in the chain of its organisation.
    pub previous_hash: Digest,
    /// Its own link.
    pub hash: Digest,
}

/// The log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Postgres refused or could not be reached.
    #[error("could not read the event log")]
    Database(#[from] sqlx::Error),
    /// A row holds something this release never wrote.
    #[error("event {event_id} at position {position} has metadata that cannot be read")]
    Metadata {
        /// Its place.
        position: Position,
        /// Its identity.
        event_id: EventId,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The payload does not have the shape its type and version promise.
    #[error("event {event_id} at position {position} is no {expected} this release can read")]
    Payload {
        /// Its place.
        position: Position,
        /// Its identity.
        event_id: EventId,
        /// The type that was asked for.
        expected: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The event was recorded in a version this release does not know.
    #[error("event {event_id} at position {position} is too new or too old")]
    Version {
        /// Its place.
        position: Position,
        /// Its identity.
        event_id: EventId,
        /// Which version of what.
        #[source]
        source: UnknownVersion,
    },
}

impl SealedEvent {
    /// The payload as a JSON value.
    ///
    /// # Errors
    /// [`ReadError::Payload`] when the bytes are no JSON, which the table does not allow.
    pub fn payload_json(&self) -> Result<Value, ReadError> {
        serde_json::from_slice(&self.payload).map_err(|source| ReadError::Payload {
            position: self.position,
            event_id: self.event_id,
            expected: "JSON",
            source,
        })
    }

    /// The event as its type, brought to today's shape.
    ///
    /// # Errors
    /// [`ReadError::Version`] or [`ReadError::Payload`] when it cannot be understood.
    pub fn recorded<E: Event>(&self) -> Result<Recorded<E>, ReadError> {
        let (position, event_id) = (self.position, self.event_id);
        let payload = E::upcast(self.version, self.payload_json()?)
            .map_err(|source| ReadError::Version { position, event_id, source })?;
        let data = serde_json::from_value(payload).map_err(|source| ReadError::Payload {
            position,
            event_id,
            expected: E::TYPE.name,
            source,
        })?;
        Ok(Recorded {
            position,
            event_id,
            scope: self.scope.clone(),
            recorded_at: self.recorded_at,
            data,
        })
    }
}

/// What the log remembers about the origin of an event.
#[derive(Deserialize)]
struct Metadata {
    actor: Principal,
    correlation_id: Uuid,
    #[serde(default)]
    causation_id: Option<EventId>,
    hops: u8,
}

impl Metadata {
    /// The scope under which the event was recorded: the event itself was one hop further.
    fn scope(bytes: &[u8], org_id: OrgId) -> Result<Scope, serde_json::Error> {
        let metadata: Self = serde_json::from_slice(bytes)?;
        Ok(Scope {
            org_id,
            principal: metadata.actor,
            correlation_id: metadata.correlation_id,
            causation_id: metadata.causation_id,
            hops: serde_json::from_value(json!(metadata.hops.saturating_sub(1)))?,
        })
    }
}

/// Reads a row of `events.seals` joined with `events.domain_events`; columns are found by name.
pub(crate) fn sealed_event(row: &PgRow) -> Result<SealedEvent, ReadError> {
    let position = Position(row.try_get("position")?);
    let event_id: EventId = row.try_get("event_id")?;
    let org_id = row.try_get("org_id")?;
    let scope = Metadata::scope(row.try_get("metadata")?, org_id)
        .map_err(|source| ReadError::Metadata { position, event_id, source })?;
    Ok(SealedEvent {
        position,
        org_sequence: row.try_get("org_sequence")?,
        event_id,
        org_id,
        domain: row.try_get("domain")?,
        event_type: row.try_get("event_type")?,
        version: version(row)?,
        aggregate_id: row.try_get("aggregate_id")?,
        payload: row.try_get("payload")?,
        scope,
        recorded_at: row.try_get("inserted_at")?,
        previous_hash: digest(row, "previous_hash")?,
        hash: digest(row, "hash")?,
    })
}

/// The digest of the event in `row`, over what Postgres returned and nothing else.
pub(crate) fn digest_of(row: &PgRow) -> Result<Digest, sqlx::Error> {
    Ok(event_digest(&SealedFacts {
        event_id: row.try_get("event_id")?,
        org_id: row.try_get("org_id")?,
        domain: row.try_get("domain")?,
        event_type: row.try_get("event_type")?,
        version: version(row)?,
        aggregate_id: row.try_get("aggregate_id")?,
        payload: row.try_get("payload")?,
        metadata: row.try_get("metadata")?,
        recorded_at: row.try_get("inserted_at")?,
    }))
}

fn version(row: &PgRow) -> Result<u16, sqlx::Error> {
    let version: i32 = row.try_get("version")?;
    u16::try_from(version).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A digest in `column`.
pub(crate) fn digest(row: &PgRow, column: &'static str) -> Result<Digest, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    Digest::from_slice(bytes).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("{} bytes are no digest", bytes.len()).into(),
    })
}
