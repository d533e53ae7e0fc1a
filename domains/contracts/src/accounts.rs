//! What the accounts domain tells: who came, who left, and who may do what.

mod flags;
mod tokens;

use kernel::{DomainName, Event, EventType, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use flags::FeatureFlagChanged;
pub use tokens::{ServiceTokenIssued, TokenCreated, TokenRevoked};

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
