//! A node stands still for so long that its jobs are given to another, and then goes on.

use std::time::Duration;

use faults::order::{Order, Say};
use faults::work::Way;

use super::expected::{Expected, alike};
use super::site::{HARMED, Site, until};
use super::table::Row;
use super::worker::Worker;
use crate::amount::is_full;

/// How many jobs the node has in hand when it stops; two connections for each must be there.
const IN_HAND: u32 = 12;
/// How long a survivor may take to find out that it is one.
const PATIENCE: Duration = Duration::from_mins(1);

const CALLS: &str = "select count(*) from faults.calls";
const EFFECTS: &str = "select count(*) from faults.effects";
const LEFT: &str = "select count(*) from jobs.nodes where left_at is not null";
/// Ends every transaction that does nothing, as a server does that allows none.
const END_IDLE: &str = "
select pg_terminate_backend(pid) from pg_stat_activity
where usename = 'finnest_app' and state = 'idle in transaction'
";

/// The stage of one scene after another, each with jobs of its own.
struct Stage {
    site: Site,
    expected: Vec<Expected>,
}

impl Stage {
    /// A node that performs the harmed queue and nothing else.
    fn node(&self, name: &str) -> Worker {
        let queues = vec![(HARMED.to_owned(), IN_HAND)];
        Worker::start(Order { queues, ..self.site.order(name) })
    }

    /// A node with all its hands full, each of its attempts before the closed gate.
    async fn node_before_the_gate(&mut self, way: Way) -> Worker {
        self.site.set_gate(false).await;
        self.site.cluster.run("truncate faults.calls").await;
        let first = i64::try_from(self.expected.len()).expect("they are few");
        let (expected, jobs) = alike(HARMED, way, first..first + i64::from(IN_HAND));
        self.expected.extend(expected);
        self.site.enqueuer.enqueue(&jobs).await;
        let node = self.node("survivor");
        self.site.until_count(CALLS, IN_HAND.into()).await;
        node
    }

    /// The node that takes over: the same machine started anew, which is believed at once, or in
    /// full another one, which first has to miss heartbeats.
    fn successor(&self) -> Worker {
        self.node(if is_full() { "successor" } else { "survivor" })
    }

    async fn until_all_had_effects(&self) {
        let all = i64::try_from(self.expected.len()).expect("they are few");
        self.site.until_count(EFFECTS, all).await;
    }
}

/// Waits until a node knows of all its attempts that they were too late.
async fn until_superseded(worker: &mut Worker) {
    until("the survivor", PATIENCE, async || {
        worker.say(&Say::Superseded(HARMED.to_owned())).await == u64::from(IN_HAND)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_goes_on_after_its_rescue_cannot_commit() {
    let site = Site::start("survivor").await;
    let mut stage = Stage { site, expected: Vec::new() };

    // It goes on while its successor is at the same jobs, and all of them run for the end.
    let mut survivor = stage.node_before_the_gate(Way::Waiting).await;
    survivor.signal("STOP");
    let mut successor = stage.successor();
    stage.site.until_count(CALLS, (2 * IN_HAND).into()).await;
    survivor.signal("CONT");
    stage.site.set_gate(true).await;
    until_superseded(&mut survivor).await;
    stage.until_all_had_effects().await;
    let of_successor = successor.say(&Say::Superseded(HARMED.to_owned())).await;
    successor.stop().await;
    survivor.stop().await;

    // It goes on when everything has been done.
    let mut survivor = stage.node_before_the_gate(Way::Waiting).await;
    survivor.signal("STOP");
    let successor = stage.successor();
    stage.site.until_count(CALLS, (2 * IN_HAND).into()).await;
    stage.site.set_gate(true).await;
    stage.until_all_had_effects().await;
    survivor.signal("CONT");
    until_superseded(&mut survivor).await;
    successor.stop().await;
    survivor.stop().await;

    let Stage { site, expected } = stage;
    let row = Row {
        fault: "A node stopped in its tracks (SIGSTOP) past its rescue",
        harm: format!("2 times with {IN_HAND} jobs in hand; every late attempt was refused"),
        verdict: judged(&site, &expected).await,
    };
    row.tell(&site);
    assert_eq!(of_successor, 0, "those who own their jobs are never refused");
    site.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stopped_between_effect_and_commit_has_its_effect_or_none() {
    let site = Site::start("commit").await;
    let mut stage = Stage { site, expected: Vec::new() };

    // Its transactions stay open, so nobody takes its jobs; it goes on and commits.
    let survivor = stage.node_before_the_gate(Way::Holding).await;
    survivor.signal("STOP");
    let successor = stage.node("survivor");
    stage.site.until_count(LEFT, 1).await;
    survivor.signal("CONT");
    stage.site.set_gate(true).await;
    stage.until_all_had_effects().await;
    let again = stage.site.cluster.number("select sum(attempt)::bigint from jobs.every_job").await;
    successor.stop().await;
    survivor.stop().await;

    // The server ends its transactions meanwhile; so the jobs are done by another, and not by it.
    let mut survivor = stage.node_before_the_gate(Way::Holding).await;
    survivor.signal("STOP");
    let successor = stage.successor();
    stage.site.cluster.run(END_IDLE).await;
    stage.site.until_count(CALLS, (2 * IN_HAND).into()).await;
    stage.site.set_gate(true).await;
    stage.until_all_had_effects().await;
    survivor.signal("CONT");
    until_superseded(&mut survivor).await;
    successor.stop().await;
    survivor.stop().await;

    let Stage { site, expected } = stage;
    let row = Row {
        fault: "A node stopped in its tracks between effect and commit",
        harm: format!("2 times with {IN_HAND} jobs in hand, once its transactions were ended"),
        verdict: judged(&site, &expected).await,
    };
    row.tell(&site);
    assert_eq!(again, Some(IN_HAND.into()), "nobody else attempts what a transaction holds");
    site.cluster.stop().await;
}

/// The verdict, once somebody has swept what the nodes have left.
async fn judged(site: &Site, expected: &[Expected]) -> super::verdict::Verdict {
    let sweeper = site.worker("sweeper");
    let verdict = site.judge(expected).await;
    sweeper.stop().await;
    verdict
}
