//! Subscriptions: a subscriber's end of its mailbox.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use kernel::{OrgId, Position};

use crate::bridge::{Source, SourceError};
use crate::broadcast::Shared;
use crate::event::BusEvent;
use crate::mailbox::{Delivery, Mailbox};
use crate::topic_filter::TopicFilter;

/// Events read from the log at once by a subscriber that catches up; all of them may be large.
const CATCH_UP_EVENTS_MAX: u32 = 200;

/// Somebody's ear on the bus. Its mailbox was chosen when it subscribed.
#[derive(Debug)]
pub struct Subscription {
    mailbox: Arc<Mailbox>,
    filter: TopicFilter,
    place: Place,
}

/// A subscriber's place among the others. Declared after the mailbox it is dropped after it, and
/// finds it gone.
#[derive(Debug)]
struct Place {
    org_id: Option<OrgId>,
    /// Weak, so that listening does not keep a bus alive that nobody speaks on.
    bus: Weak<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.sweep(self.org_id);
        }
    }
}

/// Why there is no next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// The subscriber was too slow: so many events were dropped before the next one.
    #[error("{lost} events were dropped, because the subscriber was too slow")]
    Lagged {
        /// How many.
        lost: u64,
    },
    /// The bus is gone.
    #[error("the bus is closed")]
    Closed,
}

impl Subscription {
    pub(crate) fn new(mailbox: Arc<Mailbox>, filter: TopicFilter, bus: Weak<Shared>) -> Self {
        let org_id = filter.org_id();
        Self { mailbox, filter, place: Place { org_id, bus } }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`Interrupted::Lagged`] once after each loss; the events after it can be received as usual.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn recv(&mut self) -> Result<Arc<BusEvent>, Interrupted> {
        received(self.mailbox.take().await)
    }

    /// The next event if it is there already.
    ///
    /// # Errors
    /// As [`Subscription::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Arc<BusEvent>>, Interrupted> {
        self.mailbox.try_take().map(received).transpose()
    }

    /// What it listens to.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }
}

fn received(delivery: Delivery) -> Result<Arc<BusEvent>, Interrupted> {
    match delivery {
        Delivery::Event(event) => Ok(event),
        Delivery::Lost(lost) => Err(Interrupted::Lagged { lost }),
        Delivery::Behind(_) => unreachable!("only durable subscriptions have such a mailbox"),
        Delivery::Closed => Err(Interrupted::Closed),
    }
}

/// Why a durable subscription has no next event now. It stands where it stood.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The log could not be read; asking again goes on from the same place.
    #[error("the log cannot be read just now")]
    Unavailable(#[source] SourceError),
    /// The bus is gone.
    #[error("the bus is closed")]
    Closed,
}

/// An ear that misses nothing: what does not fit its mailbox is read from the log.
#[derive(Debug)]
pub struct DurableSubscription {
    live: Subscription,
    /// The last event given out.
    position: Position,
    /// What was read from the log and not given out yet.
    read: VecDeque<Arc<BusEvent>>,
    /// The log has been read up to here.
    read_until: Position,
    phase: Phase,
}

/// Where the next event comes from, when nothing that was read is left.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The log, once the bus knows where it began.
    Joining,
    /// The log, up to here.
    CatchingUp(Position),
    /// The mailbox.
    Live,
}

impl DurableSubscription {
    pub(crate) fn new(live: Subscription, after: Position, offered: Option<Position>) -> Self {
        let phase = offered.map_or(Phase::Joining, Phase::CatchingUp);
        Self { live, position: after, read: VecDeque::new(), read_until: after, phase }
    }

    /// Waits for the next event; each comes once and in order.
    ///
    /// # Errors
    /// [`DurableError`].
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn recv(&mut self) -> Result<Arc<BusEvent>, DurableError> {
        loop {
            if let Some(event) = self.try_recv()? {
                return Ok(event);
            }
            match self.phase {
                Phase::Live => {
                    let delivery = self.live.mailbox.take().await;
                    if let Some(event) = self.received(delivery)? {
                        return Ok(event);
                    }
                }
                Phase::Joining => {
                    let (_, began) = self.begun().await?;
                    self.phase = Phase::CatchingUp(began);
                }
                Phase::CatchingUp(until) => self.catch_up(until).await?,
            }
        }
    }

    /// Waits for the next event, and answers it with those that are here already, `max` at most.
    ///
    /// # Errors
    /// [`DurableError`].
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn recv_batch(&mut self, max: usize) -> Result<Vec<Arc<BusEvent>>, DurableError> {
        let mut batch = vec![self.recv().await?];
        while batch.len() < max
            && let Ok(Some(event)) = self.try_recv()
        {
            batch.push(event);
        }
        Ok(batch)
    }

    /// The next event if it is here already, which one that is only in the log is not.
    ///
    /// # Errors
    /// [`DurableError::Closed`].
    pub fn try_recv(&mut self) -> Result<Option<Arc<BusEvent>>, DurableError> {
        if let Some(event) = self.read.pop_front() {
            self.position = event.position;
            return Ok(Some(event));
        }
        while matches!(self.phase, Phase::Live) {
            let Some(delivery) = self.live.mailbox.try_take() else { break };
            if let Some(event) = self.received(delivery)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The last event it was given.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// What it listens to.
    #[must_use]
    pub fn filter(&self) -> &TopicFilter {
        self.live.filter()
    }

    /// The log and where publishing began, once it has. The bus may go away while this waits.
    async fn begun(&self) -> Result<(Source, Position), DurableError> {
        loop {
            let mut beginnings = {
                let bus = self.live.place.bus.upgrade().ok_or(DurableError::Closed)?;
                let beginnings = bus.beginnings();
                if let Some(begun) = bus.begun() {
                    return Ok(begun);
                }
                beginnings
            };
            beginnings.changed().await.map_err(|_| DurableError::Closed)?;
        }
    }

    /// Reads on towards `until`, after which everything is in the mailbox.
    async fn catch_up(&mut self, until: Position) -> Result<(), DurableError> {
        if self.read_until >= until {
            self.phase = Phase::Live;
            return Ok(());
        }
        let (source, _) = self.begun().await?;
        let filter = self.live.filter();
        let events = source
            .read(filter, self.read_until, CATCH_UP_EVENTS_MAX)
            .await
            .map_err(DurableError::Unavailable)?;
        let is_full = events.len() >= CATCH_UP_EVENTS_MAX as usize;
        self.read_until = events
            .last()
            .filter(|_| is_full)
            // Everything up to there was sealed before this was read.
            .map_or(until, |last| last.position.min(until));
        self.read = events
            .into_iter()
            .filter(|event| event.position <= until && filter.matches(&event.topic))
            .map(Arc::new)
            .collect();
        Ok(())
    }

    fn received(&mut self, delivery: Delivery) -> Result<Option<Arc<BusEvent>>, DurableError> {
        match delivery {
            // It may have begun after events that were still to be offered.
            Delivery::Event(event) if event.position <= self.position => Ok(None),
            Delivery::Event(event) => {
                self.position = event.position;
                self.read_until = event.position;
                Ok(Some(event))
            }
            Delivery::Behind(until) => {
                self.phase = Phase::CatchingUp(until);
                Ok(None)
            }
            Delivery::Lost(_) => unreachable!("a durable mailbox loses nothing"),
            Delivery::Closed => Err(DurableError::Closed),
        }
    }
}
