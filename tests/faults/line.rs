//! The line between clients and the server is cut, dead, or slow.

use crate::amount::{seconds, times};
use crate::cluster::Cluster;
use crate::proxy::Conduct;
use crate::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_at_random_bytes_cost_nothing_that_was_promised() {
    let cluster = Cluster::start("cut").await;
    let mut trial = Trial::of("Connections cut by a proxy at random bytes");
    let proxy = cluster.proxy(&mut trial.random);

    trial
        .run_plain(&cluster, &proxy.options(&cluster.app()), async |_, _, writers| {
            proxy.behave(Conduct::Cut);
            let cuts = u64::from(times(1_000, 60));
            while proxy.cuts() < cuts {
                writers.write_more(10).await;
            }
            proxy.behave(Conduct::Pass);
            writers.write_more(100).await;
            format!("{} connections of clients and node", proxy.cuts())
        })
        .await;

    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_goes_dead_for_a_while_is_waited_for() {
    let cluster = Cluster::start("dead").await;
    let mut trial = Trial::of("The line to Postgres dead, nobody told");
    let proxy = cluster.proxy(&mut trial.random);

    trial
        .run_plain(&cluster, &proxy.options(&cluster.app()), async |_, _, writers| {
            writers.write_more(200).await;
            proxy.behave(Conduct::Hold);
            let dead = seconds(20, 3);
            tokio::time::sleep(dead).await;
            proxy.behave(Conduct::Pass);
            writers.write_more(200).await;
            format!("{} s", dead.as_secs())
        })
        .await;

    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_changes_nothing_but_the_pace() {
    let cluster = Cluster::start("slow").await;
    let mut trial = Trial::of("A slow line, up to 20 ms late each way");
    let proxy = cluster.proxy(&mut trial.random);

    trial
        .run_plain(&cluster, &proxy.options(&cluster.app()), async |_, _, writers| {
            proxy.behave(Conduct::Delay);
            let slow = seconds(20, 2);
            tokio::time::sleep(slow).await;
            writers.write_more(1).await;
            format!("{} s", slow.as_secs())
        })
        .await;

    cluster.stop().await;
}
