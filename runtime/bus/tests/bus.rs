//! The bus in its tree: it follows a log, and whatever is killed, no subscriber misses an event.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Bus, BusEvent, Heading, Interrupted, LossClass, Source, TopicFilter, bridge, broadcast};
use futures_util::FutureExt;
use kernel::{EventId, OrgId, Position, Timestamp, Topic};
use otp::{Clock, Root, Strategy, SupervisorSpec};
use tokio::sync::watch;
use uuid::Uuid;

/// A log that lives in memory.
#[derive(Clone)]
struct MemoryLog {
    topics: Arc<Mutex<Vec<Topic>>>,
    head: watch::Sender<Position>,
    is_away: Arc<Mutex<bool>>,
}

impl MemoryLog {
    fn new() -> Self {
        Self {
            topics: Arc::default(),
            head: watch::Sender::new(Position::ORIGIN),
            is_away: Arc::default(),
        }
    }

    fn seal(&self, topic: &Topic) {
        let mut topics = self.topics.lock().expect("no test panics while sealing");
        topics.push(topic.clone());
        self.head.send_replace(position(topics.len()));
    }

    fn after(&self, after: Position, limit: u32) -> Result<Vec<BusEvent>, bus::SourceError> {
        if *self.is_away.lock().expect("no test panics here") {
            return Err("the database is away".into());
        }
        let topics = self.topics.lock().expect("no test panics while sealing");
        Ok((1..)
            .zip(topics.iter())
            .filter(|(number, _)| *number > after.0)
            .take(limit as usize)
            .map(|(number, topic)| event(number, topic))
            .collect())
    }

    fn source(&self) -> Source {
        let (log, other) = (self.clone(), self.clone());
        Source::new(
            self.head.subscribe(),
            move || std::future::ready(Ok(*log.head.borrow())).boxed(),
            move |_, position, limit| std::future::ready(other.after(position, limit)).boxed(),
        )
    }
}

fn position(count: usize) -> Position {
    Position(i64::try_from(count).expect("tests are small"))
}

fn event(number: i64, topic: &Topic) -> BusEvent {
    let heading = Heading {
        position: Position(number),
        topic: topic.clone(),
        event_id: EventId::new(),
        event_type: "job_order_opened".into(),
        version: 1,
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        recorded_at: Timestamp::UNIX_EPOCH,
    };
    BusEvent::new(heading, "{}")
}

async fn start(bus: &Bus, log: &MemoryLog) -> Root {
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(broadcast::child(bus))
        .child(bridge::child(bus, log.source()));
    let root = Root::start(spec, Clock::system()).await.expect("both children start");
    while bus.published().is_none() {
        tokio::task::yield_now().await;
    }
    root
}

async fn next(subscription: &mut bus::Subscription) -> i64 {
    let event = tokio::time::timeout(Duration::from_secs(10), subscription.recv()).await;
    event.expect("an event arrives within ten seconds").expect("nothing is lost").position.0
}

#[tokio::test]
async fn what_is_sealed_after_the_start_is_broadcast_in_order() {
    let (bus, log) = (Bus::new(100), MemoryLog::new());
    let topic = Topic::domain(OrgId::new(), "recruit");
    log.seal(&topic);
    let root = start(&bus, &log).await;
    let mut subscription = bus.subscribe(topic.clone());

    log.seal(&topic);
    log.seal(&topic);

    assert_eq!(next(&mut subscription).await, 2);
    assert_eq!(next(&mut subscription).await, 3);
    root.stop().await;
}

#[tokio::test]
async fn killing_bridge_and_broadcaster_loses_and_doubles_nothing() {
    let (bus, log) = (Bus::new(1_000), MemoryLog::new());
    let topic = Topic::domain(OrgId::new(), "recruit");
    let root = start(&bus, &log).await;
    let mut subscription = bus.subscribe(TopicFilter::Organisation(topic.org_id));

    for round in 0..3 {
        for _ in 0..50 {
            log.seal(&topic);
        }
        let victim = ["root/bridge", "root/broadcast", "root/bridge"][round];
        root.tree().kill(victim).expect("it is there");
        for _ in 0..50 {
            log.seal(&topic);
            tokio::task::yield_now().await;
        }
    }

    for expected in 1..=300 {
        assert_eq!(next(&mut subscription).await, expected);
    }
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_bridge_waits_for_a_log_that_is_away() {
    let (bus, log) = (Bus::new(100), MemoryLog::new());
    let topic = Topic::domain(OrgId::new(), "recruit");
    let root = start(&bus, &log).await;
    let mut subscription = bus.subscribe(topic.clone());
    *log.is_away.lock().expect("no test panics here") = true;
    log.seal(&topic);
    tokio::time::advance(Duration::from_secs(3)).await;

    let early = subscription.try_recv();
    *log.is_away.lock().expect("no test panics here") = false;

    assert!(matches!(early, Ok(None)));
    assert_eq!(next(&mut subscription).await, 1);
    root.stop().await;
}

/// The next event of a subscriber that loses nothing.
async fn next_durable(subscription: &mut bus::DurableSubscription) -> i64 {
    let event = tokio::time::timeout(Duration::from_secs(10), subscription.recv()).await;
    event.expect("an event arrives within ten seconds").expect("the log is there").position.0
}

#[tokio::test]
async fn a_durable_subscriber_that_sleeps_misses_nothing_and_takes_no_more_room() {
    let (bus, log) = (Bus::new(10), MemoryLog::new());
    let topic = Topic::domain(OrgId::new(), "recruit");
    let root = start(&bus, &log).await;
    let mut sleeper = bus.subscribe_durably(topic.clone(), Position::ORIGIN);
    let mut quick = bus.subscribe_durably(topic.clone(), Position::ORIGIN);

    for expected in 1..=1_000 {
        log.seal(&topic);
        assert_eq!(next_durable(&mut quick).await, expected);
    }

    let counts = bus.counts(LossClass::Durable);
    assert!(counts.depth_max <= 10, "{counts:?}");
    for expected in 1..=1_000 {
        assert_eq!(next_durable(&mut sleeper).await, expected);
    }
    root.stop().await;
}

#[tokio::test]
async fn a_durable_subscriber_hears_its_topic_from_its_place_in_the_log_on() {
    let (bus, log) = (Bus::new(10), MemoryLog::new());
    let (wanted, other) =
        (Topic::domain(OrgId::new(), "recruit"), Topic::domain(OrgId::new(), "recruit"));
    for topic in [&wanted, &other, &wanted, &other, &wanted] {
        log.seal(topic);
    }
    let mut early = bus.subscribe_durably(wanted.clone(), Position(1));
    let root = start(&bus, &log).await;
    let mut late = bus.subscribe_durably(wanted.clone(), Position(3));

    log.seal(&other);
    log.seal(&wanted);

    for expected in [3, 5, 7] {
        assert_eq!(next_durable(&mut early).await, expected);
    }
    for expected in [5, 7] {
        assert_eq!(next_durable(&mut late).await, expected);
    }
    root.stop().await;
}

#[tokio::test]
async fn a_durable_subscriber_keeps_its_place_while_the_log_is_away() {
    let (bus, log) = (Bus::new(2), MemoryLog::new());
    let topic = Topic::domain(OrgId::new(), "recruit");
    let root = start(&bus, &log).await;
    let mut sleeper = bus.subscribe_durably(topic.clone(), Position::ORIGIN);
    let mut quick = bus.subscribe(topic.clone());
    for _ in 1..=5 {
        log.seal(&topic);
        next(&mut quick).await;
    }
    *log.is_away.lock().expect("no test panics here") = true;

    let refused = sleeper.recv().await.expect_err("what it missed cannot be read");
    *log.is_away.lock().expect("no test panics here") = false;

    assert_eq!(refused.to_string(), "the log cannot be read just now");
    for expected in 1..=5 {
        assert_eq!(next_durable(&mut sleeper).await, expected);
    }
    root.stop().await;
}

#[tokio::test]
async fn a_subscriber_of_the_latest_that_sleeps_finds_how_things_are_now() {
    let (bus, log) = (Bus::new(10), MemoryLog::new());
    let org_id = OrgId::new();
    let orders: Vec<Topic> =
        (0..4).map(|_| Topic::aggregate(org_id, "recruit", Uuid::now_v7())).collect();
    let root = start(&bus, &log).await;
    let mut sleeper = bus.subscribe_latest(TopicFilter::Organisation(org_id));
    let mut quick = bus.subscribe(TopicFilter::Organisation(org_id));

    for round in 0..25 {
        for (index, order) in (1..).zip(&orders) {
            log.seal(order);
            assert_eq!(next(&mut quick).await, round * 4 + index);
        }
    }

    for expected in 97..=100 {
        assert_eq!(next(&mut sleeper).await, expected);
    }
    assert!(matches!(sleeper.try_recv(), Ok(None)));
    assert_eq!(bus.counts(LossClass::LatestWins).depth_max, 4);
    assert_eq!(bus.counts(LossClass::LatestWins).dropped, 0);
    root.stop().await;
}

#[tokio::test]
async fn a_lossy_subscriber_that_sleeps_is_told_what_it_lost_and_so_is_the_operator() {
    let (bus, log) = (Bus::new(10), MemoryLog::new());
    let topic = Topic::domain(OrgId::new(), "recruit");
    let root = start(&bus, &log).await;
    let mut sleeper = bus.subscribe(topic.clone());
    let mut quick = bus.subscribe_latest(topic.clone());

    for expected in 1..=100 {
        log.seal(&topic);
        assert_eq!(next(&mut quick).await, expected);
    }

    assert_eq!(sleeper.recv().await.expect_err("it slept"), Interrupted::Lagged { lost: 90 });
    assert_eq!(next(&mut sleeper).await, 91);
    let counts = bus.counts(LossClass::Lossy);
    assert_eq!((counts.subscribers, counts.depth_max, counts.dropped), (1, 10, 90));
    root.stop().await;
}
