//! What is told of passkeys: by ids alone.

use kernel::{Event, EventType, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ACCOUNTS;

/// A user has a passkey more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyAdded {
    /// The user.
    pub user_id: UserId,
    /// The passkey.
    pub passkey_id: Uuid,
}

impl Event for PasskeyAdded {
    const TYPE: EventType = ACCOUNTS.event("passkey_added", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user calls a passkey something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyRenamed {
    /// The user.
    pub user_id: UserId,
    /// The passkey.
    pub passkey_id: Uuid,
}

impl Event for PasskeyRenamed {
    const TYPE: EventType = ACCOUNTS.event("passkey_renamed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A passkey of a user is good for nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyRemoved {
    /// The user.
    pub user_id: UserId,
    /// The passkey.
    pub passkey_id: Uuid,
}

impl Event for PasskeyRemoved {
    const TYPE: EventType = ACCOUNTS.event("passkey_removed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A passkey was refused although its signature was right: it has counted backwards, as a copy of
/// it would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeySuspected {
    /// The user.
    pub user_id: UserId,
    /// The passkey.
    pub passkey_id: Uuid,
}

impl Event for PasskeySuspected {
    const TYPE: EventType = ACCOUNTS.event("passkey_suspected", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// A user has no device any more that makes codes; passkeys are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeDeviceRemoved {
    /// The user.
    pub user_id: UserId,
}

impl Event for CodeDeviceRemoved {
    const TYPE: EventType = ACCOUNTS.event("code_device_removed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}
