//! Slow clients: who does not read loses what its channel may lose, and nobody else pays for it.

#[expect(dead_code, reason = "other tests use the rest of it")]
mod fixture;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod nodes;

use std::sync::Arc;

use nodes::{Client, Nodes, topic};
use platform::bus::{BusEvent, Heading, LossClass};
use platform::kernel::EventId;
use platform::{Position, Role, Timestamp, Topic};
use serde_json::{Value, json};
use testkit::ACME;
use uuid::Uuid;

/// Far more than the buffers of a connection and the mailbox of a subscriber hold.
const EVENTS: i64 = 6_000;

/// An event of 8 kB, as if it had just been sealed.
fn event(position: i64, text: &str) -> Arc<BusEvent> {
    let heading = Heading {
        position: Position(position),
        topic: Topic::domain(ACME, "fixture"),
        event_id: EventId::new(),
        event_type: "crate_packed".to_owned(),
        version: 1,
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        recorded_at: Timestamp::UNIX_EPOCH,
    };
    Arc::new(BusEvent::new(heading, text))
}

/// Publishes them all, no faster than `reader` takes them.
async fn flood(nodes: &Nodes, reader: &mut Client) -> Vec<i64> {
    let text = json!({ "label": "x".repeat(8_000) }).to_string();
    let bus = nodes.system.system().bus();
    let mut seen = Vec::new();
    for position in 1..=EVENTS {
        bus.publish([event(position, &text)]).await;
        let frame = reader.frame().await;
        seen.push(frame[4]["_seq"].as_i64().expect("a position is a number"));
    }
    seen
}

async fn joined(nodes: &Nodes, params: Value) -> Client {
    let mut client = nodes.connect(nodes.address, Role::Staff).await;
    let answer = client.join(&topic(), params).await;
    assert_eq!(answer["status"], "ok", "{answer}");
    client
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_once_and_the_others_get_everything_in_order() {
    let nodes = Nodes::start().await;
    let mut slow = joined(&nodes, json!({})).await;
    let mut healthy = joined(&nodes, json!({ "delivery": "durable" })).await;

    let seen = flood(&nodes, &mut healthy).await;
    let mut read = Vec::new();
    let cut = loop {
        match slow.next().await {
            Ok(frame) => read.push(frame[4]["_seq"].as_i64().expect("a position")),
            Err(code) => break code,
        }
    };
    let after = joined(&nodes, json!({})).await;

    let all: Vec<i64> = (1..=EVENTS).collect();
    assert_eq!(seen, all);
    // Without reading it cannot hear the word in time, and then finds the connection closed.
    assert!(matches!(cut, 4_008 | 1_006), "{cut}");
    assert_eq!(read, all[..read.len()], "what it read has no hole");
    assert!(read.len() < all.len());
    let counts = nodes.system.system().bus().counts(LossClass::Lossy);
    assert!(counts.depth_max <= 4_096, "{counts:?}");
    after.close().await;
    nodes.system.stop().await;
}

#[tokio::test]
async fn who_wants_the_latest_skips_what_is_out_of_date_and_stays() {
    let nodes = Nodes::start().await;
    let mut slow = joined(&nodes, json!({ "delivery": "latest" })).await;
    let mut healthy = joined(&nodes, json!({})).await;

    flood(&nodes, &mut healthy).await;
    let mut read = Vec::new();
    while read.last() != Some(&EVENTS) {
        read.push(slow.frame().await[4]["_seq"].as_i64().expect("a position"));
    }

    assert!(read.is_sorted());
    assert!(read.len() < seen_by_all(), "{}", read.len());
    nodes.system.stop().await;
}

#[tokio::test]
async fn who_may_lose_is_told_how_many_and_gets_the_rest() {
    let nodes = Nodes::start().await;
    let mut slow = joined(&nodes, json!({ "delivery": "lossy" })).await;
    let mut healthy = joined(&nodes, json!({})).await;

    flood(&nodes, &mut healthy).await;
    let (mut count, mut lost, mut position) = (0, 0, 0);
    while position < EVENTS {
        let frame = slow.frame().await;
        if frame[3] == "events_lost" {
            lost += frame[4]["lost"].as_i64().expect("a count");
        } else {
            position = frame[4]["_seq"].as_i64().expect("a position");
            count += 1;
        }
    }

    assert_eq!(count + lost, EVENTS);
    assert!(lost > 0);
    let counts = nodes.system.system().bus().counts(LossClass::Lossy);
    assert_eq!(i64::try_from(counts.dropped), Ok(lost));
    nodes.system.stop().await;
}

fn seen_by_all() -> usize {
    usize::try_from(EVENTS).expect("it is small")
}
