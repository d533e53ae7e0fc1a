//! A node: the sealer and consumers under a supervisor, as in the platform.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use otp::{ChildSpec, Clock, Root, Strategy, SupervisorSpec};
use sqlx::PgPool;
use store::consumer::{ConsumerState, ConsumerStatus, Start};
use store::{Consumer, Log, SealedEvent, Sessions};
use tokio::sync::watch;

use crate::writers::{self, EVENT_TYPE};
use benches::server::{DOMAIN, Database, Server, Speed};

/// Connections of a node, as many as the platform has by default.
const CONNECTIONS_MAX: u32 = 40;

/// A running node.
pub(crate) struct Node {
    pub(crate) log: Log,
    pub(crate) sessions: Sessions,
    pool: PgPool,
    delivered: Delivered,
    root: Root,
}

/// What a consumer was handed, and whether that was in order.
#[derive(Clone)]
struct Delivered {
    count: Arc<AtomicU64>,
    last: Arc<AtomicI64>,
    moved: watch::Sender<u64>,
}

impl Delivered {
    fn new() -> Self {
        Self { count: Arc::default(), last: Arc::default(), moved: watch::Sender::new(0) }
    }

    /// # Panics
    /// When an event is out of order: a fast log that reorders is of no use.
    fn take(&self, events: &[SealedEvent]) {
        for event in events {
            let last = self.last.swap(event.position.0, Ordering::Relaxed);
            assert!(event.position.0 > last, "{} came after {last}", event.position);
        }
        let before = self.count.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.moved.send_replace(before + events.len() as u64);
    }
}

/// A consumer of all events that tells `delivered`.
fn consumer(name: &str, log: &Log, delivered: Delivered) -> Consumer {
    Consumer::new(name, log, move |_, events| {
        delivered.take(&events);
        Box::pin(async { Ok(()) })
    })
    .filter([(DOMAIN.as_str().to_owned(), EVENT_TYPE.to_owned())])
    .from(Start::Now)
}

impl Node {
    /// Starts the sealer and `consumers` consumers, each new and from now on.
    pub(crate) async fn start(database: &Database, consumers: usize) -> Self {
        let pool = database.pool(CONNECTIONS_MAX);
        let log = Log::new(pool.clone(), Clock::system());
        let delivered = Delivered::new();
        // What is left of an earlier run is sealed before anybody begins.
        store::sealer::seal_all(&log).await.expect("nothing else seals");
        let mut children: Vec<ChildSpec> = vec![store::sealer::child(&log)];
        let mut lives = Vec::new();
        for number in 0..consumers {
            let name = format!("bench_{}_{number}", uuid::Uuid::now_v7().simple());
            let told = if number == 0 { delivered.clone() } else { Delivered::new() };
            let consumer = consumer(&name, &log, told);
            lives.push(consumer.status());
            children.push(consumer.child());
        }
        let spec = SupervisorSpec::new(Strategy::OneForOne).children(children);
        let root = Root::start(spec, Clock::system()).await.expect("the children start");
        for live in &mut lives {
            // What is written before a new consumer has its cursor is none of its business.
            let is_live = |status: &ConsumerStatus| status.state == ConsumerState::Live;
            live.wait_for(is_live).await.expect("the consumer runs");
        }
        Self { log, sessions: Sessions::new(pool.clone()), pool, delivered, root }
    }

    /// Events a second that were recorded, sealed and handed to a consumer in order.
    pub(crate) async fn throughput(
        &self,
        server: &Server,
        writers: usize,
        organisations: usize,
        span: Duration,
    ) -> Speed {
        // Connections are opened and statements prepared before the time is taken.
        let warm_up = span / 10;
        self.write(writers, organisations, warm_up).await;
        let (begun, before) = (Instant::now(), server.spent_seconds());
        let count = self.write(writers, organisations, span).await as f64;
        Speed {
            per_second: count / begun.elapsed().as_secs_f64(),
            processor_us: (server.spent_seconds() - before) * 1e6 / count,
        }
    }

    /// Writes for `span` and waits until the consumer has everything.
    async fn write(&self, writers: usize, organisations: usize, span: Duration) -> u64 {
        let mut moved = self.delivered.moved.subscribe();
        let before = *moved.borrow_and_update();
        let count =
            writers::write_for(&self.log, &self.sessions, writers, organisations, span).await;
        let all = moved.wait_for(|delivered| *delivered >= before + count);
        let delivered = *tokio::time::timeout(Duration::from_mins(1), all)
            .await
            .expect("everything is delivered within a minute")
            .expect("the node holds the sender");
        assert_eq!(delivered, before + count, "nothing is delivered twice");
        count
    }

    /// Stops the node.
    pub(crate) async fn stop(self) {
        self.root.stop().await;
        self.sessions.close();
        self.pool.close().await;
    }
}
