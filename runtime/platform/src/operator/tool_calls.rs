//! Calls of tools: what agents asked for, as it is recorded.
//!
//! A call is one event of its own, appended after it has ended and before it is answered; what a
//! command did has its own events besides.

use kernel::{Event, EventType, Id};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::OPERATOR;
use crate::operation::{Command, Spec};
use crate::refusal::Result;
use crate::tx::Tx;

/// What the id of a call identifies.
#[derive(Debug)]
pub enum ToolCall {}

/// An agent called a tool, and this is how that ended. Who it was is the actor of the event.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolCalled {
    /// The call.
    pub call_id: Id<ToolCall>,
    /// The server it came to: the name of its domain, or `*` for the one with the tools of all.
    pub server: String,
    /// The domain asked.
    pub domain: String,
    /// The operation behind the tool, for example `open_job_order`.
    pub operation: String,
    /// `read`, `propose`, `execute` or `restricted`.
    pub category: String,
    /// The arguments: ids, numbers, dates and words of a fixed list as they were, and of anything
    /// else only how long it was.
    pub arguments: Value,
    /// By which the caller has it done once, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `done`, or the kind of the refusal or failure.
    pub outcome: String,
    /// The code of the refusal or failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Event for ToolCalled {
    const TYPE: EventType = OPERATOR.event("tool_called", 1);
    fn aggregate_id(&self) -> Uuid {
        self.call_id.uuid()
    }
}

/// Records the call of a tool.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordToolCalled(ToolCalled);

impl RecordToolCalled {
    /// Records this one.
    #[must_use]
    pub const fn of(call: ToolCalled) -> Self {
        Self(call)
    }
}

impl Command for RecordToolCalled {
    const SPEC: Spec = Spec::internal("record_tool_called");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&self.0).await.map(drop)
    }
}
