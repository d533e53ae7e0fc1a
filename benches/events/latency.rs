//! How long a fact takes from the start of its command to whoever reads in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kernel::Position;
use store::{Log, read};

use crate::node::Node;
use crate::writers;

/// Commands a second.
const RATE: u64 = 1_000;
/// So long connections are opened and statements prepared before a latency counts, in seconds.
const WARM_UP_S: u64 = 2;

/// The latencies of one run, sorted, over `span` of commands at a fixed rate.
pub(crate) async fn paced(node: &Node, span: Duration) -> Vec<Duration> {
    let warm_up = RATE * WARM_UP_S;
    let count = warm_up + RATE * span.as_secs();
    let starts = Arc::new(Mutex::new(vec![None; count as usize]));
    let head = node.log.head();
    let from = *head.borrow();
    let told = Arc::clone(&starts);
    let writing =
        writers::write_paced(&node.log, &node.sessions, RATE, count, move |number, at| {
            told.lock().unwrap_or_else(PoisonError::into_inner)[number as usize] = Some(at);
        });
    let ((), seen) = tokio::join!(writing, follow(&node.log, from, count));
    let starts = starts.lock().unwrap_or_else(PoisonError::into_inner);
    let mut latencies: Vec<Duration> = seen
        .into_iter()
        .filter(|(number, _)| *number >= warm_up)
        .map(|(number, at)| at - starts[number as usize].expect("what is seen has begun"))
        .collect();
    latencies.sort_unstable();
    latencies
}

/// Reads `count` events after `position` as they become readable, and when it had each in hands.
async fn follow(log: &Log, mut position: Position, count: u64) -> Vec<(u64, Instant)> {
    let mut head = log.head();
    let mut seen = Vec::new();
    while (seen.len() as u64) < count {
        if *head.borrow_and_update() <= position {
            head.changed().await.expect("the log holds the sender");
            continue;
        }
        let mut reading = store::begin_reading(log.pool()).await.expect("the server answers");
        let events = read::after(&mut reading, position, 1_000).await.expect("events are readable");
        reading.rollback().await.expect("the server answers");
        let now = Instant::now();
        for event in events {
            assert!(event.position > position, "events come in order");
            position = event.position;
            seen.push((writers::number_of(event.aggregate_id), now));
        }
    }
    seen
}
