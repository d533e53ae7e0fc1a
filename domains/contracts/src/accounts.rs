//! What the accounts domain tells: who came, who left, and who may do what.

mod flags;
mod passkeys;
mod people;
mod tokens;

use kernel::{DomainName, Event, EventType, Timestamp, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use flags::FeatureFlagChanged;
pub use passkeys::{
    CodeDeviceRemoved, PasskeyAdded, PasskeyRemoved, PasskeyRenamed, PasskeySuspected,
};
pub use people::{
    InvitationAccepted, Letter, OfficeAmended, OfficeClosed, OfficeJoined, OfficeLeft,
    OfficeOpened, OrganisationAmended, PasswordResetRequested, RoleChanged, SEALED_LETTERS,
    UserAmended, UserDeactivated, UserInvited,
};
pub use tokens::{SecondFactorShown, ServiceTokenIssued, TokenCreated, TokenRevoked};

/// The domain of organisations, users and their credentials.
pub const ACCOUNTS: DomainName = DomainName::new("accounts");

/// A user changed the name they are greeted by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRenamed {
    /// The user.
    pub user_id: UserId,
}

impl Event for UserRenamed {
    const TYPE: EventType = ACCOUNTS.event("user_renamed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// Somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedIn {
    /// The user.
    pub user_id: UserId,
    /// The session that began.
    pub session_id: Uuid,
    /// What signed in: `session` is a browser, `app` an app.
    pub kind: String,
    /// Whether a second factor was shown.
    pub had_second_factor: bool,
}

impl Event for SignedIn {
    const TYPE: EventType = ACCOUNTS.event("signed_in", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// Somebody could not sign in: address, password or code were wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignInFailed {
    /// What was guessed at; the same for each guess at one account, and the account is not to be
    /// found by it.
    pub guess_id: Uuid,
    /// The user, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// What was wrong: `password` or `second_factor`.
    pub at: String,
}

impl Event for SignInFailed {
    const TYPE: EventType = ACCOUNTS.event("sign_in_failed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.guess_id
    }
}

/// Too many guesses at one account: nobody may sign in there until the lock ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignInLocked {
    /// What was guessed at, as in `sign_in_failed`.
    pub guess_id: Uuid,
    /// The user, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// When guessing may go on.
    pub locked_until: Timestamp,
}

impl Event for SignInLocked {
    const TYPE: EventType = ACCOUNTS.event("sign_in_locked", 1);

    fn aggregate_id(&self) -> Uuid {
        self.guess_id
    }
}

/// A session ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionEnded {
    /// The session.
    pub session_id: Uuid,
    /// Whose it was.
    pub user_id: UserId,
    /// Why it ended.
    pub because: EndReason,
}

impl Event for SessionEnded {
    const TYPE: EventType = ACCOUNTS.event("session_ended", 1);

    fn aggregate_id(&self) -> Uuid {
        self.session_id
    }
}

/// A user has another password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordChanged {
    /// The user.
    pub user_id: UserId,
}

impl Event for PasswordChanged {
    const TYPE: EventType = ACCOUNTS.event("password_changed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user has a second factor, or another one than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecondFactorEnrolled {
    /// The user.
    pub user_id: UserId,
}

impl Event for SecondFactorEnrolled {
    const TYPE: EventType = ACCOUNTS.event("second_factor_enrolled", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user has no second factor any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecondFactorDisabled {
    /// The user.
    pub user_id: UserId,
}

impl Event for SecondFactorDisabled {
    const TYPE: EventType = ACCOUNTS.event("second_factor_disabled", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A recovery code took the place of a second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodeUsed {
    /// The user.
    pub user_id: UserId,
    /// How many codes are left.
    pub left: u32,
}

impl Event for RecoveryCodeUsed {
    const TYPE: EventType = ACCOUNTS.event("recovery_code_used", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user has new recovery codes; the earlier ones are good for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodesRenewed {
    /// The user.
    pub user_id: UserId,
}

impl Event for RecoveryCodesRenewed {
    const TYPE: EventType = ACCOUNTS.event("recovery_codes_renewed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// Why a session ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum EndReason {
    /// Its user signed out.
    SignedOut,
    /// Its user, or an administrator, ended it from elsewhere.
    Revoked,
    /// A refresh token was shown a second time: somebody else may have it.
    RefreshTokenReused,
    /// The password changed.
    PasswordChanged,
    /// The user was deactivated.
    UserDeactivated,
}
