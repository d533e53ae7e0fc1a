//! Why an event was not appended.

use kernel::{CanonicalError, EventId, Hops};
use uuid::Uuid;

use super::{ChainOfCauses, PAYLOAD_BYTES_MAX};

/// An event was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The payload has no canonical form; the cause names the place.
    #[error("the payload of {event_type} cannot be recorded")]
    NotCanonical {
        /// The event's type.
        event_type: &'static str,
        /// What is wrong and where.
        #[source]
        source: CanonicalError,
    },
    /// One event of a batch.
    #[error("event {index} of the batch cannot be recorded")]
    InBatch {
        /// Its index, from 0.
        index: usize,
        /// Why not.
        #[source]
        source: Box<AppendError>,
    },
    /// The payload is larger than [`PAYLOAD_BYTES_MAX`].
    #[error(
        "the payload of {event_type} has {bytes} bytes, but {max} are allowed",
        max = PAYLOAD_BYTES_MAX
    )]
    TooLarge {
        /// The event's type.
        event_type: &'static str,
        /// Its size in canonical bytes.
        bytes: usize,
    },
    /// The chain of causes already has its ten events.
    #[error(
        "{event_type} would be event {hops} in its chain of causes ({correlation_id}), but {max} \
         are allowed: do reactions answer each other in a circle?{told}",
        max = Hops::MAX,
        told = chain.as_ref().map(|chain| format!(" {chain}")).unwrap_or_default()
    )]
    TooManyHops {
        /// The event's type.
        event_type: &'static str,
        /// Its place in the chain.
        hops: u16,
        /// The request that began the chain.
        correlation_id: Uuid,
        /// The last event of the chain.
        causation_id: Option<EventId>,
        /// The chain itself, if whoever was refused has [looked it up](super::chain_of_causes).
        chain: Option<ChainOfCauses>,
    },
    /// Somebody else has appended to the aggregate meanwhile, or the caller has counted wrong.
    #[error(
        "{event_type} expects version {expected} of aggregate {aggregate_id}, but it has version \
         {actual}: read it again and decide anew"
    )]
    VersionConflict {
        /// The event's type.
        event_type: &'static str,
        /// The aggregate.
        aggregate_id: Uuid,
        /// The version the caller expected.
        expected: u64,
        /// The version it has.
        actual: u64,
    },
    /// An expected version was given for an event that is about no aggregate.
    #[error("{event_type} names no aggregate, so no version of one can be expected")]
    NoAggregate {
        /// The event's type.
        event_type: &'static str,
    },
    /// The id belongs to another event.
    #[error(
        "the id {event_id} belongs to another event: {} differs; give a new event a new id",
        differs.join(", ")
    )]
    IdTaken {
        /// The id.
        event_id: EventId,
        /// The fields that are not as they were recorded.
        differs: Vec<&'static str>,
    },
    /// Postgres refused or could not be reached.
    #[error("could not record {event_type}")]
    Database {
        /// The event's type.
        event_type: &'static str,
        /// What Postgres said.
        #[source]
        source: sqlx::Error,
    },
}
