//! The sealer is killed again and again while it has work, and led by two at once.

use std::time::Duration;

use otp::Clock;
use tokio::time::{Instant, interval};

use crate::amount::{seconds, times};
use crate::cluster::Cluster;
use crate::node::{Node, PROJECTION};
use crate::trial::Trial;
use crate::writers::Writers;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealer_killed_in_the_middle_of_batches_loses_and_doubles_nothing() {
    let cluster = Cluster::start("sealer").await;
    let trial = Trial::of("Sealer killed in the middle of a batch");

    trial
        .run_plain(&cluster, &cluster.app(), async |random, node, writers| {
            let kills = times(200, 30);
            let mut killed = 0;
            while killed < kills {
                // It has sealed something since it was last killed, and has more to seal.
                node.log.wait_until(node.head().next()).await;
                tokio::time::sleep(random.micros(0..4_000)).await;
                while writers.acknowledged() <= u64::try_from(node.head().0).unwrap_or_default() {
                    tokio::task::yield_now().await;
                }
                killed += u32::from(node.kill_sealer());
            }
            format!("{killed} kills, each with events waiting for their seal")
        })
        .await;

    cluster.stop().await;
}

/// What a lock that keeps nobody out looks like: every session that asks for it is told that it
/// has it. The sealer finds this function before Postgres's own.
const BROKEN_LOCK: &str = "
create schema broken;
grant usage on schema broken to public;
create function broken.pg_try_advisory_lock(bigint) returns boolean language sql as 'select true';
alter database finnest set search_path = broken, pg_catalog, public;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leaders_that_a_broken_lock_admits_never_seal_an_event_twice() {
    let cluster = Cluster::start("leaders").await;
    cluster.run(BROKEN_LOCK).await;
    let trial = Trial::of("Two leaders at once, the lock being broken");
    let clock = Clock::system();
    let one = Node::start(&cluster.app(), clock.clone()).await;
    let other = Node::start(&cluster.app(), clock.clone()).await;
    let writers = Writers::new(&cluster.app(), &one.log, clock);

    let led = trial.run(&cluster, &one, &writers, &[PROJECTION], async |_| {
        let end = Instant::now() + seconds(15, 3);
        let mut ticks = interval(Duration::from_millis(1));
        let mut both_led = 0;
        while Instant::now() < end || both_led == 0 {
            ticks.tick().await;
            other.log.nudge();
            let leads = |node: &Node| node.log.sealer_stats().counts().is_leader;
            both_led += u64::from(leads(&one) && leads(&other));
        }
        let deposed =
            one.log.sealer_stats().counts().failures + other.log.sealer_stats().counts().failures;
        let epochs = cluster.number("select epoch from events.sealer_state").await;
        format!("{deposed} times a leader was deposed by the other, {} epochs", epochs.unwrap_or(0))
    });
    led.await;

    assert!(other.log.sealer_stats().counts().sealed_events > 0, "both have sealed");
    one.stop().await;
    other.stop().await;
    cluster.stop().await;
}
