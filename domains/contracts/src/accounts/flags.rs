//! What is told of feature flags.

use kernel::{Event, EventType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ACCOUNTS;

/// A feature was switched on or off for the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureFlagChanged {
    /// The flag of this organisation.
    pub flag_id: Uuid,
    /// Its name.
    pub name: String,
    /// Whether it is on now.
    pub is_on: bool,
    /// Whether that is because the organisation has set it; otherwise it is as declared.
    pub is_set: bool,
}

impl Event for FeatureFlagChanged {
    const TYPE: EventType = ACCOUNTS.event("feature_flag_changed", 1);

    fn aggregate_id(&self) -> Uuid {
        self.flag_id
    }
}
