//! Looking at the tree: what runs, since when, and what has happened to it.

use kernel::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operation::{Access, Action, Spec};
use crate::refusal::Result;
use crate::system::System;

/// Show the supervision tree as it is now.
///
/// Every supervisor and process of the platform with its state, its restarts, the reason of its
/// last exit and the messages that wait for it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetTree {}

/// A supervisor or process of the tree.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ProcessNode {
    /// Name among its siblings.
    pub id: String,
    /// Place in the tree, for example `root/domains/recruit`.
    pub path: String,
    /// `supervisor` or `worker`.
    pub kind: String,
    /// `running`, `starting`, `restarting`, `stopping`, `stopped` or `quarantined`.
    pub status: String,
    /// Which children a failure affects; supervisors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// When it is restarted: `permanent`, `transient` or `temporary`.
    pub restart: String,
    /// Restarts tolerated within `within_ms`; supervisors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
    /// The window of the restarts that count, in milliseconds; supervisors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
    /// Restarts within the window now; supervisors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_in_window: Option<u32>,
    /// How many times it has been started.
    pub incarnation: u64,
    /// How many of these were restarts.
    pub restarts: u64,
    /// When the present incarnation was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Why the one before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit_at: Option<Timestamp>,
    /// Messages or work that wait for it.
    pub mailbox: u64,
    /// When a quarantined subtree is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_until: Option<Timestamp>,
    /// `dedicated` when it and all below it run on threads of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// How many threads of its own it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Its children, in the order they start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ProcessNode>,
}

impl Action for GetTree {
    const SPEC: Spec = Spec::read("get_tree", "/tree").needs(Access::Operate);
    type Output = ProcessNode;
    async fn act(self, system: &System) -> Result<ProcessNode> {
        let node = serde_json::to_value(system.tree().snapshot())?;
        Ok(serde_json::from_value(node)?)
    }
}

/// List what happened to processes lately, newest first.
///
/// Starts, exits with their reason, restarts with the time to recovery, and the processes each
/// failure touched. The last 1,000 are kept in memory.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSupervisionEvents {
    /// How many to list; 50 unless told.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: u32,
}

const fn fifty() -> u32 {
    50
}

/// What happened to processes, newest first.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SupervisionHistory {
    /// The happenings: `sequence`, `at`, `path`, `kind`, `incarnation`, and what belongs to the
    /// kind.
    pub items: Vec<serde_json::Value>,
}

impl Action for ListSupervisionEvents {
    const SPEC: Spec =
        Spec::read("list_supervision_events", "/supervision_events").needs(Access::Operate);
    type Output = SupervisionHistory;
    async fn act(self, system: &System) -> Result<SupervisionHistory> {
        let history = system.tree().history();
        let newest = history.iter().rev().take(self.limit as usize);
        let items =
            newest.map(|event| Ok(serde_json::to_value(&**event)?)).collect::<Result<_>>()?;
        Ok(SupervisionHistory { items })
    }
}
