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
        let parsed = if self.version == E::TYPE.version {
            // Of today's shape, so it needs no detour over a value; a replay reads millions.
            serde_json::from_slice(&self.payload)
        } else {
            let payload = E::upcast(self.version, self.payload_json()?)
                .map_err(|source| ReadError::Version { position, event_id, source })?;
            serde_json::from_value(payload)
        };
        let expected = E::TYPE.name;
        let data =
            parsed.map_err(|source| ReadError::Payload { position, event_id, expected, source })?;
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
    /// Any value: a trace that nobody can follow is no reason not to read the event.
    #[serde(default)]
    traceparent: Value,
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
            traceparent: metadata.traceparent.as_str().and_then(|text| text.parse().ok()),
            authority: kernel::Authority::default(),
        })
    }
}

/// The columns of an event, in the order in which this module reads them.
macro_rules! event_columns {
    () => {
        "event.arrival, event.id as event_id, event.org_id, event.domain, event.event_type, \
         event.version, event.aggregate_id, event.payload, event.metadata, event.inserted_at"
    };
}
pub(crate) use event_columns;

/// The columns of a seal; where a statement selects both, they follow those of the event.
macro_rules! seal_columns {
    () => {
        "seal.position, seal.org_sequence, seal.previous_hash, seal.hash, seal.arrival, \
         seal.event_id, seal.org_id, seal.inserted_at"
    };
}
pub(crate) use seal_columns;

/// How many columns of an event precede those of its seal.
const EVENT_COLUMNS: usize = 10;

/// A seal, with the row of its event as Postgres sent it: nothing is parsed or copied until it is
/// asked for.
#[derive(Debug)]
pub struct SealedRow {
    /// Its place in the order of everything; gapless.
    pub position: Position,
    /// Its place in the order of its organisation, from 1; gapless.
    pub org_sequence: i64,
    /// The organisation it belongs to, as the seal says.
    pub org_id: OrgId,
    /// The event's identity, as the seal says.
    pub event_id: EventId,
    /// The event's place in the order of arrival, as the seal says.
    pub arrival: i64,
    /// The instant of the transaction that recorded the event, as the seal says.
    pub recorded_at: Timestamp,
    /// The link before it in the chain of its organisation.
    pub previous_hash: Digest,
    /// Its own link.
    pub hash: Digest,
    row: Option<PgRow>,
}

impl SealedRow {
    /// A seal alone, from a row of [`seal_columns`].
    pub(crate) fn alone(row: &PgRow) -> Result<Self, sqlx::Error> {
        Self::seal_at(row, 0)
    }

    /// A seal and its event, from a row of [`event_columns`] and [`seal_columns`].
    pub(crate) fn joined(row: PgRow) -> Result<Self, sqlx::Error> {
        let mut seal = Self::seal_at(&row, EVENT_COLUMNS)?;
        seal.row = Some(row);
        Ok(seal)
    }

    fn seal_at(row: &PgRow, first: usize) -> Result<Self, sqlx::Error> {
        Ok(Self {
            position: Position(row.try_get(first)?),
            org_sequence: row.try_get(first + 1)?,
            previous_hash: digest(row, first + 2)?,
            hash: digest(row, first + 3)?,
            arrival: row.try_get(first + 4)?,
            event_id: row.try_get(first + 5)?,
            org_id: row.try_get(first + 6)?,
            recorded_at: row.try_get(first + 7)?,
            row: None,
        })
    }

    /// Adds the row of the event, of [`event_columns`].
    pub(crate) fn put(&mut self, row: PgRow) {
        self.row = Some(row);
    }

    /// Whether there is no event at the place that the seal names.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.row.is_none()
    }

    /// The event as it is stored now, borrowed from what Postgres sent; `None` if it is gone.
    ///
    /// # Errors
    /// When a column holds something this release never wrote.
    pub fn facts(&self) -> Result<Option<SealedFacts<'_>>, sqlx::Error> {
        self.row.as_ref().map(facts).transpose()
    }

    /// The event with its metadata parsed and its payload copied; `None` if it is gone.
    ///
    /// # Errors
    /// [`ReadError`] when the row holds something this release never wrote.
    pub fn event(&self) -> Result<Option<SealedEvent>, ReadError> {
        let Some(facts) = self.facts()? else { return Ok(None) };
        let (position, event_id) = (self.position, facts.event_id);
        let scope = Metadata::scope(facts.metadata, facts.org_id)
            .map_err(|source| ReadError::Metadata { position, event_id, source })?;
        Ok(Some(SealedEvent {
            position,
            org_sequence: self.org_sequence,
            event_id,
            org_id: facts.org_id,
            domain: facts.domain.to_owned(),
            event_type: facts.event_type.to_owned(),
            version: facts.version,
            aggregate_id: facts.aggregate_id,
            payload: facts.payload.to_vec(),
            scope,
            recorded_at: facts.recorded_at,
            previous_hash: self.previous_hash,
            hash: self.hash,
        }))
    }
}

/// The digest of the event in `row`, over what Postgres returned and nothing else.
pub(crate) fn digest_of(row: &PgRow) -> Result<Digest, sqlx::Error> {
    Ok(event_digest(&facts(row)?))
}

/// What a row of [`event_columns`] says.
pub(crate) fn facts(row: &PgRow) -> Result<SealedFacts<'_>, sqlx::Error> {
    let version: i32 = row.try_get(5)?;
    Ok(SealedFacts {
        event_id: row.try_get(1)?,
        org_id: row.try_get(2)?,
        domain: row.try_get(3)?,
        event_type: row.try_get(4)?,
        version: u16::try_from(version).map_err(|error| sqlx::Error::Decode(error.into()))?,
        aggregate_id: row.try_get(6)?,
        payload: row.try_get(7)?,
        metadata: row.try_get(8)?,
        recorded_at: row.try_get(9)?,
    })
}

/// A digest in a column, by its name or number.
pub(crate) fn digest<I>(row: &PgRow, column: I) -> Result<Digest, sqlx::Error>
where
    I: sqlx::ColumnIndex<PgRow> + std::fmt::Display,
{
    let bytes: &[u8] = row.try_get(&column)?;
    Digest::from_slice(bytes).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_string(),
        source: format!("{} bytes are no digest", bytes.len()).into(),
    })
}
