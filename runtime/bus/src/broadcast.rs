//! Broadcast: one inbox, many bounded mailboxes, and the process that carries events across.
//!
//! The process can be killed at any moment: events wait in the inbox and subscriptions belong to
//! the bus, so its successor goes on with the next event.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use kernel::{OrgId, Position};
use otp::{ChildSpec, ExitReason, Process, RunContext};
use tokio::sync::{Notify, watch};

use crate::bridge::{Source, SourceError};
use crate::counts::{Counts, QueueCounts};
use crate::event::BusEvent;
use crate::mailbox::{LossClass, Mailbox};
use crate::subscription::{DurableSubscription, Subscription};
use crate::topic_filter::TopicFilter;

/// Events that may wait for the broadcaster before whoever publishes has to wait too.
const INBOX_EVENTS_MAX: usize = 10_000;

/// Events handed out before the broadcaster lets others run.
const EVENTS_PER_TURN: usize = 256;

/// A handle on the node's live events; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    /// Events each subscriber may be behind.
    capacity: usize,
    inbox: Mutex<VecDeque<Arc<BusEvent>>>,
    arrived: Notify,
    handed_out: Notify,
    subscribers: Mutex<Subscribers>,
    /// The last position put into the inbox, for a bridge that starts again.
    published: Mutex<Option<Position>>,
    /// Where publishing began: what lies before it was never in the inbox.
    begun: watch::Sender<Option<Position>>,
    /// The log, for subscribers that have to read there what did not fit.
    source: OnceLock<Source>,
    counts: Arc<Counts>,
}

/// Subscribers by organisation, so that an event is offered only to those who may want it.
#[derive(Debug, Default)]
struct Subscribers {
    of_all: Vec<Subscriber>,
    by_org: HashMap<OrgId, Vec<Subscriber>>,
    /// The last position offered to everybody.
    offered: Option<Position>,
}

#[derive(Debug)]
struct Subscriber {
    filter: TopicFilter,
    mailbox: Weak<Mailbox>,
}

impl Bus {
    /// A bus whose subscribers may each be `capacity` events behind.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared {
            capacity,
            inbox: Mutex::default(),
            arrived: Notify::new(),
            handed_out: Notify::new(),
            subscribers: Mutex::default(),
            published: Mutex::new(None),
            begun: watch::Sender::new(None),
            source: OnceLock::new(),
            counts: Arc::default(),
        }))
    }

    /// Listens to what matches `filter`, from now on until the subscription is dropped. Whoever is
    /// too slow loses the [oldest](LossClass::Lossy) events.
    #[must_use]
    pub fn subscribe(&self, filter: impl Into<TopicFilter>) -> Subscription {
        let filter = filter.into();
        let (mailbox, _) = self.join(LossClass::Lossy, &filter);
        Subscription::new(mailbox, filter, Arc::downgrade(&self.0))
    }

    /// Listens as [`Bus::subscribe`] does. Whoever is too slow loses what is
    /// [out of date](LossClass::LatestWins): of each topic only the newest event waits.
    #[must_use]
    pub fn subscribe_latest(&self, filter: impl Into<TopicFilter>) -> Subscription {
        let filter = filter.into();
        let (mailbox, _) = self.join(LossClass::LatestWins, &filter);
        Subscription::new(mailbox, filter, Arc::downgrade(&self.0))
    }

    /// Listens to what matches `filter` after the position `after`, first from the log and then
    /// live, and loses [nothing](LossClass::Durable): whoever is too slow reads it from the log.
    #[must_use]
    pub fn subscribe_durably(
        &self,
        filter: impl Into<TopicFilter>,
        after: Position,
    ) -> DurableSubscription {
        let filter = filter.into();
        let (mailbox, offered) = self.join(LossClass::Durable, &filter);
        let live = Subscription::new(mailbox, filter, Arc::downgrade(&self.0));
        DurableSubscription::new(live, after, offered)
    }

    /// Where the log stands now.
    pub(crate) async fn head(&self) -> Result<Position, SourceError> {
        match self.0.source.get() {
            Some(source) => source.head().await,
            None => Err("no log feeds this bus yet".into()),
        }
    }

    /// Adds a subscriber; answers its mailbox, and the last event that was offered before.
    fn join(&self, class: LossClass, filter: &TopicFilter) -> (Arc<Mailbox>, Option<Position>) {
        let counts = self.0.counts.clone();
        let mailbox = Arc::new(Mailbox::new(class, self.0.capacity, counts));
        let subscriber = Subscriber { filter: filter.clone(), mailbox: Arc::downgrade(&mailbox) };
        let mut subscribers = lock(&self.0.subscribers);
        subscribers.add(subscriber);
        (mailbox, subscribers.offered)
    }

    /// What the subscribers of a class have seen.
    #[must_use]
    pub fn counts(&self, class: LossClass) -> QueueCounts {
        self.0.counts.of(class).now()
    }

    /// How many are listening.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        let subscribers = lock(&self.0.subscribers);
        let by_org: usize = subscribers.by_org.values().map(Vec::len).sum();
        subscribers.of_all.len() + by_org
    }

    /// Puts events into the inbox, in order; waits while it is full.
    ///
    /// # Cancel safety
    /// Events are put in one by one and remembered as published, so a caller that is dropped midway
    /// finds out from [`Bus::published`] where to go on.
    pub async fn publish(&self, events: impl IntoIterator<Item = Arc<BusEvent>>) {
        for event in events {
            while lock(&self.0.inbox).len() >= INBOX_EVENTS_MAX {
                self.0.handed_out.notified().await;
            }
            *lock(&self.0.published) = Some(event.position);
            lock(&self.0.inbox).push_back(event);
            self.0.arrived.notify_one();
        }
    }

    /// The last position that was published.
    #[must_use]
    pub fn published(&self) -> Option<Position> {
        *lock(&self.0.published)
    }

    /// Remembers where publishing begins, if it has not begun.
    pub(crate) fn begin_at(&self, position: Position) -> Position {
        let position = *lock(&self.0.published).get_or_insert(position);
        self.0.begun.send_if_modified(|begun| {
            let is_news = begun.is_none();
            begun.get_or_insert(position);
            is_news
        });
        position
    }

    /// Tells subscribers which log to read what they have missed from.
    pub(crate) fn attach(&self, source: &Source) {
        // A bridge that is started again has the same log.
        let _ = self.0.source.set(source.clone());
    }

    /// Hands out up to `max` events; answers how many.
    ///
    /// Nothing here waits, so a kill falls before or after it and never between taking an event and
    /// handing it out.
    pub(crate) fn hand_out(&self, max: usize) -> usize {
        for count in 0..max {
            let Some(event) = lock(&self.0.inbox).pop_front() else {
                return count;
            };
            lock(&self.0.subscribers).offer(&event);
            self.0.handed_out.notify_one();
        }
        max
    }
}

impl Subscribers {
    fn add(&mut self, subscriber: Subscriber) {
        match subscriber.filter.org_id() {
            None => self.of_all.push(subscriber),
            Some(org_id) => self.by_org.entry(org_id).or_default().push(subscriber),
        }
    }

    /// Forgets subscribers that are gone, among those whose filter has this organisation.
    fn sweep(&mut self, org_id: Option<OrgId>) {
        let is_there = |subscriber: &Subscriber| subscriber.mailbox.strong_count() > 0;
        let Some(org_id) = org_id else {
            return self.of_all.retain(is_there);
        };
        if let Some(subscribers) = self.by_org.get_mut(&org_id) {
            subscribers.retain(is_there);
            if subscribers.is_empty() {
                self.by_org.remove(&org_id);
            }
        }
    }

    fn offer(&mut self, event: &Arc<BusEvent>) {
        self.offered = Some(event.position);
        let of_org = self.by_org.get(&event.topic.org_id).into_iter().flatten();
        for subscriber in self.of_all.iter().chain(of_org) {
            if subscriber.filter.matches(&event.topic)
                && let Some(mailbox) = subscriber.mailbox.upgrade()
            {
                mailbox.put(event.clone());
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let subscribers = self.subscribers.get_mut().unwrap_or_else(PoisonError::into_inner);
        for subscriber in subscribers.of_all.iter().chain(subscribers.by_org.values().flatten()) {
            if let Some(mailbox) = subscriber.mailbox.upgrade() {
                mailbox.close();
            }
        }
    }
}

impl Shared {
    /// The log, once publishing has begun, and where it began.
    pub(crate) fn begun(&self) -> Option<(Source, Position)> {
        let position = *self.begun.borrow();
        Some((self.source.get()?.clone(), position?))
    }

    /// Tells when publishing has begun.
    pub(crate) fn beginnings(&self) -> watch::Receiver<Option<Position>> {
        self.begun.subscribe()
    }

    /// Forgets subscribers that are gone, among those whose filter has this organisation.
    pub(crate) fn sweep(&self, org_id: Option<OrgId>) {
        lock(&self.subscribers).sweep(org_id);
    }
}

/// The process that carries events from the inbox to the mailboxes.
#[must_use]
pub fn child(bus: &Bus) -> ChildSpec {
    let bus = bus.clone();
    ChildSpec::process("broadcast", move || Broadcaster { bus: bus.clone() })
}

struct Broadcaster {
    bus: Bus,
}

impl Process for Broadcaster {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        loop {
            let count = self.bus.hand_out(EVENTS_PER_TURN);
            context.report_backlog(lock(&self.bus.0.inbox).len() as u64);
            if count == EVENTS_PER_TURN {
                tokio::task::yield_now().await;
                continue;
            }
            // Whoever stops the node stops the bridge first, so an empty inbox is the end.
            if context.is_stopping() {
                return Ok(());
            }
            tokio::select! {
                () = self.bus.0.arrived.notified() => {}
                () = context.stopping() => {}
            }
        }
    }
}

/// A panic while holding one of these leaves the data whole: each is changed by one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kernel::Topic;

    use super::*;
    use crate::event::tests::event;
    use crate::subscription::Interrupted;

    async fn publish(bus: &Bus, topic: &Topic, positions: std::ops::RangeInclusive<i64>) {
        bus.publish(positions.map(|position| event(topic.clone(), position))).await;
        bus.hand_out(usize::MAX);
    }

    async fn next(subscription: &mut Subscription) -> Result<i64, Interrupted> {
        subscription.recv().await.map(|event| event.position.0)
    }

    #[tokio::test]
    async fn subscribers_hear_their_own_organisation_in_order() {
        let bus = Bus::new(8);
        let (acme, zen) =
            (Topic::domain(OrgId::new(), "recruit"), Topic::domain(OrgId::new(), "recruit"));
        let mut subscription = bus.subscribe(acme.clone());

        publish(&bus, &acme, 1..=1).await;
        publish(&bus, &zen, 2..=2).await;
        publish(&bus, &acme, 3..=3).await;

        assert_eq!(next(&mut subscription).await, Ok(1));
        assert_eq!(next(&mut subscription).await, Ok(3));
        assert!(matches!(subscription.try_recv(), Ok(None)));
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_how_much_it_lost_and_hears_the_newest() {
        let bus = Bus::new(2);
        let topic = Topic::domain(OrgId::new(), "recruit");
        let mut slow = bus.subscribe(topic.clone());

        publish(&bus, &topic, 1..=5).await;

        assert_eq!(next(&mut slow).await, Err(Interrupted::Lagged { lost: 3 }));
        assert_eq!(next(&mut slow).await, Ok(4));
        assert_eq!(next(&mut slow).await, Ok(5));
    }

    #[tokio::test]
    async fn a_slow_subscriber_costs_its_neighbours_nothing() {
        let bus = Bus::new(2);
        let topic = Topic::domain(OrgId::new(), "recruit");
        let _slow = bus.subscribe(topic.clone());
        let mut quick = bus.subscribe(TopicFilter::All);

        for position in 1..=5 {
            publish(&bus, &topic, position..=position).await;
            assert_eq!(next(&mut quick).await, Ok(position));
        }
    }

    #[tokio::test]
    async fn an_event_is_the_same_value_for_everyone() {
        let bus = Bus::new(8);
        let topic = Topic::domain(OrgId::new(), "recruit");
        let (mut one, mut two) = (bus.subscribe(topic.clone()), bus.subscribe(TopicFilter::All));

        publish(&bus, &topic, 1..=1).await;

        let (first, second) = (one.recv().await, two.recv().await);
        assert!(Arc::ptr_eq(&first.expect("sent"), &second.expect("sent")));
    }

    #[tokio::test]
    async fn a_dropped_subscription_is_forgotten() {
        let bus = Bus::new(8);
        let subscription = bus.subscribe(TopicFilter::Organisation(OrgId::new()));
        let other = bus.subscribe(TopicFilter::All);

        drop((subscription, other));

        assert_eq!(bus.subscriber_count(), 0);
    }

    #[tokio::test]
    async fn a_bus_that_goes_away_closes_its_subscriptions() {
        let bus = Bus::new(8);
        let topic = Topic::domain(OrgId::new(), "recruit");
        let mut subscription = bus.subscribe(topic.clone());
        publish(&bus, &topic, 1..=1).await;

        drop(bus);

        assert_eq!(next(&mut subscription).await, Ok(1));
        assert_eq!(next(&mut subscription).await, Err(Interrupted::Closed));
    }
}
