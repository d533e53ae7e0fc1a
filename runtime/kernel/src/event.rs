//! Events: facts a domain tells the others, and the only way one domain learns of another.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::{EventId, Position, Scope, Timestamp};

/// The name of a domain: also its Postgres schema and role, its queue and its place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(&'static str);

impl DomainName {
    /// Names a domain.
    ///
    /// # Panics
    /// When the name is not lower-case snake case; in a `const`, that stops the build.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(is_snake_case(name), "a domain name is lower-case snake case");
        Self(name)
    }

    /// The name as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The type of an event of this domain, in its given version.
    ///
    /// # Panics
    /// When the name is not lower-case snake case or the version is 0; in a `const`, that stops the
    /// build.
    #[must_use]
    pub const fn event(self, name: &'static str, version: u16) -> EventType {
        assert!(is_snake_case(name), "an event type is lower-case snake case");
        assert!(version > 0, "versions of an event start at 1");
        EventType { domain: self, name, version }
    }
}

impl std::fmt::Display for DomainName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Whether `name` is lower-case snake case, begins with a letter and has at most 48 bytes.
///
/// Postgres cuts identifiers at 63 bytes; the rest is room for prefixes.
#[must_use]
pub const fn is_snake_case(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 48 || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'_') {
            return false;
        }
        i += 1;
    }
    true
}

/// The persistent name of an event: domain, past-tense name, version of its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventType {
    /// The domain that owns the event.
    pub domain: DomainName,
    /// The name, for example `job_order_opened`.
    pub name: &'static str,
    /// The version of the payload's shape, from 1.
    pub version: u16,
}

/// A fact, told in the past tense. Its doc comment and fields are published to other domains.
pub trait Event: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The persistent name; renaming the Rust type must not rename data.
    const TYPE: EventType;

    /// The aggregate the fact is about.
    fn aggregate_id(&self) -> Uuid;

    /// Brings the payload of an older version to today's shape.
    ///
    /// # Errors
    /// [`UnknownVersion`] for a version this code has never known.
    fn upcast(version: u16, payload: Value) -> Result<Value, UnknownVersion> {
        if version == Self::TYPE.version {
            return Ok(payload);
        }
        Err(UnknownVersion { name: Self::TYPE.name, version })
    }
}

/// An event was recorded in a version this code does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {name} has version {version}, which this release cannot read")]
pub struct UnknownVersion {
    /// The event's name.
    pub name: &'static str,
    /// The version found.
    pub version: u16,
}

/// A sealed event as its readers see it.
#[derive(Debug, Clone)]
pub struct Recorded<E> {
    /// Its place in the order of everything.
    pub position: Position,
    /// Its identity.
    pub event_id: EventId,
    /// Who recorded it, for which organisation, in which chain of causes.
    pub scope: Scope,
    /// The instant of the transaction that recorded it.
    pub recorded_at: Timestamp,
    /// The fact.
    pub data: E,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_snake_case() {
        let cases = [
            ("recruit", true),
            ("job_order2", true),
            ("Recruit", false),
            ("", false),
            ("2a", false),
            ("a-b", false),
        ];

        for (name, valid) in cases {
            assert_eq!(is_snake_case(name), valid, "{name}");
        }
    }
}
