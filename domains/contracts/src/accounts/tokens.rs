//! What is told of the tokens of programs.

use kernel::{Event, EventType, Timestamp, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ACCOUNTS;

/// A token for a program was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// The token, by which it is listed and revoked.
    pub token_id: Uuid,
    /// The user it acts as.
    pub user_id: UserId,
    /// What it is called.
    pub label: String,
    /// The scopes it carries; absent if it carries all that the role of its user may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// When it ends; absent if it is good until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Event for TokenCreated {
    const TYPE: EventType = ACCOUNTS.event("token_created", 1);

    fn aggregate_id(&self) -> Uuid {
        self.token_id
    }
}

/// A token of a program was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {
    /// The token.
    pub token_id: Uuid,
    /// The user it acted as.
    pub user_id: UserId,
    /// What it was called.
    pub label: String,
}

impl Event for TokenRevoked {
    const TYPE: EventType = ACCOUNTS.event("token_revoked", 1);

    fn aggregate_id(&self) -> Uuid {
        self.token_id
    }
}

/// A short token was made for a part of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceTokenIssued {
    /// The token, as `jti` in what was signed.
    pub service_token_id: Uuid,
    /// The credential that it was made from, and with which it ends.
    pub made_from: Uuid,
    /// The user it acts as.
    pub user_id: UserId,
    /// The scopes it carries.
    pub scopes: Vec<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Event for ServiceTokenIssued {
    const TYPE: EventType = ACCOUNTS.event("service_token_issued", 1);

    fn aggregate_id(&self) -> Uuid {
        self.service_token_id
    }
}

/// A second factor was shown once more, for what destroys something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecondFactorShown {
    /// The user.
    pub user_id: UserId,
    /// The session or the token that it counts for, and for all that was made from it.
    pub credential_id: Uuid,
}

impl Event for SecondFactorShown {
    const TYPE: EventType = ACCOUNTS.event("second_factor_shown", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}
