//! The relay, and what is done to it and to its server.

use platform::bus::{Start, SubscriptionSpec, TopicFilter};
use testkit::ACME;

use crate::stage::{Stage, aggregates, last, next, relay_of, subscribe, supervise};

fn everything() -> SubscriptionSpec {
    SubscriptionSpec { name: "everything".into(), filter: TopicFilter::All, start: Start::Origin }
}

/// The positions of a log without gaps.
fn gapless(positions: &[i64]) -> bool {
    positions.iter().copied().eq(1..=i64::try_from(positions.len()).expect("small"))
}

#[tokio::test]
async fn every_event_is_on_the_stream_once_and_in_order() {
    let stage = Stage::set().await;
    stage.ring_some(ACME, 100).await;

    let positions = stage.relayed().await;

    assert_eq!(positions.len(), 100);
    assert!(gapless(&positions), "{positions:?}");
    stage.strike().await;
}

#[tokio::test]
async fn killing_the_relay_loses_and_doubles_nothing() {
    let stage = Stage::set().await;

    for _ in 0..5 {
        stage.ring_some(ACME, 20).await;
        let mut changes = stage.relay.tree().changes();
        while stage.relay.tree().kill("root/relay").is_err() {
            changes.changed().await.expect("the tree is alive");
        }
    }

    let positions = stage.relayed().await;
    assert_eq!(positions.len(), 100);
    assert!(gapless(&positions), "{positions:?}");
    stage.strike().await;
}

#[tokio::test]
async fn two_relays_at_once_get_in_each_others_way_and_nothing_is_doubled() {
    let stage = Stage::set().await;
    let second = supervise(relay_of(&stage.other, &stage.server)).await;

    stage.ring_some(ACME, 200).await;

    let positions = stage.relayed().await;
    assert_eq!(positions.len(), 200);
    assert!(gapless(&positions), "{positions:?}");
    second.stop().await;
    stage.strike().await;
}

#[tokio::test]
async fn a_server_that_is_away_gets_everything_when_it_is_back() {
    let mut stage = Stage::set().await;
    let mut bells = stage.ring_some(ACME, 20).await;
    stage.relayed().await;
    let [.., (_, nats)] = stage.backends().await;
    let mut subscriber = subscribe(&nats, &everything()).await;
    assert_eq!(aggregates(&next(&mut subscriber, 20).await), bells);

    stage.server.kill();
    bells.extend(stage.ring_some(ACME, 50).await);
    stage.server.start_again();

    assert_eq!(aggregates(&next(&mut subscriber, 50).await), bells[20..]);
    assert!(gapless(&stage.relayed().await));
    stage.strike().await;
}

#[tokio::test]
async fn a_server_killed_under_load_loses_nothing_and_turns_nothing_around() {
    let mut stage = Stage::set().await;
    let [.., (_, nats)] = stage.backends().await;
    let mut subscriber = subscribe(&nats, &everything()).await;
    let mut bells = Vec::new();
    let mut heard = Vec::new();

    for _ in 0..3 {
        bells.extend(stage.ring_some(ACME, 40).await);
        stage.server.kill();
        bells.extend(stage.ring_some(ACME, 10).await);
        stage.server.start_again();
        let events = next(&mut subscriber, 50).await;
        heard.extend(aggregates(&events));
        let _ = subscriber.acknowledge(last(&events)).await;
    }

    assert_eq!(heard, bells);
    let positions = stage.relayed().await;
    assert!(gapless(&positions), "{positions:?}");
    stage.strike().await;
}
