//! Append: one insert, inside the caller's transaction.
//!
//! An appended event is a fact as soon as the caller commits, and nobody sees it until the sealer
//! has given it a position. Writers therefore never wait for each other here, unless they ask for
//! it: an [expected version](append_expecting) waits for whoever has just taken the same one, an
//! event that may be [appended again](append_once) for whoever is appending the same one.
//!
//! **Invariant:** the bytes written are the bytes hashed, read and replayed later; see
//! `docs/adr/0003-canonical-bytes-instead-of-jsonb.md`.

mod cause;
mod error;
mod once;
mod version;

use kernel::{Event, EventId, Hops, Scope, Timestamp, canonical_bytes};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

pub use cause::{Cause, ChainOfCauses, chain_of_causes};
pub use error::AppendError;
pub use once::{Appended, append_once};
pub use version::{ExpectedVersion, aggregate_version, append_all_expecting, append_expecting};

/// The largest payload of an event, in canonical bytes: 256 KiB. The table refuses more as well.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// An event that is about to be recorded.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its identity, chosen by the caller.
    pub event_id: EventId,
    /// Who records it, for which organisation, in which chain of causes.
    pub scope: Scope,
    /// The domain that records it: the role the transaction runs as.
    pub domain: &'static str,
    /// The event's persistent name.
    pub event_type: &'static str,
    /// The version of the payload's shape, from 1.
    pub version: u16,
    /// The aggregate it is about, if any.
    pub aggregate_id: Option<Uuid>,
    /// The fact, without floats.
    pub payload: Value,
    /// The instant of the transaction.
    pub recorded_at: Timestamp,
}

impl NewEvent {
    /// The record of `event`, told under `scope` at the instant `recorded_at`.
    ///
    /// # Errors
    /// When the event does not serialise, for example a map with keys that are not text.
    pub fn of<E: Event>(
        event: &E,
        event_id: EventId,
        scope: Scope,
        recorded_at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            event_id,
            scope,
            domain: E::TYPE.domain.as_str(),
            event_type: E::TYPE.name,
            version: E::TYPE.version,
            aggregate_id: Some(event.aggregate_id()),
            payload: serde_json::to_value(event)?,
            recorded_at,
        })
    }
}

/// Appends `event` in the caller's transaction, which must run as the event's domain with the
/// organisation of its scope; Postgres refuses anything else.
///
/// Call [`Log::nudge`](crate::Log::nudge) after the commit.
///
/// # Errors
/// [`AppendError`]; after [`AppendError::Database`] the transaction is of no use any more.
pub async fn append(connection: &mut PgConnection, event: &NewEvent) -> Result<(), AppendError> {
    insert(connection, event, Bytes::of(event)?).await
}

/// Appends `events` in their order, in one statement: all of them or none.
///
/// All checks are made before anything is sent, so a transaction whose events are refused here is
/// still of use.
///
/// # Errors
/// [`AppendError::InBatch`] names the event that was refused by its index;
/// [`AppendError::Database`] when Postgres refuses.
pub async fn append_all(
    connection: &mut PgConnection,
    events: &[NewEvent],
) -> Result<(), AppendError> {
    insert_all(connection, events, all_bytes(events)?).await
}

/// What is stored of an event beside its columns.
struct Bytes {
    payload: Vec<u8>,
    metadata: Vec<u8>,
}

impl Bytes {
    fn of(event: &NewEvent) -> Result<Self, AppendError> {
        Ok(Self { payload: payload_bytes(event)?, metadata: metadata_bytes(event)? })
    }
}

fn all_bytes(events: &[NewEvent]) -> Result<Vec<Bytes>, AppendError> {
    let bytes = |(index, event)| {
        Bytes::of(event).map_err(|source| AppendError::InBatch { index, source: Box::new(source) })
    };
    events.iter().enumerate().map(bytes).collect()
}

async fn insert(
    connection: &mut PgConnection,
    event: &NewEvent,
    bytes: Bytes,
) -> Result<(), AppendError> {
    let event_type = event.event_type;
    sqlx::query(
        "insert into events.domain_events
             (id, org_id, domain, event_type, version, aggregate_id, payload, metadata, inserted_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(event.event_id)
    .bind(event.scope.org_id)
    .bind(event.domain)
    .bind(event_type)
    .bind(i32::from(event.version))
    .bind(event.aggregate_id)
    .bind(bytes.payload)
    .bind(bytes.metadata)
    .bind(event.recorded_at)
    .execute(connection)
    .await
    .map_err(|source| AppendError::Database { event_type, source })?;
    Ok(())
}

async fn insert_all(
    connection: &mut PgConnection,
    events: &[NewEvent],
    bytes: Vec<Bytes>,
) -> Result<(), AppendError> {
    let Some(first) = events.first() else { return Ok(()) };
    let event_type = first.event_type;
    let (payloads, metadata): (Vec<_>, Vec<_>) =
        bytes.into_iter().map(|bytes| (bytes.payload, bytes.metadata)).unzip();
    // Arrivals are drawn row by row, hence in the order of the batch.
    sqlx::query(
        "insert into events.domain_events
             (id, org_id, domain, event_type, version, aggregate_id, payload, metadata, inserted_at)
         select event.id, event.org_id, event.domain, event.event_type, event.version,
             event.aggregate_id, event.payload, event.metadata, event.inserted_at
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::uuid[],
             $7::bytea[], $8::bytea[], $9::timestamptz[])
             with ordinality as event (id, org_id, domain, event_type, version, aggregate_id,
                 payload, metadata, inserted_at, place)
         order by event.place",
    )
    .bind(column(events, |event| event.event_id))
    .bind(column(events, |event| event.scope.org_id))
    .bind(column(events, |event| event.domain))
    .bind(column(events, |event| event.event_type))
    .bind(column(events, |event| i32::from(event.version)))
    .bind(column(events, |event| event.aggregate_id))
    .bind(payloads)
    .bind(metadata)
    .bind(column(events, |event| event.recorded_at))
    .execute(connection)
    .await
    .map_err(|source| AppendError::Database { event_type, source })?;
    Ok(())
}

fn column<T>(events: &[NewEvent], field: impl Fn(&NewEvent) -> T) -> Vec<T> {
    events.iter().map(field).collect()
}

fn payload_bytes(event: &NewEvent) -> Result<Vec<u8>, AppendError> {
    let event_type = event.event_type;
    let payload = canonical_bytes(&event.payload)
        .map_err(|source| AppendError::NotCanonical { event_type, source })?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        let bytes = payload.len();
        return Err(AppendError::TooLarge { event_type, bytes });
    }
    Ok(payload)
}

/// What the log remembers about the origin of an event; `hops` counts the event itself.
fn metadata_bytes(event: &NewEvent) -> Result<Vec<u8>, AppendError> {
    let event_type = event.event_type;
    let scope = &event.scope;
    let hops = u16::from(scope.hops.count()) + 1;
    if hops > u16::from(Hops::MAX) {
        return Err(AppendError::TooManyHops {
            event_type,
            hops,
            correlation_id: scope.correlation_id,
            causation_id: scope.causation_id,
            chain: None,
        });
    }
    let mut metadata = json!({
        "actor": scope.principal,
        "correlation_id": scope.correlation_id,
        "hops": hops,
    });
    if let Some(cause) = scope.causation_id {
        metadata["causation_id"] = json!(cause);
    }
    if let Some(traceparent) = scope.traceparent {
        metadata["traceparent"] = json!(traceparent);
    }
    canonical_bytes(&metadata).map_err(|source| AppendError::NotCanonical { event_type, source })
}

#[cfg(test)]
mod tests {
    use kernel::OrgId;

    use super::*;

    fn event(payload: Value) -> NewEvent {
        NewEvent {
            event_id: EventId::new(),
            scope: Scope::system(OrgId::new(), "test", Uuid::now_v7()),
            domain: "recruit",
            event_type: "job_order_opened",
            version: 1,
            aggregate_id: None,
            payload,
            recorded_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_float_is_refused_and_its_place_named() {
        let event = event(json!({"rates": [{"hourly": 31.5}]}));

        let refused = payload_bytes(&event);

        let Err(AppendError::NotCanonical { source, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(source.to_string().contains("/rates/0/hourly"), "{source}");
    }

    #[test]
    fn a_payload_of_exactly_256_kib_is_the_largest() {
        let quotes = 2;
        let largest = event(json!("x".repeat(PAYLOAD_BYTES_MAX - quotes)));
        let too_large = event(json!("x".repeat(PAYLOAD_BYTES_MAX - quotes + 1)));

        assert!(payload_bytes(&largest).is_ok());
        assert!(matches!(
            payload_bytes(&too_large),
            Err(AppendError::TooLarge { bytes, .. }) if bytes == PAYLOAD_BYTES_MAX + 1
        ));
    }

    #[test]
    fn the_eleventh_event_of_a_chain_is_refused() {
        let at = |hops: u8| {
            let mut event = event(json!({}));
            event.scope.hops = serde_json::from_value(json!(hops)).expect("hops are a number");
            metadata_bytes(&event)
        };

        assert!(at(9).is_ok());
        assert!(matches!(at(10), Err(AppendError::TooManyHops { hops: 11, .. })));
    }

    #[test]
    fn metadata_name_chain_and_actor() {
        let event = event(json!({}));

        let metadata = metadata_bytes(&event).expect("the chain is short");

        let expected = format!(
            r#"{{"actor":{{"kind":"system","name":"test"}},"correlation_id":"{}","hops":1}}"#,
            event.scope.correlation_id
        );
        assert_eq!(String::from_utf8(metadata).expect("it is UTF-8"), expected);
    }
}
