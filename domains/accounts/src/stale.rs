//! Versions: whoever changes something says which version of it they have seen.

use platform::{Reason, Refusal, Result};

/// Somebody else changed it meanwhile.
#[derive(Debug, thiserror::Error)]
#[error(
    "it has changed: version {expected} was expected, and it has version {found}; read it again"
)]
pub(crate) struct Changed {
    expected: i64,
    found: i64,
}

impl Refusal for Changed {
    fn reason(&self) -> Reason {
        Reason::stale("version_changed").at("/expected_version")
    }
}

/// Refuses whoever has seen another version than the one found.
pub(crate) fn must_be(expected: i64, found: i64) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Changed { expected, found }.into()) }
}
