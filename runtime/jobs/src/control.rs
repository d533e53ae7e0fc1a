//! What a node knows about the control of a queue: its own page, and what is stored for all.
//!
//! It decides how the producer claims without asking the database each time. Whether a limit holds
//! is never decided here: the claim itself asks.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::Limits;
use crate::slots::Slots;

/// The control of one queue on this node.
#[derive(Debug)]
pub(crate) struct Control {
    book: Mutex<Book>,
    /// What this node declares is not stored yet, or what is stored is not known yet.
    is_unsettled: AtomicBool,
    is_limited: AtomicBool,
    is_paused_here: AtomicBool,
    producers: AtomicU32,
}

#[derive(Debug, Default)]
struct Book {
    declared_limit: u32,
    stored_limit: Option<u32>,
    /// Absent until this node declares anything.
    declared: Option<Limits>,
    /// The partition that was served last by this node.
    last_partition: String,
}

/// What is stored about a queue, as far as this node goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// In place of the limit of this node.
    pub(crate) limit: Option<u32>,
    pub(crate) is_limited: bool,
    pub(crate) is_paused_here: bool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            book: Mutex::default(),
            is_unsettled: AtomicBool::new(true),
            is_limited: AtomicBool::new(false),
            is_paused_here: AtomicBool::new(false),
            producers: AtomicU32::new(0),
        }
    }
}

impl Control {
    pub(crate) fn is_unsettled(&self) -> bool {
        self.is_unsettled.load(Ordering::Acquire)
    }

    /// Says that what was declared is to be stored.
    pub(crate) fn unsettle(&self) {
        self.is_unsettled.store(true, Ordering::Release);
    }

    /// Says that what is declared is stored; before reading it, so that no later one is missed.
    pub(crate) fn settle(&self) {
        self.is_unsettled.store(false, Ordering::Release);
    }

    /// Whether claims go by limits over all nodes.
    pub(crate) fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limited(&self, is_limited: bool) {
        self.is_limited.store(is_limited, Ordering::Relaxed);
    }

    /// Whether this node alone claims nothing.
    pub(crate) fn is_paused_here(&self) -> bool {
        self.is_paused_here.load(Ordering::Relaxed)
    }

    pub(crate) fn declared(&self) -> Option<Limits> {
        self.book().declared.clone()
    }

    pub(crate) fn last_partition(&self) -> String {
        self.book().last_partition.clone()
    }

    pub(crate) fn set_last_partition(&self, key: String) {
        self.book().last_partition = key;
    }

    /// Whether a producer of the queue claims on this node.
    pub(crate) fn has_producer(&self) -> bool {
        self.producers.load(Ordering::Relaxed) > 0
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Every statement leaves it whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// What this node runs at once, unless something else is stored.
    pub(crate) fn declare_limit(&self, limit: u32) {
        let mut book = self.control.book();
        book.declared_limit = limit;
        self.set_limit(book.stored_limit.unwrap_or(limit));
    }

    /// What limits the queue over all nodes, by the page of this one.
    pub(crate) fn declare_limits(&self, limits: Limits) {
        let mut book = self.control.book();
        if book.declared.as_ref() != Some(&limits) {
            book.declared = Some(limits);
            self.control.unsettle();
        }
    }

    /// Goes by what is stored from now on, and says whether that is news.
    pub(crate) fn go_by(&self, stored: Stored) -> bool {
        let control = &self.control;
        let mut book = control.book();
        let limit = stored.limit.unwrap_or(book.declared_limit);
        let was_limited = control.is_limited.swap(stored.is_limited, Ordering::Relaxed);
        let was_paused = control.is_paused_here.swap(stored.is_paused_here, Ordering::Relaxed);
        let is_news = limit != self.limit()
            || (was_limited, was_paused) != (stored.is_limited, stored.is_paused_here);
        book.stored_limit = stored.limit;
        self.set_limit(limit);
        is_news
    }

    /// Says that a producer of the queue claims here, until the answer is dropped.
    pub(crate) fn begin_producing(self: &Arc<Self>) -> Producing {
        self.control.producers.fetch_add(1, Ordering::Relaxed);
        Producing(self.clone())
    }
}

/// A producer claims.
#[derive(Debug)]
pub(crate) struct Producing(Arc<Slots>);

impl Drop for Producing {
    fn drop(&mut self) {
        self.0.control.producers.fetch_sub(1, Ordering::Relaxed);
    }
}
