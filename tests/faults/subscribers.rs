//! Subscribers of live events sleep while one of them listens.

use std::time::Duration;

use bus::{Bus, DurableSubscription, Interrupted, Source, TopicFilter};
use futures_util::FutureExt as _;
use kernel::Position;
use otp::{Clock, Root, Strategy, SupervisorSpec};
use store::{Log, read};
use tokio::time::{Instant, timeout, timeout_at};

use crate::amount::seconds;
use crate::cluster::Cluster;
use crate::node::{Node, PROJECTION};
use crate::trial::Trial;
use crate::writers::Writers;

/// How many events a subscriber of this bus may be behind.
const CAPACITY: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_subscribers_that_sleep_are_told_or_catch_up_and_delay_nobody() {
    let cluster = Cluster::start("live").await;
    let trial = Trial::of("Live subscribers sleep");
    let clock = Clock::system();
    let node = Node::start(&cluster.app(), clock.clone()).await;
    let writers = Writers::new(&cluster.app(), &node.log, clock.clone());
    let bus = Bus::new(CAPACITY);
    let mut awake = bus.subscribe_durably(TopicFilter::All, Position::ORIGIN);
    let mut durable = bus.subscribe_durably(TopicFilter::All, Position::ORIGIN);
    let mut lossy = bus.subscribe(TopicFilter::All);
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(bus::broadcast::child(&bus))
        .child(bus::bridge::child(&bus, source(&node.log)));
    let root = Root::start(spec, clock).await.expect("the children start");
    let mut heard = Vec::new();

    let harm = async |_: &mut _| {
        let sleep_for = seconds(20, 3);
        let end = Instant::now() + sleep_for;
        while let Ok(event) = timeout_at(end, awake.recv()).await {
            heard.push(event.expect("the log can be read").position.0);
        }
        assert!(heard.len() > CAPACITY, "one who listens heard only {} events", heard.len());
        format!(
            "{} s, while {} events were delivered to one that listened",
            sleep_for.as_secs(),
            heard.len()
        )
    };
    trial.run(&cluster, &node, &writers, &[PROJECTION], harm).await;

    let end = cluster.number("select max(position) from events.seals").await;
    let end = Position(end.expect("the owner may look at everything"));
    let all: Vec<i64> = (1..=end.0).collect();
    drain(&mut awake, end, &mut heard).await;
    let mut caught_up = Vec::new();
    drain(&mut durable, end, &mut caught_up).await;
    let (mut lost, mut kept, mut reached) = (0, 0, Position::ORIGIN);
    while reached < end {
        match timeout(Duration::from_secs(30), lossy.recv()).await.expect("the rest is there") {
            Ok(event) => (kept, reached) = (kept + 1, event.position),
            Err(Interrupted::Lagged { lost: more }) => lost += more,
            Err(Interrupted::Closed) => panic!("the bus is open"),
        }
    }
    assert!(heard == all, "who listens hears each event once and in order");
    assert!(caught_up == all, "who must miss nothing has missed nothing");
    assert!(lost > 0, "who slept was behind");
    assert_eq!(lost + kept, end.0.unsigned_abs(), "who may lose is told how much");
    root.stop().await;
    node.stop().await;
    cluster.stop().await;
}

/// Hears what is left up to `end`.
async fn drain(subscription: &mut DurableSubscription, end: Position, heard: &mut Vec<i64>) {
    while subscription.position() < end {
        let event = timeout(Duration::from_secs(30), subscription.recv()).await;
        let event = event.expect("the rest is there").expect("the log can be read");
        heard.push(event.position.0);
    }
}

/// The log as the bus reads it.
fn source(log: &Log) -> Source {
    let (asked, followed) = (log.clone(), log.clone());
    Source::new(
        log.head(),
        move || {
            let log = asked.clone();
            async move {
                let mut reading = store::begin_reading(log.pool()).await?;
                Ok(read::head(&mut reading).await?)
            }
            .boxed()
        },
        move |_, after, limit| {
            let log = followed.clone();
            async move {
                let mut reading = store::begin_reading(log.pool()).await?;
                let events = read::after(&mut reading, after, limit).await?;
                Ok(events.iter().map(platform::live_event).collect())
            }
            .boxed()
        },
    )
}
