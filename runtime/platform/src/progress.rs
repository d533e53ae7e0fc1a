//! Progress: how far an action is, told to whoever called it and listens.

use std::sync::Arc;

/// How far something is, in steps of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done. What is told later is never less.
    pub done: u64,
    /// All steps, if that is known.
    pub total: Option<u64>,
}

/// Hears how far an action is.
pub(crate) type Listener = Arc<dyn Fn(Progress) + Send + Sync>;
