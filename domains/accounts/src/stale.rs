//! Versions of what the domain keeps: refused as everywhere.

use platform::{Result, must_be_version};

/// Refuses whoever has seen another version than the one found.
pub(crate) fn must_be(expected: i64, found: i64) -> Result<()> {
    Ok(must_be_version(expected, found)?)
}
