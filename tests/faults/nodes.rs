//! Several nodes on one log lose the connection over which they wake each other.

use std::time::Duration;

use otp::Clock;
use tokio::time::{Instant, interval};

use crate::amount::times;
use crate::cluster::Cluster;
use crate::node::{Node, PROJECTION};
use crate::trial::Trial;
use crate::writers::{Session, Writers, event};

/// Ends the connections over which nodes wake each other, and no other.
const DEAFEN: &str = "
select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'finnest_wake'
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_recorded_while_nobody_listens_is_delivered_without_another() {
    let cluster = Cluster::start("nodes").await;
    let trial = Trial::of("Connection that wakes other nodes ended, of two nodes");
    let clock = Clock::system();
    let leader = Node::start(&cluster.app(), clock.clone()).await;
    let other = Node::start(&cluster.app(), clock.clone()).await;
    let writers = Writers::new(&cluster.app(), &other.log, clock.clone());
    let mut slowest = Duration::ZERO;

    // In silence first: the event that falls into the gap is the last one for a while.
    let app = cluster.app();
    let mut session = Session { app: &app, connection: None };
    let alone = times(20, 4);
    for number in 0..alone {
        cluster.run(DEAFEN).await;
        let lonely = event(writers.organisations[0], &clock, usize::MAX, number.into());
        let begun = Instant::now();
        session.record(&lonely, &mut false).await.expect("nothing is in the way");
        other.log.nudge();
        delivered(&cluster, lonely.event_id.uuid()).await;
        slowest = slowest.max(begun.elapsed());
    }
    let harm = async |_: &mut _| {
        let rounds = times(50, 5);
        for _ in 0..rounds {
            writers.write_more(50).await;
            cluster.run(DEAFEN).await;
        }
        format!(
            "{alone} times before a single event, delivered after {} ms at most; {rounds} times \
             under load",
            slowest.as_millis()
        )
    };
    trial.run(&cluster, &leader, &writers, &[PROJECTION], harm).await;

    leader.stop().await;
    other.stop().await;
    cluster.stop().await;
}

/// Waits until the projection has been given an event. A peer needed the next event for that.
async fn delivered(cluster: &Cluster, event_id: uuid::Uuid) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut ticks = interval(Duration::from_millis(5));
    while !cluster.is_delivered(event_id).await {
        ticks.tick().await;
        assert!(Instant::now() < deadline, "the event waits for another one");
    }
}
