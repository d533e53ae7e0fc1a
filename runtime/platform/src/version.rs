//! Versions: whoever changes something says which version of it they have seen.
//!
//! A versioned thing has an integer `version` in its output, which changes with anything of it, and
//! `expected_version` in the input of what replaces or removes it. REST makes an `ETag` of the one
//! and takes the other from `If-Match`.

use crate::refusal::{Reason, Refusal};

/// Somebody else changed it meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has changed: version {expected} was expected, and it has version {found}; read it again"
)]
pub struct VersionChanged {
    expected: i64,
    found: i64,
}

impl Refusal for VersionChanged {
    fn reason(&self) -> Reason {
        Reason::stale("version_changed").at("/expected_version")
    }
}

/// Refuses whoever has seen another version than the one found, which is locked by then.
///
/// # Errors
/// [`VersionChanged`], of kind stale.
pub const fn must_be_version(expected: i64, found: i64) -> Result<(), VersionChanged> {
    if expected == found { Ok(()) } else { Err(VersionChanged { expected, found }) }
}
