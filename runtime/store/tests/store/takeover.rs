//! Takeover: two nodes run one consumer, one works, and the other goes on when it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::OrgId;
use store::consumer::{Consumer, ConsumerState, ConsumerStatus};
use store::{Log, sealer};
use tokio::sync::{Notify, watch};

use crate::database::{TestLog, opened, supervise, within};
use crate::effects::{effects, leave_effect, log_with_effects, reaches, willing};

/// What the issue promises; a machine that is busy with other tests may take longer.
const TAKEOVER_MAX: Duration = Duration::from_secs(2);

async fn stands_by(status: &mut watch::Receiver<ConsumerStatus>) {
    within(status.wait_for(|status| status.state == ConsumerState::Standby))
        .await
        .expect("it tells that it stands by");
}

/// A consumer that hangs in the middle of an effect, in its transaction, when it sees its second
/// event.
fn hanging(log: &Log, hangs: &Arc<Notify>) -> Consumer {
    let hangs = hangs.clone();
    Consumer::new("shared", log, move |connection, events| -> BoxFuture<'_, _> {
        let hangs = hangs.clone();
        async move {
            for event in &events {
                leave_effect(connection, "shared", event).await?;
                if event.org_sequence > 1 {
                    hangs.notify_one();
                    std::future::pending::<()>().await;
                }
            }
            Ok(())
        }
        .boxed()
    })
    .filter([("recruit".to_owned(), "job_order_opened".to_owned())])
}

/// A log with another node on it, and the runtime that node's processes live on.
async fn two_nodes() -> (TestLog, Log) {
    let log = log_with_effects().await;
    let other = log.another_node().await;
    (log, other)
}

#[tokio::test]
async fn the_second_of_two_consumers_stands_by_and_asks_for_no_events() {
    let (log, other) = two_nodes().await;
    let applied = Arc::new(AtomicUsize::new(0));
    let counted = applied.clone();
    let (one, two) = (willing("shared", &log.log), willing("shared", &other));
    let two = two.on_committed(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let (mut of_one, mut of_two) = (one.status(), two.status());
    let root = supervise([sealer::child(&log.log), one.child()]).await;
    reaches(&mut of_one, 0).await;
    within(of_one.wait_for(|status| status.state == ConsumerState::Live)).await.expect("it works");
    let elsewhere = supervise([two.child()]).await;
    stands_by(&mut of_two).await;

    for number in 1..=50 {
        log.record(&opened(OrgId::new(), number)).await;
    }
    reaches(&mut of_one, 50).await;

    assert_eq!(effects(&log, "shared").await, (1..=50).collect::<Vec<_>>());
    assert_eq!(applied.load(Ordering::Relaxed), 0);
    elsewhere.stop().await;
    root.stop().await;
}

#[tokio::test]
async fn a_stand_by_goes_on_when_the_first_node_stops() {
    let (log, other) = two_nodes().await;
    let (one, two) = (willing("shared", &log.log), willing("shared", &other));
    let (mut of_one, mut of_two) = (one.status(), two.status());
    let sealing = supervise([sealer::child(&log.log)]).await;
    let root = supervise([one.child()]).await;
    within(of_one.wait_for(|status| status.state == ConsumerState::Live)).await.expect("it works");
    let elsewhere = supervise([two.child()]).await;
    stands_by(&mut of_two).await;
    log.record(&opened(OrgId::new(), 1)).await;
    reaches(&mut of_one, 1).await;

    root.stop().await;
    log.record(&opened(OrgId::new(), 2)).await;
    reaches(&mut of_two, 2).await;

    assert_eq!(effects(&log, "shared").await, [1, 2]);
    elsewhere.stop().await;
    sealing.stop().await;
}

/// A node whose threads can be stopped all at once, as by SIGSTOP: nothing of it runs any more,
/// and its connections stay open.
struct Node {
    runtime: Option<tokio::runtime::Runtime>,
    stop: std::sync::mpsc::Sender<()>,
}

impl Node {
    fn start(run: impl Future<Output = ()> + Send + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread can be started");
        let (stop, stopped) = std::sync::mpsc::channel();
        let handle = runtime.handle().clone();
        handle.spawn(run);
        handle.spawn(async move {
            // Holds the only thread of the node from then on.
            tokio::task::yield_now().await;
            tokio::task::spawn_blocking(move || stopped.recv()).await.ok();
            std::thread::park();
        });
        Self { runtime: Some(runtime), stop }
    }

    fn freeze(&self) {
        self.stop.send(()).expect("the node waits for it");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test]
async fn a_stand_by_takes_over_from_a_node_that_hangs_in_the_middle_of_an_effect() {
    let log = log_with_effects().await;
    let org_id = OrgId::new();
    log.seal_some(org_id, 1).await;
    let hangs = Arc::new(Notify::new());
    let (told, first) = (hangs.clone(), tokio::sync::oneshot::channel());
    let app = log.app_options();
    let node = Node::start(async move {
        let log = crate::database::node(&app).await;
        let consumer = hanging(&log, &told);
        let status = consumer.status();
        let root = supervise([consumer.child()]).await;
        first.0.send(status).ok();
        root.exited().await;
    });
    let mut of_one = within(first.1).await.expect("the node has started");
    reaches(&mut of_one, 1).await;
    let two = willing("shared", &log.log);
    let mut of_two = two.status();
    let root = supervise([two.child()]).await;
    stands_by(&mut of_two).await;
    log.seal_some(org_id, 1).await;
    within(hangs.notified()).await;

    node.freeze();
    let frozen = Instant::now();
    reaches(&mut of_two, 2).await;

    assert!(frozen.elapsed() < TAKEOVER_MAX * 5, "it took {:?}", frozen.elapsed());
    assert_eq!(effects(&log, "shared").await, [1, 2]);
    root.stop().await;
}

#[tokio::test]
async fn a_consumer_that_lost_its_lease_stands_by() {
    let (log, _) = two_nodes().await;
    let consumer = willing("shared", &log.log);
    let mut status = consumer.status();
    let root = supervise([consumer.child()]).await;
    within(status.wait_for(|status| status.state == ConsumerState::Live)).await.expect("it works");

    sqlx::query(
        "update events.leases set holder = gen_random_uuid(), expires_at = now() + '1 hour'",
    )
    .execute(&log.owner)
    .await
    .expect("the owner may");

    stands_by(&mut status).await;
    root.stop().await;
}
