//! Scopes of credentials as text: `<domain>:<right>`, with `mcp:` before it for what counts at the
//! MCP servers only.
//!
//! **Invariant:** a scope takes away from what a role may do and never adds to it.

use kernel::Role;

use crate::access::allows;
use crate::catalog::Catalog;
use crate::operation::{Operation, Verb};
use crate::refusal::{Reason, Refusal};

/// Why scopes were refused. Each sentence says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeRefusal {
    /// There are none.
    #[error(
        "a credential without a single scope opens nothing; name one, or leave the field out for \
         all that the credential shown carries"
    )]
    None,
    /// The text is no scope.
    #[error(
        "`{0}` is no scope; write <domain>:<right>, for example recruit:read, where the right is \
         read, write or operate and * stands for all domains"
    )]
    Shape(String),
    /// There is no such domain.
    #[error("`{scope}` is of a domain that does not exist; the domains are {domains}")]
    Domain {
        /// The scope.
        scope: String,
        /// The domains there are.
        domains: String,
    },
    /// The role may do nothing of what the scope is for.
    #[error("the role {role} may do nothing that `{scope}` is needed for; leave it out")]
    Role {
        /// The scope.
        scope: String,
        /// The role.
        role: &'static str,
    },
    /// The credential shown carries less.
    #[error(
        "the credential shown does not carry `{0}`, so nothing made from it may; leave it out, or \
         show a credential that carries it"
    )]
    NotCarried(String),
}

impl Refusal for ScopeRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::None => Reason::invalid("no_scopes"),
            Self::Shape(_) => Reason::invalid("bad_scope"),
            Self::Domain { .. } => Reason::invalid("unknown_scope"),
            Self::Role { .. } => Reason::invalid("scope_beyond_role"),
            Self::NotCarried(_) => Reason::invalid("scope_not_carried"),
        }
        .at("/scopes")
    }
}

/// A scope, taken apart.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    is_for_mcp_only: bool,
    domain: &'a str,
    right: &'a str,
}

impl<'a> Parts<'a> {
    fn of(scope: &'a str) -> Option<Self> {
        let (is_for_mcp_only, rest) = match scope.strip_prefix("mcp:") {
            Some(rest) => (true, rest),
            None => (false, scope),
        };
        let (domain, right) = rest.split_once(':')?;
        let is_known = matches!(right, "read" | "write" | "operate") && !domain.is_empty();
        is_known.then_some(Self { is_for_mcp_only, domain, right })
    }

    /// Whether whoever carries this may do all that `other` is for.
    fn covers(self, other: Self) -> bool {
        (!self.is_for_mcp_only || other.is_for_mcp_only)
            && (self.domain == "*" || self.domain == other.domain)
            && (self.right == other.right || (self.right == "write" && other.right == "read"))
    }

    fn opens(self, operation: &Operation, role: Role) -> bool {
        operation.spec.verb() != Verb::Internal
            && (self.domain == "*" || self.domain == operation.domain.as_str())
            && operation.spec.right() == Some(self.right)
            && allows(role, operation.spec.access())
    }
}

/// Whether all that `wanted` is for may be done by whoever carries `carried`.
pub(crate) fn are_carried(wanted: &[String], carried: Option<&[String]>) -> bool {
    wanted.iter().all(|scope| is_carried(scope, carried))
}

/// Whether all that `scope` is for may be done by whoever carries `carried`, where none stands for
/// all that the role may.
fn is_carried(scope: &str, carried: Option<&[String]>) -> bool {
    let Some(wanted) = Parts::of(scope) else { return false };
    let Some(carried) = carried else { return true };
    carried.iter().filter_map(|scope| Parts::of(scope)).any(|scope| scope.covers(wanted))
}

/// Refuses scopes of a new credential that mean nothing, that open nothing to the role of its user,
/// or that the credential shown does not carry itself.
///
/// # Errors
/// [`ScopeRefusal`] for the first scope that will not do.
pub fn check_scopes(
    catalog: &Catalog,
    role: Role,
    carried: Option<&[String]>,
    wanted: &[String],
) -> Result<(), ScopeRefusal> {
    if wanted.is_empty() {
        return Err(ScopeRefusal::None);
    }
    for scope in wanted {
        let parts = Parts::of(scope).ok_or_else(|| ScopeRefusal::Shape(scope.clone()))?;
        if parts.domain != "*" && catalog.domain(parts.domain).is_none() {
            let names: Vec<_> =
                catalog.domains().iter().map(|domain| domain.name().to_string()).collect();
            return Err(ScopeRefusal::Domain { scope: scope.clone(), domains: names.join(", ") });
        }
        if !catalog.operations().any(|operation| parts.opens(operation, role)) {
            return Err(ScopeRefusal::Role { scope: scope.clone(), role: role.name() });
        }
        if !is_carried(scope, carried) {
            return Err(ScopeRefusal::NotCarried(scope.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_from_a_credential_carries_no_more_than_it() {
        let cases: [(&str, Option<&[&str]>, bool); 11] = [
            ("recruit:read", None, true),
            ("recruit:read", Some(&["recruit:read"]), true),
            ("recruit:read", Some(&["recruit:write"]), true),
            ("recruit:write", Some(&["recruit:read"]), false),
            ("recruit:read", Some(&["*:read"]), true),
            ("*:read", Some(&["recruit:read"]), false),
            ("operator:operate", Some(&["*:write"]), false),
            ("mcp:recruit:read", Some(&["recruit:read"]), true),
            ("recruit:read", Some(&["mcp:recruit:read"]), false),
            ("mcp:recruit:read", Some(&["mcp:recruit:write"]), true),
            ("recruit:read", Some(&[]), false),
        ];

        for (wanted, carried, expected) in cases {
            let carried: Option<Vec<String>> =
                carried.map(|scopes| scopes.iter().map(|&scope| scope.to_owned()).collect());
            let answer = is_carried(wanted, carried.as_deref());
            assert_eq!(answer, expected, "{wanted} from {carried:?}");
        }
    }
}
