//! A subscriber's mailbox: bounded, and honest about what it had to drop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::event::BusEvent;

/// Events for one subscriber. The oldest make room for the newest, since whoever lags reads the log
/// from its last position anyway and wants the live end to be current.
#[derive(Debug)]
pub(crate) struct Mailbox {
    capacity: usize,
    content: Mutex<Content>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Content {
    events: VecDeque<Arc<BusEvent>>,
    lost: u64,
    is_closed: bool,
}

/// What a subscriber finds in its mailbox.
#[derive(Debug)]
pub(crate) enum Delivery {
    Event(Arc<BusEvent>),
    Lost(u64),
    Closed,
}

impl Mailbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), content: Mutex::default(), filled: Notify::new() }
    }

    /// Puts an event in; never waits.
    pub(crate) fn put(&self, event: Arc<BusEvent>) {
        let mut content = self.content();
        if content.events.len() >= self.capacity {
            content.events.pop_front();
            content.lost += 1;
        }
        content.events.push_back(event);
        drop(content);
        self.filled.notify_one();
    }

    /// No more events will come; what is there can still be taken.
    pub(crate) fn close(&self) {
        self.content().is_closed = true;
        self.filled.notify_one();
    }

    /// Waits for the next event, or for the news that some were dropped before it.
    pub(crate) async fn take(&self) -> Delivery {
        loop {
            if let Some(delivery) = self.try_take() {
                return delivery;
            }
            // A permit is kept for one waiter, so nothing is missed between the look and the wait.
            self.filled.notified().await;
        }
    }

    /// What is there now, if anything is.
    pub(crate) fn try_take(&self) -> Option<Delivery> {
        let mut content = self.content();
        if content.lost > 0 {
            return Some(Delivery::Lost(std::mem::take(&mut content.lost)));
        }
        match content.events.pop_front() {
            Some(event) => Some(Delivery::Event(event)),
            None => content.is_closed.then_some(Delivery::Closed),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
