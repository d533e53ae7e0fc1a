//! The order a worker is given when it is started, and what it can be told while it runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a worker is to be; the only argument of its program, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The name of the node.
    pub name: String,
    /// How to connect as the application.
    pub database_url: String,
    /// What it performs: for each queue how many attempts at once.
    pub queues: Vec<(String, u32)>,
    /// The queue that gets threads of its own, if one does.
    pub dedicated: Option<String>,
    /// The file that lets go of a thread held by a job; without one it lets go by itself.
    pub release: Option<PathBuf>,
}

/// What a worker can be told, one line of JSON each. It answers each with a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// Kill the process at this path; answers how many were killed.
    Kill(String),
    /// Kill so many attempts of a queue, beginning with the one at this place; answers how many.
    KillAttempts {
        /// The queue.
        queue: String,
        /// How many.
        count: usize,
        /// Where to begin, modulo how many there are.
        place: usize,
    },
    /// Let so many jobs of a queue execute at once over all nodes, any number if it is 0; answers
    /// whether that holds now: 1, or 0 while the database is away.
    Limit {
        /// The queue.
        queue: String,
        /// How many.
        limit: u32,
    },
    /// Answers how often the process at this path was started again.
    Restarts(String),
    /// Answers how many attempts of a queue have ended after their job had been taken from them.
    Superseded(String),
}
