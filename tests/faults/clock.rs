//! The wall clock jumps, mostly back.

use chrono::TimeDelta;
use otp::Clock;

use crate::amount::times;
use crate::cluster::Cluster;
use crate::node::{Node, PROJECTION};
use crate::trial::Trial;
use crate::writers::Writers;

/// How far it jumps at most: over the ends of months, into those no partition was made for.
const DAYS_MAX: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_changes_neither_order_nor_chain() {
    let cluster = Cluster::start("clock").await;
    let trial = Trial::of("Clock set back");
    let began = Clock::system().now();
    let clock = Clock::manual(began);
    let node = Node::start(&cluster.app(), clock.clone()).await;
    let writers = Writers::new(&cluster.app(), &node.log, clock.clone());

    let jumps = trial.run(&cluster, &node, &writers, &[PROJECTION], async |random| {
        let jumps = times(50, 8);
        for number in 0..jumps {
            writers.write_more(60).await;
            let seconds = random.within(1..DAYS_MAX * 24 * 60 * 60);
            let by = TimeDelta::seconds(i64::try_from(seconds).expect("two months"));
            // Every third jump is forward, so that it is set back from there as well.
            clock.set(if number % 3 == 2 { began + by } else { began - by });
        }
        writers.write_more(60).await;
        format!("{jumps} jumps of up to {DAYS_MAX} days, most of them back")
    });
    jumps.await;

    node.stop().await;
    cluster.stop().await;
}
