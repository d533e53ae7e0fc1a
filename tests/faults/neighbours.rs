//! One neighbour misbehaves: a writer hangs, a subscriber sleeps, a consumer panics. All others
//! must not notice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kernel::EventId;
use otp::Clock;
use store::SealedEvent;
use store::consumer::ConsumerState;
use tokio::time::{Instant, interval, sleep};

use crate::amount::seconds;
use crate::cluster::Cluster;
use crate::node::{Node, PROJECTION, consumer, deliver, projection};
use crate::trial::Trial;
use crate::writers::{Session, Writers, event};

/// How long each event takes from the start of its command to the hands of the projection.
#[derive(Default)]
struct Latencies {
    begun: Mutex<HashMap<EventId, Instant>>,
    taken: Mutex<Vec<Duration>>,
}

impl Latencies {
    fn begin(&self, event_id: EventId) {
        self.begun.lock().expect("no holder panics").insert(event_id, Instant::now());
    }

    fn deliver(&self, events: &[SealedEvent]) {
        let mut begun = self.begun.lock().expect("no holder panics");
        let taken = events.iter().filter_map(|event| begun.remove(&event.event_id));
        self.taken.lock().expect("no holder panics").extend(taken.map(|begun| begun.elapsed()));
    }

    /// What was delivered during the next `period`: how many events, and their 99th percentile.
    async fn measure(&self, period: Duration) -> (usize, Duration) {
        self.taken.lock().expect("no holder panics").clear();
        sleep(period).await;
        let mut taken = std::mem::take(&mut *self.taken.lock().expect("no holder panics"));
        taken.sort_unstable();
        let p99 = taken.get((taken.len() * 99).div_ceil(100).saturating_sub(1));
        (taken.len(), p99.copied().unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_hangs_in_its_transaction_delays_nobody_else() {
    let cluster = Cluster::start("hanging").await;
    let trial = Trial::of("One writer hangs in its transaction");
    let clock = Clock::system();
    let latencies = Arc::new(Latencies::default());
    let delivering = Arc::clone(&latencies);
    let node = Node::start_with(&cluster.app(), clock.clone(), |log| {
        let on_apply = Arc::new(move |events: &[SealedEvent]| delivering.deliver(events));
        vec![projection(PROJECTION, log, on_apply)]
    })
    .await;
    let beginning = Arc::clone(&latencies);
    let writers = Writers::new(&cluster.app(), &node.log, clock.clone())
        .on_begin(move |event_id| beginning.begin(event_id));
    let slow = event(writers.organisations[0], &clock, usize::MAX, 0);

    let harm = async |_: &mut _| {
        let hangs_for = seconds(30, 2);
        writers.write_more(500).await;
        let (_, before) = latencies.measure(hangs_for).await;
        let app = cluster.app();
        let mut session = Session { app: &app, connection: None };
        let hanging = session.append(&slow).await.expect("nothing is in the way");
        let (delivered, during) = latencies.measure(hangs_for).await;
        let early = cluster.is_sealed(slow.event_id).await;
        hanging.commit().await.expect("nothing is in the way");
        let (_, after) = latencies.measure(hangs_for).await;

        assert!(delivered > 0, "nothing was delivered while one writer was hanging");
        assert!(!early, "an event was sealed before it was committed");
        format!(
            "{} s; p99 of the others {} ms before, {} ms meanwhile, {} ms after",
            hangs_for.as_secs(),
            before.as_millis(),
            during.as_millis(),
            after.as_millis()
        )
    };
    trial.run(&cluster, &node, &writers, &[PROJECTION], harm).await;

    assert!(cluster.is_sealed(slow.event_id).await, "the slow writer's event is in the log");
    node.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_sleeps_delays_nobody_but_itself() {
    let cluster = Cluster::start("sleeper").await;
    let trial = Trial::of("A subscriber sleeps, its transaction open");
    let clock = Clock::system();
    let sleeps_for = seconds(20, 3);
    let (is_asleep, naps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (asleep, counting) = (Arc::clone(&is_asleep), Arc::clone(&naps));
    let node = Node::start_with(&cluster.app(), clock.clone(), |log| {
        let sleeper = consumer("sleeper", log, move |connection, events| {
            let (asleep, naps) = (Arc::clone(&asleep), Arc::clone(&counting));
            Box::pin(async move {
                deliver(connection, "sleeper", &events).await?;
                if naps.fetch_add(1, Ordering::Relaxed) == 0 {
                    asleep.store(true, Ordering::Relaxed);
                    sleep(sleeps_for).await;
                    asleep.store(false, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        vec![projection(PROJECTION, log, Arc::new(|_| {})), sleeper]
    })
    .await;
    let writers = Writers::new(&cluster.app(), &node.log, clock);

    let harm = async |_: &mut _| {
        writers.write_more(1).await;
        let mut ticks = interval(Duration::from_millis(100));
        let mut most = 0;
        while naps.load(Ordering::Relaxed) == 0 || is_asleep.load(Ordering::Relaxed) {
            ticks.tick().await;
            most = cluster.delivered(PROJECTION).await.max(most);
        }
        assert!(most > 100, "the other subscriber got {most} events in all that time");
        format!("{} s, while {most} events were delivered to the other", sleeps_for.as_secs())
    };
    trial.run(&cluster, &node, &writers, &[PROJECTION, "sleeper"], harm).await;

    node.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_panics_on_one_event_stops_at_it_and_harms_nobody() {
    let cluster = Cluster::start("panic").await;
    let trial = Trial::of("A consumer panics on one event");
    let clock = Clock::system();
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    let mut status = None;
    let node = Node::start_with(&cluster.app(), clock.clone(), |log| {
        let poisoned = consumer("poisoned", log, move |connection, events| {
            let mended = Arc::clone(&mended);
            Box::pin(async move {
                deliver(connection, "poisoned", &events).await?;
                let is_poison = |event: &SealedEvent| event.position.0 == 100;
                let is_mended = mended.load(Ordering::Relaxed);
                assert!(is_mended || !events.iter().any(is_poison), "it cannot stomach this one");
                Ok(())
            })
        });
        status = Some(poisoned.status());
        vec![projection(PROJECTION, log, Arc::new(|_| {})), poisoned]
    })
    .await;
    let mut status = status.expect("the consumers were asked for");
    let writers = Writers::new(&cluster.app(), &node.log, clock);

    let harm = async |_: &mut _| {
        let tried = status
            .wait_for(|status| {
                matches!(&status.state, ConsumerState::Stalled { attempts: 3.., .. })
            })
            .await
            .expect("the node runs")
            .position;
        let before = cluster.delivered(PROJECTION).await;
        writers.write_more(100).await;
        let mut ticks = interval(Duration::from_millis(20));
        while cluster.delivered(PROJECTION).await < before + 100 {
            ticks.tick().await;
        }
        let held = cluster.delivered("poisoned").await;
        is_mended.store(true, Ordering::Relaxed);

        assert_eq!((tried.0, held), (99, 99), "it stops before the event and is sent no other");
        "3 attempts at position 100, then mended".to_owned()
    };
    trial.run(&cluster, &node, &writers, &[PROJECTION, "poisoned"], harm).await;

    node.stop().await;
    cluster.stop().await;
}
