//! How long a job waits for its attempt on a node that has time for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use benches::server::{DOMAIN, Database};
use jobs::{Outcome, Performed};
use store::Sessions;

use crate::insert::enqueue;
use crate::node::{LIMIT, Node, number_of, performing};

/// Jobs a second.
const RATE: u32 = 100;
/// The first jobs open connections and prepare statements, and are not counted.
const WARM_UP: usize = 20;

/// From the commit that enqueued a job to the start of its attempt, sorted, over `span`.
pub(crate) async fn paced(database: &Database, span: Duration) -> Vec<Duration> {
    let started = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&started);
    let performers = performing(move |attempt| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((number_of(&attempt), Instant::now()));
        async { Ok(Performed::Outcome(Outcome::Complete)) }
    });
    let node = Node::of_domain(database, LIMIT, |_| performers.clone()).await;
    let sessions = Sessions::new(node.pool.clone());
    let count = WARM_UP + usize::try_from(span.as_secs()).expect("a run is short") * RATE as usize;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut enqueued = Vec::with_capacity(count);
    for number in 0..count {
        ticks.tick().await;
        enqueue(&sessions, number).await;
        node.queues.nudge(DOMAIN.as_str());
        enqueued.push(Instant::now());
    }
    while started.lock().unwrap_or_else(PoisonError::into_inner).len() < count {
        ticks.tick().await;
    }
    sessions.close();
    node.stop().await;
    let started = started.lock().unwrap_or_else(PoisonError::into_inner);
    let counted = started.iter().filter(|(number, _)| *number >= WARM_UP);
    let waits = counted.map(|(number, at)| at.saturating_duration_since(enqueued[*number]));
    let mut waits: Vec<Duration> = waits.collect();
    waits.sort_unstable();
    waits
}
