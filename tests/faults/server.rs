//! The Postgres server is killed, stands still, or ends everybody's session.

use std::time::Duration;

use crate::amount::{seconds, times};
use crate::cluster::{Cluster, signal};
use crate::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_killed_with_9_keeps_every_promise() {
    let cluster = Cluster::start("server").await;
    let trial = Trial::of("Postgres killed with -9");

    trial
        .run_plain(&cluster, &cluster.app(), async |random, _, writers| {
            let kills = times(10, 1);
            for _ in 0..kills {
                writers.write_more(200).await;
                tokio::time::sleep(random.millis(0..500)).await;
                let postmaster = cluster.postmaster().expect("it has just answered");
                signal("KILL", &[postmaster]);
                gone(postmaster).await;
            }
            writers.write_more(200).await;
            format!("{kills} kills of the server")
        })
        .await;

    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_killed_with_9_takes_no_promise_with_it() {
    let cluster = Cluster::start("backend").await;
    let trial = Trial::of("A session's process killed with -9");

    trial
        .run_plain(&cluster, &cluster.app(), async |random, _, writers| {
            let kills = times(10, 1);
            for _ in 0..kills {
                writers.write_more(200).await;
                let backends = cluster.backends();
                let place = random.below(backends.len());
                signal("KILL", &[backends[place]]);
            }
            writers.write_more(200).await;
            format!("{kills} kills, after each of which Postgres ends all sessions and recovers")
        })
        .await;

    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_under_everybody_cost_nothing_that_was_promised() {
    let cluster = Cluster::start("sessions").await;
    let trial = Trial::of("All sessions ended (`pg_terminate_backend`)");

    trial
        .run_plain(&cluster, &cluster.app(), async |random, _, writers| {
            let rounds = times(50, 5);
            for _ in 0..rounds {
                writers.write_more(100).await;
                tokio::time::sleep(random.millis(0..100)).await;
                cluster
                    .run(
                        "select pg_terminate_backend(pid) from pg_stat_activity
                         where usename = 'finnest_app'",
                    )
                    .await;
            }
            writers.write_more(100).await;
            format!("{rounds} times")
        })
        .await;

    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_stands_still_for_a_while_is_waited_for() {
    let cluster = Cluster::start("still").await;
    let trial = Trial::of("Postgres stopped in its tracks (SIGSTOP)");

    trial
        .run_plain(&cluster, &cluster.app(), async |_, _, writers| {
            writers.write_more(200).await;
            let mut all = cluster.backends();
            all.extend(cluster.postmaster());
            let stands_still = seconds(20, 3);
            signal("STOP", &all);
            tokio::time::sleep(stands_still).await;
            signal("CONT", &all);
            writers.write_more(200).await;
            format!("{} s", stands_still.as_secs())
        })
        .await;

    cluster.stop().await;
}

/// Waits until a process is no more.
async fn gone(process: u32) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while std::path::Path::new(&format!("/proc/{process}")).exists() {
        ticks.tick().await;
    }
}
