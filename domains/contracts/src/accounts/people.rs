//! Who belongs to an organisation, as what, and where.

use kernel::{DomainName, Event, EventType, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const ACCOUNTS: DomainName = super::ACCOUNTS;

/// What letters to users are sealed for; each is sealed about the id of its user.
pub const SEALED_LETTERS: &str = "accounts letters";

/// A letter to a user, as it is sealed: JSON of this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Letter {
    /// The address of the user.
    pub recipient: String,
    /// What the letter says, with the link that lets its reader in.
    pub body: String,
}

/// An organisation has other particulars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrganisationAmended {
    /// Which version of them this is.
    pub version: u64,
    /// The organisation.
    pub organisation_id: Uuid,
}

impl Event for OrganisationAmended {
    const TYPE: EventType = ACCOUNTS.event("organisation_amended", 1);

    fn aggregate_id(&self) -> Uuid {
        self.organisation_id
    }
}

/// An organisation has an office more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfficeOpened {
    /// The office.
    pub office_id: Uuid,
    /// Its name.
    pub name: String,
    /// Its time zone, as in `Australia/Melbourne`.
    pub timezone: String,
}

impl Event for OfficeOpened {
    const TYPE: EventType = ACCOUNTS.event("office_opened", 1);

    fn aggregate_id(&self) -> Uuid {
        self.office_id
    }
}

/// An office has other particulars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfficeAmended {
    /// The office.
    pub office_id: Uuid,
    /// Its name.
    pub name: String,
    /// Its time zone.
    pub timezone: String,
}

impl Event for OfficeAmended {
    const TYPE: EventType = ACCOUNTS.event("office_amended", 1);

    fn aggregate_id(&self) -> Uuid {
        self.office_id
    }
}

/// An office is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfficeClosed {
    /// The office.
    pub office_id: Uuid,
}

impl Event for OfficeClosed {
    const TYPE: EventType = ACCOUNTS.event("office_closed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.office_id
    }
}

/// A user belongs to an office, or to it first of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfficeJoined {
    /// The office.
    pub office_id: Uuid,
    /// The user.
    pub user_id: UserId,
    /// Whether it is their first one.
    pub is_primary: bool,
}

impl Event for OfficeJoined {
    const TYPE: EventType = ACCOUNTS.event("office_joined", 1);

    fn aggregate_id(&self) -> Uuid {
        self.office_id
    }
}

/// A user belongs to an office no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfficeLeft {
    /// The office.
    pub office_id: Uuid,
    /// The user.
    pub user_id: UserId,
}

impl Event for OfficeLeft {
    const TYPE: EventType = ACCOUNTS.event("office_left", 1);

    fn aggregate_id(&self) -> Uuid {
        self.office_id
    }
}

/// Somebody is invited to an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserInvited {
    /// The user they will be.
    pub user_id: UserId,
    /// What they will be there.
    pub role: String,
    /// The link by which they come in.
    pub link_id: Uuid,
    /// The letter with the link, sealed; hexadecimal digits.
    pub letter: String,
}

impl Event for UserInvited {
    const TYPE: EventType = ACCOUNTS.event("user_invited", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// Somebody came in by their invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationAccepted {
    /// The user.
    pub user_id: UserId,
}

impl Event for InvitationAccepted {
    const TYPE: EventType = ACCOUNTS.event("invitation_accepted", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user has other particulars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserAmended {
    /// The user.
    pub user_id: UserId,
}

impl Event for UserAmended {
    const TYPE: EventType = ACCOUNTS.event("user_amended", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user may do something else than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleChanged {
    /// The user.
    pub user_id: UserId,
    /// The role before.
    pub from: String,
    /// The role now.
    pub to: String,
}

impl Event for RoleChanged {
    const TYPE: EventType = ACCOUNTS.event("role_changed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user may not come in any more; every credential of theirs has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserDeactivated {
    /// The user.
    pub user_id: UserId,
    /// How many credentials that were.
    pub credentials: u32,
}

impl Event for UserDeactivated {
    const TYPE: EventType = ACCOUNTS.event("user_deactivated", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user asked for a link to set another password by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordResetRequested {
    /// The user.
    pub user_id: UserId,
    /// The link.
    pub link_id: Uuid,
    /// The letter with the link, sealed; hexadecimal digits.
    pub letter: String,
}

impl Event for PasswordResetRequested {
    const TYPE: EventType = ACCOUNTS.event("password_reset_requested", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}
