//! Supervision events: what happened in a tree, when, and what caused it.
//!
//! A tree keeps and tells what somebody may have to look into. Temporary children come and go by
//! the thousand (a connection, one attempt of a job), and nobody looks into one that did its work;
//! kept and told like the rest, they would crowd out the one failure among them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::exit::ExitReason;

/// One thing that happened to one process.
///
/// The start and the mild end of a temporary child are its ordinary life: they are neither kept in
/// [`Tree::history`](crate::Tree::history) nor told to [`Tree::subscribe`](crate::Tree::subscribe).
/// Its failures are: an end that is not mild, a kill, a start that gave no process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisionEvent {
    /// Its number; later events have higher ones. What is ordinary is counted too, so there are
    /// gaps between the numbers of those that are kept.
    pub sequence: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Where the process lives.
    pub path: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: SupervisionEventKind,
    /// Which life of the process it happened to, counted from 1; 0 before the first.
    pub incarnation: u64,
    /// The number of the exit that led to this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<u64>,
    /// The siblings that had to be stopped or restarted because of this failure. Empty means that
    /// nobody else noticed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub touched: Vec<String>,
    /// From the exit to the successor being up, in microseconds; of a restart only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recovery_us: Option<u64>,
}

/// What can happen to a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SupervisionEventKind {
    /// It is up; a supervisor is before its children are.
    Started,
    /// It ended by itself or was killed by a stranger.
    Exited {
        /// Why.
        reason: ExitReason,
    },
    /// Its supervisor has stopped it.
    Terminated {
        /// What it ended with.
        reason: ExitReason,
    },
    /// Its supervisor has brought it up again, with all siblings that share its fate.
    Restarted,
    /// An attempt to start it gave no process.
    StartFailed {
        /// Why.
        error: String,
    },
    /// It did not want to be started and is left alone.
    Ignored,
    /// A supervisor exceeded its intensity and shuts down.
    GaveUp,
    /// It is left down for a while, because it gave up or cannot be started.
    Quarantined {
        /// How many times in a row.
        round: u32,
        /// When it is tried again.
        until: DateTime<Utc>,
    },
    /// An operator ended the quarantine early.
    QuarantineLifted,
    /// It holds a thread for longer than its [`Watchdog`](crate::Watchdog) allows.
    Overstayed {
        /// What it is at: what [`Actor::describe`](crate::Actor::describe) calls its message, or
        /// the part of its life.
        message: String,
        /// How long it has held the thread, in milliseconds.
        for_ms: u64,
        /// Where in the code its specification was made; nowhere for work that was asked of a
        /// [`Bulkhead`](crate::Bulkhead).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        spawned_at: Option<String>,
        /// The paths of the supervisors above it, from the root down.
        ancestors: Vec<String>,
    },
    /// It overstays, should be replaced and cannot be.
    NotReplaced {
        /// Why not.
        why: String,
    },
}

impl SupervisionEventKind {
    /// Whether a temporary child is expected to have this happen to it.
    pub(crate) const fn is_ordinary(&self) -> bool {
        match self {
            Self::Started => true,
            Self::Exited { reason } | Self::Terminated { reason } => reason.is_mild(),
            _ => false,
        }
    }
}
