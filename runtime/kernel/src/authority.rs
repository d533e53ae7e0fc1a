//! Authority: what the credential behind a request adds to the role of its user, or takes away.
//!
//! A role says what a person may do; the credential they show may carry less of it. Authority ends
//! with the request: what follows from its events is done in the name of the reacting domain.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

/// What a credential allows beyond or below the role of its user.
///
/// The default is that of the platform itself: no limits, and no second factor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The credential shown, for audit trails; none for the platform itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<Uuid>,
    /// The scopes it carries, for example `recruit:read` or `*:write`; none means everything the
    /// role may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Whether destructive operations want to see a second factor of late, and when one was seen.
    #[serde(default, skip_serializing_if = "SecondFactor::is_not_asked")]
    pub second_factor: SecondFactor,
}

/// Whether destructive operations want to see a second factor, and when one was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SecondFactor {
    /// The credential is no interactive one, or its user has no second factor and need not have.
    #[default]
    NotAsked,
    /// Asked for and not shown yet.
    Missing,
    /// Shown at that instant.
    Shown {
        /// When.
        at: Timestamp,
    },
}

impl SecondFactor {
    fn is_not_asked(&self) -> bool {
        *self == Self::NotAsked
    }
}

impl Authority {
    /// Whether nothing is added or taken away.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the scopes allow `right`, one of `read`, `write` and `operate`, in `domain`. To
    /// write includes to read.
    #[must_use]
    pub fn allows(&self, domain: &str, right: &str) -> bool {
        let Some(scopes) = &self.scopes else { return true };
        scopes.iter().filter_map(|scope| scope.split_once(':')).any(|(of, granted)| {
            (of == domain || of == "*")
                && (granted == right || (granted == "write" && right == "read"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_opens_its_domain_and_to_write_includes_to_read() {
        let scoped = |scopes: &[&str]| Authority {
            scopes: Some(scopes.iter().map(|&scope| scope.to_owned()).collect()),
            ..Authority::default()
        };

        assert!(Authority::default().allows("recruit", "write"));
        assert!(scoped(&["recruit:write"]).allows("recruit", "read"));
        assert!(scoped(&["*:read"]).allows("payroll", "read"));
        assert!(!scoped(&["*:read"]).allows("payroll", "write"));
        assert!(!scoped(&["recruit:write"]).allows("payroll", "read"));
        assert!(!scoped(&["*:write"]).allows("operator", "operate"));
        assert!(!scoped(&[]).allows("recruit", "read"));
        assert!(!scoped(&["mcp:recruit:read"]).allows("recruit", "read"));
    }
}
