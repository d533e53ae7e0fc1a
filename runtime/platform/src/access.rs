//! Access: who may do what, by role, by what the credential carries, and by how lately a second
//! factor was shown. The only such tables.

use std::time::Duration;

use kernel::{Principal, Role, Scope, SecondFactor, Timestamp};

use crate::operation::{Access, Operation};
use crate::refusal::{Error, Reason, Result};

/// How long a second factor counts for destructive operations.
pub const SECOND_FACTOR_COUNTS_FOR: Duration = Duration::from_mins(10);

/// Refuses whoever may not call `operation`.
pub(crate) fn authorise(scope: &Scope, operation: &Operation, now: Timestamp) -> Result<()> {
    let access = operation.spec.access();
    let name = operation.spec.name();
    match &scope.principal {
        _ if access == Access::Anyone => return Ok(()),
        Principal::Anonymous => {
            return Err(Error::refused(
                Reason::unauthenticated("token_missing"),
                format!("{name} is for those who have signed in"),
            ));
        }
        // Duties of the platform act for their domain and may do all but operate.
        Principal::System { .. } if access == Access::Operate => {
            return Err(denied(format!("the platform itself may not {name}")));
        }
        Principal::System { .. } => {}
        Principal::User { role, .. } if allows(*role, access) => {}
        Principal::User { role, .. } => {
            return Err(denied(format!("the role {} may not {name}", role.name())));
        }
    }
    let domain = operation.domain.as_str();
    if let Some(right) = operation.spec.right()
        && !scope.authority.allows(domain, right)
    {
        return Err(Error::refused(
            Reason::forbidden("scope_missing"),
            format!("the credential does not carry the scope {domain}:{right} that {name} needs"),
        ));
    }
    if operation.spec.is_destructive() {
        must_be_fresh(scope.authority.second_factor, name, now)?;
    }
    Ok(())
}

fn must_be_fresh(second_factor: SecondFactor, name: &str, now: Timestamp) -> Result<()> {
    let is_fresh = match second_factor {
        SecondFactor::NotAsked => true,
        SecondFactor::Missing => false,
        SecondFactor::Shown { at } => {
            (now - at).to_std().is_ok_and(|age| age <= SECOND_FACTOR_COUNTS_FOR)
        }
    };
    if is_fresh {
        return Ok(());
    }
    let minutes = SECOND_FACTOR_COUNTS_FOR.as_secs() / 60;
    Err(Error::refused(
        Reason::forbidden("step_up_required"),
        format!("{name} wants a second factor shown in the last {minutes} minutes; show it again"),
    ))
}

fn denied(message: String) -> Error {
    Error::refused(Reason::forbidden("access_denied"), message)
}

/// The one table from roles to access.
#[must_use]
pub const fn allows(role: Role, access: Access) -> bool {
    match access {
        Access::Anyone | Access::Member => true,
        Access::Operate => matches!(role, Role::Operator),
        Access::Read => !matches!(role, Role::Worker | Role::ClientContact),
        Access::Write => matches!(role, Role::Director | Role::Admin | Role::Staff | Role::Payroll),
        Access::Administer => matches!(role, Role::Director | Role::Admin),
    }
}
