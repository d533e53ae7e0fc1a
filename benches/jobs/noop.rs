//! Jobs that do nothing: what the queue itself can do.

use std::time::{Duration, Instant};

use benches::server::{Database, Server, Speed};
use jobs::{Outcome, Performed};

use crate::node::{LIMIT, Node, performing};

/// A run that takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(10);

/// Performs the `count` jobs that wait, and says how fast.
pub(crate) async fn measure(server: &Server, database: &Database, count: usize) -> Speed {
    let performers = performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) });
    let (begun, before) = (Instant::now(), server.spent_seconds());
    let node = Node::of_domain(database, LIMIT, |_| performers.clone()).await;
    let speed = until_completed(server, &node, count, begun, before).await;
    node.stop().await;
    speed
}

/// Waits until the node has completed `count` jobs.
pub(crate) async fn until_completed(
    server: &Server,
    node: &Node,
    count: usize,
    begun: Instant,
    before: f64,
) -> Speed {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    while node.queues.stats()[0].counts.completed < count as u64 {
        assert!(
            begun.elapsed() < PATIENCE,
            "the jobs are not completed: {:?}",
            node.queues.stats()
        );
        ticks.tick().await;
    }
    Speed {
        per_second: count as f64 / begun.elapsed().as_secs_f64(),
        processor_us: (server.spent_seconds() - before) * 1e6 / count as f64,
    }
}
