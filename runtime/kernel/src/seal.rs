//! The seal: the order of everything, and the chain that makes tampering visible.
//!
//! A sealed event has a gapless [`Position`] over everything and a [`Link`] in the chain of its
//! organisation. The link covers the previous link and the digest of the whole event, so changing,
//! removing or swapping events breaks the chain at that place.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{EventId, OrgId, Timestamp};

/// A place in the order of all sealed events, from 1 and without gaps.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Position(pub i64);

impl Position {
    /// Before the first event.
    pub const ORIGIN: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A SHA-256 digest; printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// A link of an organisation's chain: the digest of everything up to and including one event.
pub type Link = Digest;

impl Digest {
    /// What the first link of every chain follows: 32 zero bytes.
    pub const GENESIS: Self = Self([0; 32]);

    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest from storage, if it has the right length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: 64 hexadecimal digits are expected")]
pub struct ParseDigestError(String);

impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseDigestError(text.to_owned());
        if text.len() != 64 || !text.is_ascii() {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = &text[index * 2..index * 2 + 2];
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

/// Everything about an event that its digest covers, as Postgres returns it.
#[derive(Debug, Clone, Copy)]
pub struct SealedFacts<'a> {
    /// The event's identity.
    pub event_id: EventId,
    /// The organisation it belongs to.
    pub org_id: OrgId,
    /// The domain that recorded it.
    pub domain: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// The version of its payload's shape.
    pub version: u16,
    /// The aggregate it is about, if any.
    pub aggregate_id: Option<uuid::Uuid>,
    /// The canonical bytes of its payload.
    pub payload: &'a [u8],
    /// The canonical bytes of its metadata.
    pub metadata: &'a [u8],
    /// When it was recorded; microseconds count, finer parts do not exist in Postgres.
    pub recorded_at: Timestamp,
}

/// Names the byte form below, so that a later form can never be taken for this one.
const DIGEST_FORM: &[u8] = b"finnest.event.v1";

/// The digest of a whole event.
///
/// The byte form is a list of fields, each preceded by its length as 8 bytes, big endian, so that
/// no two different events share a form: the name of the form, id, organisation, domain, type,
/// version (2 bytes, big endian), aggregate (16 bytes, or none), payload, metadata, and the time of
/// recording in microseconds since 1970 (8 bytes, big endian). Ids are their 16 bytes.
#[must_use]
pub fn event_digest(facts: &SealedFacts<'_>) -> Digest {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    field(DIGEST_FORM);
    field(facts.event_id.uuid().as_bytes());
    field(facts.org_id.uuid().as_bytes());
    field(facts.domain.as_bytes());
    field(facts.event_type.as_bytes());
    field(&facts.version.to_be_bytes());
    field(facts.aggregate_id.as_ref().map_or(&[][..], |id| id.as_bytes()));
    field(facts.payload);
    field(facts.metadata);
    field(&facts.recorded_at.timestamp_micros().to_be_bytes());
    Digest(hasher.finalize().into())
}

/// The next link of an organisation's chain: SHA-256 over the previous link and the event's digest.
///
/// The sealer and the verifier both call this, so they cannot disagree. The first link follows
/// [`Digest::GENESIS`].
#[must_use]
pub fn next_link(previous: &Link, event: &Digest) -> Link {
    let mut hasher = Sha256::new();
    hasher.update(previous.0);
    hasher.update(event.0);
    Digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn facts<'a>(domain: &'a str, event_type: &'a str, payload: &'a [u8]) -> SealedFacts<'a> {
        SealedFacts {
            event_id: EventId::from_uuid(Uuid::from_u128(1)),
            org_id: OrgId::from_uuid(Uuid::from_u128(2)),
            domain,
            event_type,
            version: 1,
            aggregate_id: Some(Uuid::from_u128(3)),
            payload,
            metadata: b"{}",
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).expect("in range"),
        }
    }

    #[test]
    fn fields_cannot_flow_into_each_other() {
        let one = event_digest(&facts("ab", "c", b"{}"));
        let other = event_digest(&facts("a", "bc", b"{}"));

        assert_ne!(one, other);
    }

    #[test]
    fn the_digest_of_a_known_event_never_changes() {
        let digest = event_digest(&facts("recruit", "job_order_opened", br#"{"headcount":3}"#));

        assert_eq!(
            digest.to_string(),
            "49782c18e641fa9eca74d979276ba2ad0b2c0af8f9ea41aebfe0cfb829934f7b"
        );
    }

    #[test]
    fn a_digest_prints_and_parses_back() {
        let digest = Digest::of(b"x");

        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }

    proptest! {
        #[test]
        fn changing_any_payload_changes_every_later_link(
            payloads in prop::collection::vec(".{1,20}", 1..12),
            changed in any::<prop::sample::Index>(),
        ) {
            let chain = |texts: &[String]| {
                let mut link = Link::GENESIS;
                texts
                    .iter()
                    .map(|text| {
                        link = next_link(&link, &event_digest(&facts("a", "b", text.as_bytes())));
                        link
                    })
                    .collect::<Vec<_>>()
            };
            let at = changed.index(payloads.len());
            let mut tampered = payloads.clone();
            tampered[at].push('!');

            let (before, after) = (chain(&payloads), chain(&tampered));

            prop_assert_eq!(&before[..at], &after[..at]);
            prop_assert!(before[at..].iter().zip(&after[at..]).all(|(a, b)| a != b));
        }
    }
}
