//! Counts: what happens in the mailboxes of a node, by class of loss.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::mailbox::LossClass;

/// What the subscribers of one class have seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Subscribers now.
    pub subscribers: u64,
    /// The most events that ever waited in one of their mailboxes.
    pub depth_max: u64,
    /// Events that did not fit. A durable subscriber has read them from the log instead.
    pub dropped: u64,
}

/// The counters of all classes.
#[derive(Debug, Default)]
pub(crate) struct Counts([ClassCounts; LossClass::ALL.len()]);

#[derive(Debug, Default)]
pub(crate) struct ClassCounts {
    subscribers: AtomicU64,
    depth_max: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    pub(crate) fn of(&self, class: LossClass) -> &ClassCounts {
        &self.0[class as usize]
    }
}

impl ClassCounts {
    pub(crate) fn now(&self) -> QueueCounts {
        QueueCounts {
            subscribers: self.subscribers.load(Ordering::Relaxed),
            depth_max: self.depth_max.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn joined(&self) {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }

    /// An event was put into a mailbox, in which so many wait now.
    pub(crate) fn put(&self, depth: usize, dropped: u64) {
        let depth = depth as u64;
        if depth > self.depth_max.load(Ordering::Relaxed) {
            self.depth_max.fetch_max(depth, Ordering::Relaxed);
        }
        if dropped > 0 {
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }
}
