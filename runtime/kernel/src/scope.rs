//! Scope: who acts, for which organisation, as part of which chain of causes.
//!
//! One value travels explicitly through every call, job and event. It never comes from parameters a
//! client may choose: surfaces make it from a token, reactions from the event they react to.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Authority, EventId, OrgId, TraceParent, UserId};

/// Who acts, for which organisation, in which chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The organisation whose rows may be seen and changed.
    pub org_id: OrgId,
    /// Who acts.
    pub principal: Principal,
    /// The same for everything that follows from one request.
    pub correlation_id: Uuid,
    /// The event that caused this, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<EventId>,
    /// How many events lie between the request and this.
    #[serde(default)]
    pub hops: Hops,
    /// The caller's trace this belongs to, if the caller named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// What the credential of the request adds to the role, or takes away.
    #[serde(default, skip_serializing_if = "Authority::is_default")]
    pub authority: Authority,
}

/// Who acts: a person, the platform itself, or somebody who has not said yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Principal {
    /// A user with a role.
    User {
        /// Which user.
        user_id: UserId,
        /// What the user may do.
        role: Role,
    },
    /// A reaction, a schedule or a duty of the platform; named for the audit trail.
    System {
        /// Which part of the platform, for example `pulse`.
        name: String,
    },
    /// Nobody yet: somebody who is about to say who they are.
    Anonymous,
}

/// What a user may do. The first seven are roles of an organisation, `Operator` runs the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the organisation.
    Director,
    /// Administers users and settings.
    Admin,
    /// Recruits, rosters and talks to clients.
    Staff,
    /// Pays and invoices.
    Payroll,
    /// Leads a site.
    Supervisor,
    /// Works shifts.
    Worker,
    /// A person at a client.
    ClientContact,
    /// Watches and repairs the running platform.
    Operator,
}

impl Role {
    /// All roles, in the order of their definition.
    pub const ALL: [Self; 8] = [
        Self::Director,
        Self::Admin,
        Self::Staff,
        Self::Payroll,
        Self::Supervisor,
        Self::Worker,
        Self::ClientContact,
        Self::Operator,
    ];

    /// The name used in storage and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::Admin => "admin",
            Self::Staff => "staff",
            Self::Payroll => "payroll",
            Self::Supervisor => "supervisor",
            Self::Worker => "worker",
            Self::ClientContact => "client_contact",
            Self::Operator => "operator",
        }
    }

    /// The role of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl Scope {
    /// The scope of a fresh request by a user.
    #[must_use]
    pub fn user(org_id: OrgId, user_id: UserId, role: Role, correlation_id: Uuid) -> Self {
        Self::first(org_id, Principal::User { user_id, role }, correlation_id)
    }

    /// The scope of a duty the platform starts by itself.
    #[must_use]
    pub fn system(org_id: OrgId, name: impl Into<String>, correlation_id: Uuid) -> Self {
        Self::first(org_id, Principal::System { name: name.into() }, correlation_id)
    }

    /// The scope of whoever shows no credential. It belongs to no organisation.
    #[must_use]
    pub fn anonymous(correlation_id: Uuid) -> Self {
        Self::first(OrgId::from_uuid(Uuid::nil()), Principal::Anonymous, correlation_id)
    }

    fn first(org_id: OrgId, principal: Principal, correlation_id: Uuid) -> Self {
        Self {
            org_id,
            principal,
            correlation_id,
            causation_id: None,
            hops: Hops::default(),
            traceparent: None,
            authority: Authority::default(),
        }
    }

    /// The same as part of the caller's trace.
    #[must_use]
    pub fn traced(self, traceparent: Option<TraceParent>) -> Self {
        Self { traceparent, ..self }
    }

    /// The scope of what `domain` does because of the event `cause`, which was recorded under
    /// `self`.
    ///
    /// # Errors
    /// [`TooManyHops`] when the chain of causes would grow beyond [`Hops::MAX`].
    pub fn caused_by(&self, cause: EventId, domain: &str) -> Result<Self, TooManyHops> {
        Ok(Self {
            org_id: self.org_id,
            principal: Principal::System { name: domain.to_owned() },
            correlation_id: self.correlation_id,
            causation_id: Some(cause),
            hops: self.hops.next(cause)?,
            traceparent: self.traceparent,
            authority: Authority::default(),
        })
    }

    /// The same with what the credential shown allows.
    #[must_use]
    pub fn authorised(self, authority: Authority) -> Self {
        Self { authority, ..self }
    }

    /// The user who acts, if a user does.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match &self.principal {
            Principal::User { user_id, .. } => Some(*user_id),
            Principal::System { .. } | Principal::Anonymous => None,
        }
    }

    /// The role of the user who acts; `None` for the platform itself and for nobody.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match &self.principal {
            Principal::User { role, .. } => Some(*role),
            Principal::System { .. } | Principal::Anonymous => None,
        }
    }
}

/// The length of a chain of causes: events recorded on direct request have 1 hop, their
/// consequences 2, and so on. More than [`Hops::MAX`] is refused, so that a cycle of reactions
/// ends as a visible refusal and not as a storm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hops(u8);

impl Hops {
    /// The longest chain of causes: ten events.
    pub const MAX: u8 = 10;

    /// How many events precede this scope in its chain.
    #[must_use]
    pub const fn count(self) -> u8 {
        self.0
    }

    /// One hop further, because of `cause`.
    ///
    /// # Errors
    /// [`TooManyHops`] when ten events already precede it.
    pub const fn next(self, cause: EventId) -> Result<Self, TooManyHops> {
        if self.0 + 1 >= Self::MAX { Err(TooManyHops { cause }) } else { Ok(Self(self.0 + 1)) }
    }
}

/// The chain of causes is already ten events long, so the eleventh event is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {cause} is the last of {max} in its chain of causes, so it causes nothing more",
    max = Hops::MAX
)]
pub struct TooManyHops {
    /// The tenth event of the chain.
    pub cause: EventId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::system(OrgId::new(), "test", Uuid::now_v7())
    }

    #[test]
    fn the_tenth_event_of_a_chain_causes_nothing_more() {
        let mut scope = scope();
        for _ in 1..Hops::MAX {
            scope =
                scope.caused_by(EventId::new(), "pulse").expect("nine consequences are allowed");
        }

        let refused = scope.caused_by(EventId::new(), "pulse");

        assert!(refused.is_err());
    }

    #[test]
    fn a_consequence_keeps_organisation_correlation_and_trace() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok();
        let scope = scope().traced(traceparent);
        let cause = EventId::new();

        let consequence = scope.caused_by(cause, "reach").expect("the chain is short");

        assert_eq!(consequence.org_id, scope.org_id);
        assert_eq!(consequence.correlation_id, scope.correlation_id);
        assert_eq!(consequence.causation_id, Some(cause));
        assert!(consequence.traceparent.is_some() && consequence.traceparent == traceparent);
    }

    #[test]
    fn every_role_is_found_by_its_name() {
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
    }
}
