//! The shared kernel: the few words every crate of the platform speaks.
//!
//! Identifiers, the scope of a request, events and their canonical bytes, the seal that orders and
//! chains them, topics and periods. Reading order is the order of the modules below.
//!
//! **Invariant:** nothing here does IO or reads a clock, apart from the time inside a fresh UUIDv7.

mod authority;
mod canonical;
mod event;
mod id;
pub mod merkle;
#[cfg(feature = "postgres")]
mod outage;
mod period;
mod scope;
mod seal;
mod topic;
mod trace;

pub use authority::{Authority, SecondFactor};
pub use canonical::{CanonicalError, canonical_bytes};
pub use event::{DomainName, Event, EventType, Recorded, UnknownVersion, is_snake_case};
pub use id::{EventId, EventMarker, Id, JobId, JobMarker, OrgId, OrgMarker, UserId, UserMarker};
#[cfg(feature = "postgres")]
pub use outage::is_outage;
pub use period::{ParsePeriodError, Period};
pub use scope::{Hops, Principal, Role, Scope, TooManyHops};
pub use seal::{Digest, Link, ParseDigestError, Position, SealedFacts, event_digest, next_link};
pub use topic::{ParseTopicError, Topic};
pub use trace::{ParseTraceParentError, TraceParent};

/// A point in time, always UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
