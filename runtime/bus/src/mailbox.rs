//! A subscriber's mailbox: bounded in events and bytes, and honest about what it had to drop.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::{Position, Topic};
use tokio::sync::Notify;

use crate::counts::Counts;
use crate::event::BusEvent;

/// Bytes of payload that may wait in one mailbox; a single event may be a quarter of a megabyte.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a subscriber would rather lose when it is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossClass {
    /// Nothing: what did not fit is read from the log again, in order. For whoever acts on events.
    Durable,
    /// What is out of date: of each topic only the newest event waits. For pictures of how things
    /// are now.
    LatestWins,
    /// The oldest, and it is told how many those were. For feeds of what happens.
    Lossy,
}

impl LossClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Durable, Self::LatestWins, Self::Lossy];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::LatestWins => "latest_wins",
            Self::Lossy => "lossy",
        }
    }
}

/// Events for one subscriber.
#[derive(Debug)]
pub(crate) struct Mailbox {
    class: LossClass,
    capacity: usize,
    counts: Arc<Counts>,
    content: Mutex<Content>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Content {
    waiting: Waiting,
    /// Events dropped since the subscriber was last told.
    lost: u64,
    /// The last event that a durable subscriber has to read from the log; nothing is kept for it
    /// until it knows.
    behind: Option<Position>,
    is_closed: bool,
}

/// Events in order, and the place of the newest of each topic where only that is kept.
#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<BusEvent>>,
    newest: BTreeMap<Position, Arc<BusEvent>>,
    place_of: HashMap<Topic, Position>,
    bytes: usize,
}

/// What a subscriber finds in its mailbox.
#[derive(Debug)]
pub(crate) enum Delivery {
    Event(Arc<BusEvent>),
    /// So many were dropped.
    Lost(u64),
    /// What it wanted up to here is to be read from the log; what comes after is kept again.
    Behind(Position),
    Closed,
}

impl Mailbox {
    pub(crate) fn new(class: LossClass, capacity: usize, counts: Arc<Counts>) -> Self {
        counts.of(class).joined();
        Self {
            class,
            capacity: capacity.max(1),
            counts,
            content: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Puts an event in; never waits.
    pub(crate) fn put(&self, event: Arc<BusEvent>) {
        let mut content = self.content();
        let dropped = match self.class {
            LossClass::Durable => content.set_aside(event, self.capacity),
            LossClass::LatestWins => {
                content.waiting.replace(event);
                content.make_room(self.capacity)
            }
            LossClass::Lossy => {
                content.waiting.push(event);
                content.make_room(self.capacity)
            }
        };
        let depth = content.waiting.len();
        drop(content);
        self.counts.of(self.class).put(depth, dropped);
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
        if let Some(until) = content.behind.take() {
            return Some(Delivery::Behind(until));
        }
        if content.lost > 0 {
            return Some(Delivery::Lost(std::mem::take(&mut content.lost)));
        }
        match content.waiting.pop() {
            Some(event) => Some(Delivery::Event(event)),
            None => content.is_closed.then_some(Delivery::Closed),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.counts.of(self.class).left();
    }
}

impl Content {
    /// Keeps an event for a durable subscriber. If there is no room, all that waits is left to the
    /// log, where it is in order; answers how many events those are.
    fn set_aside(&mut self, event: Arc<BusEvent>, capacity: usize) -> u64 {
        let position = event.position;
        if self.behind.is_some() {
            self.behind = Some(position);
            return 1;
        }
        self.waiting.push(event);
        if self.waiting.fits(capacity) {
            return 0;
        }
        self.behind = Some(position);
        std::mem::take(&mut self.waiting).len() as u64
    }

    /// Drops the oldest until the rest fits; answers how many those are.
    fn make_room(&mut self, capacity: usize) -> u64 {
        let mut dropped = 0;
        while !self.waiting.fits(capacity) && self.waiting.pop().is_some() {
            dropped += 1;
        }
        self.lost += dropped;
        dropped
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.events.len() + self.newest.len()
    }

    /// A single event always fits.
    fn fits(&self, capacity: usize) -> bool {
        self.len() <= 1 || (self.len() <= capacity && self.bytes <= BYTES_MAX)
    }

    fn push(&mut self, event: Arc<BusEvent>) {
        self.bytes += event.payload.len();
        self.events.push_back(event);
    }

    /// Puts an event in the place of the one before it on its topic, but behind all others: what is
    /// taken stays in order.
    fn replace(&mut self, event: Arc<BusEvent>) {
        let before = self.place_of.insert(event.topic.clone(), event.position);
        if let Some(stale) = before.and_then(|place| self.newest.remove(&place)) {
            self.bytes -= stale.payload.len();
        }
        self.bytes += event.payload.len();
        self.newest.insert(event.position, event);
    }

    /// Takes the oldest out.
    fn pop(&mut self) -> Option<Arc<BusEvent>> {
        let event = self.events.pop_front().or_else(|| {
            let (_, event) = self.newest.pop_first()?;
            self.place_of.remove(&event.topic);
            Some(event)
        })?;
        self.bytes -= event.payload.len();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use kernel::OrgId;

    use super::*;
    use crate::event::tests::{event, event_of};

    fn mailbox(class: LossClass, capacity: usize) -> Mailbox {
        Mailbox::new(class, capacity, Arc::default())
    }

    fn positions(mailbox: &Mailbox) -> Vec<i64> {
        std::iter::from_fn(|| mailbox.try_take())
            .filter_map(|delivery| match delivery {
                Delivery::Event(event) => Some(event.position.0),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn of_each_topic_only_the_newest_waits_and_the_rest_keeps_its_order() {
        let (one, two) =
            (Topic::domain(OrgId::new(), "recruit"), Topic::domain(OrgId::new(), "recruit"));
        let mailbox = mailbox(LossClass::LatestWins, 8);

        for (topic, position) in [(&one, 1), (&two, 2), (&one, 3), (&one, 4)] {
            mailbox.put(event(topic.clone(), position));
        }

        assert_eq!(positions(&mailbox), [2, 4]);
        mailbox.put(event(one, 5));
        assert_eq!(positions(&mailbox), [5]);
    }

    #[test]
    fn more_topics_than_fit_cost_the_oldest_and_are_told() {
        let mailbox = mailbox(LossClass::LatestWins, 2);

        for position in 1..=5 {
            mailbox.put(event(Topic::domain(OrgId::new(), "recruit"), position));
        }

        assert!(matches!(mailbox.try_take(), Some(Delivery::Lost(3))));
        assert_eq!(positions(&mailbox), [4, 5]);
    }

    #[test]
    fn an_overflow_leaves_everything_to_the_log_and_what_follows_is_kept_again() {
        let topic = Topic::domain(OrgId::new(), "recruit");
        let mailbox = mailbox(LossClass::Durable, 2);

        for position in 1..=5 {
            mailbox.put(event(topic.clone(), position));
        }

        assert!(matches!(mailbox.try_take(), Some(Delivery::Behind(Position(5)))));
        mailbox.put(event(topic, 6));
        assert_eq!(positions(&mailbox), [6]);
    }

    #[test]
    fn a_few_large_events_fill_a_mailbox_as_many_small_ones_do() {
        let topic = Topic::domain(OrgId::new(), "recruit");
        let large: Arc<str> = format!("\"{}\"", "x".repeat(BYTES_MAX / 4)).into();

        for class in LossClass::ALL {
            let mailbox = mailbox(class, 1_000);
            for position in 1..=20 {
                mailbox.put(event_of(topic.clone(), position, large.clone()));
            }

            assert!(mailbox.content().waiting.bytes <= BYTES_MAX, "{class:?}");
        }
    }
}
