//! Live events of two nodes on one database: one stream, wherever something happens.

use std::sync::Arc;
use std::time::Duration;

use platform::bus::{BusEvent, Start, Subscriber, SubscriptionSpec, TopicFilter};
use platform::{
    Command, Domain, DomainName, Event, EventType, Position, Result, Role, Spec, System, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use testkit::{ACME, TestSystem};
use uuid::Uuid;

const BELLS: DomainName = DomainName::new("bells");

/// A bell was rung.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BellRung {
    /// The bell.
    bell_id: Uuid,
}

impl Event for BellRung {
    const TYPE: EventType = BELLS.event("bell_rung", 1);
    fn aggregate_id(&self) -> Uuid {
        self.bell_id
    }
}

/// Ring a bell.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct RingBell {
    /// The bell.
    bell_id: Uuid,
}

impl Command for RingBell {
    const SPEC: Spec = Spec::create("ring_bell", "/bells");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&BellRung { bell_id: self.bell_id }).await.map(drop)
    }
}

fn bells() -> Domain {
    Domain::new(BELLS).emits::<BellRung>().command::<RingBell>()
}

async fn ring(node: &System, system: &TestSystem) -> Uuid {
    let bell_id = Uuid::now_v7();
    let scope = system.member(ACME, Role::Staff).scope();
    node.run(&scope, RingBell { bell_id }).await.expect("staff may ring");
    bell_id
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it happens within half a minute")
}

async fn next(subscriber: &mut Box<dyn Subscriber>) -> Arc<BusEvent> {
    let batch = within(subscriber.next_batch(1)).await.expect("the database answers");
    batch.into_iter().next().expect("a batch has an event")
}

fn bells_of_acme(start: Start) -> SubscriptionSpec {
    let filter = TopicFilter::Organisation(ACME);
    SubscriptionSpec { name: "bell-ringer".into(), filter, start }
}

#[tokio::test]
async fn what_happens_at_one_node_is_heard_at_the_other_and_back() {
    let system = testkit::start([bells()]).await;
    let other = system.another_node([bells()]).await;
    let mut here = system.system().bus().subscribe(TopicFilter::Organisation(ACME));
    let mut there = other.bus().subscribe(TopicFilter::Organisation(ACME));

    for node in [system.system(), &other, system.system(), &other] {
        let bell_id = ring(node, &system).await;
        for subscription in [&mut here, &mut there] {
            let heard = within(subscription.recv()).await.expect("nothing is lost");
            assert_eq!(heard.topic.aggregate_id, Some(bell_id));
        }
    }

    other.stop().await;
    system.stop().await;
}

#[tokio::test]
async fn a_subscription_goes_on_at_another_node_from_what_was_acknowledged() {
    let system = testkit::start([bells()]).await;
    let other = system.another_node([bells()]).await;
    let mut rung = Vec::new();
    for _ in 0..5 {
        rung.push(ring(system.system(), &system).await);
    }
    let spec = bells_of_acme(Start::Origin);
    let events = system.system().durable_events();
    let mut first = events.subscribe(&spec).await.expect("the database answers");
    let heard = [next(&mut first).await, next(&mut first).await, next(&mut first).await];
    first.acknowledge(heard[1].position).await.expect("the database answers");
    drop(first);

    let mut second = other.durable_events().subscribe(&spec).await.expect("the database answers");

    for bell_id in &rung[2..] {
        assert_eq!(next(&mut second).await.topic.aggregate_id, Some(*bell_id));
    }
    let last = ring(&other, &system).await;
    assert_eq!(next(&mut second).await.topic.aggregate_id, Some(last));
    other.stop().await;
    system.stop().await;
}

#[tokio::test]
async fn the_place_of_a_subscription_never_goes_back() {
    let system = testkit::start([bells()]).await;
    for _ in 0..3 {
        ring(system.system(), &system).await;
    }
    let events = system.system().durable_events();
    let mut subscriber = events.subscribe(&bells_of_acme(Start::Origin)).await.expect("it begins");
    let last = [next(&mut subscriber).await, next(&mut subscriber).await][1].position;

    subscriber.acknowledge(last).await.expect("the database answers");
    subscriber.acknowledge(Position(1)).await.expect("the database answers");

    let mut again = events.subscribe(&bells_of_acme(Start::Now)).await.expect("it goes on");
    assert_eq!(next(&mut again).await.position, Position(last.0 + 1));
    system.stop().await;
}

#[tokio::test]
async fn metrics_tell_who_listens_and_what_did_not_fit() {
    let system = testkit::start([bells()]).await;
    let _lossy = system.system().bus().subscribe(TopicFilter::All);
    let mut durable = system.system().bus().subscribe_durably(TopicFilter::All, Position::ORIGIN);
    ring(system.system(), &system).await;
    within(durable.recv()).await.expect("the log is there");

    let metrics = system.system().metrics_text().await;

    for line in [
        "finnest_bus_subscribers{class=\"durable\"} 1",
        "finnest_bus_subscribers{class=\"lossy\"} 1",
        "finnest_bus_queue_events_max{class=\"lossy\"} 1",
        "finnest_bus_dropped_total{class=\"lossy\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    system.stop().await;
}
