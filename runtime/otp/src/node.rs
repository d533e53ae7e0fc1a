//! Nodes: what a tree looks like at one moment.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::child::{ChildKind, Restart, Shutdown};
use crate::exit::ExitReason;
use crate::strategy::Strategy;

/// What a place in the tree is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing: there is no process and none is wanted at the moment.
    #[default]
    Stopped,
    /// Its process is being initialised.
    Starting,
    /// Its process is up.
    Running,
    /// Its process died and a successor is on its way.
    Restarting,
    /// Its process has been told to stop.
    Stopping,
    /// It is left down for a while.
    Quarantined,
}

/// The threads that a place in the tree runs on, where they are not those of its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeKind {
    /// Its own, behind a [`Bulkhead`](crate::Bulkhead).
    Dedicated,
}

/// One place in a tree, with everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id, unique among its siblings.
    pub id: String,
    /// Where it is: the ids from the root to here, joined by slashes.
    pub path: String,
    /// Whether it supervises others.
    pub kind: ChildKind,
    /// What it is doing.
    pub status: Status,
    /// How a supervisor reacts to a failure below it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub strategy: Option<Strategy>,
    /// After which exits it is started again.
    pub restart: Restart,
    /// How it is told to stop.
    pub shutdown: Shutdown,
    /// How many restarts a supervisor tolerates.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_restarts: Option<u32>,
    /// For how long a restart counts, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub within_ms: Option<u64>,
    /// How many restarts count at the moment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restarts_in_window: Option<u32>,
    /// Which life this is, counted from 1; 0 before the first.
    pub incarnation: u64,
    /// How many lives there have been before this one.
    pub restarts: u64,
    /// When the present process came up.
    pub started_at: Option<DateTime<Utc>>,
    /// Why the previous process ended.
    pub last_exit: Option<ExitReason>,
    /// When it did.
    pub last_exit_at: Option<DateTime<Utc>>,
    /// How many messages, or how much other work, wait.
    pub mailbox: u64,
    /// What an operator should know about it.
    pub label: String,
    /// When the quarantine ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quarantined_until: Option<DateTime<Utc>>,
    /// `dedicated` when it and all below it run on threads of their own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runtime: Option<RuntimeKind>,
    /// How many threads of its own it has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threads: Option<usize>,
    /// What it supervises, in start order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<Node>,
}

impl Node {
    /// This node and all below it, each before what it supervises.
    #[must_use]
    pub fn walk(&self) -> Vec<&Self> {
        let mut nodes = Vec::new();
        let mut waiting = vec![self];
        while let Some(node) = waiting.pop() {
            nodes.push(node);
            waiting.extend(node.children.iter().rev());
        }
        nodes
    }
}
