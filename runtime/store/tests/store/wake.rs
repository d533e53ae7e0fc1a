//! Waking: two nodes on one database hear of each other's commits and seals at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use kernel::{OrgId, Position};
use otp::Root;
use sqlx::postgres::PgListener;
use store::{Log, sealer, wake};
use tokio::sync::mpsc;

use crate::database::{TestLog, opened, supervise, within};

/// The gap that a node keeps between two words.
const PACE: Duration = Duration::from_millis(5);

/// Everything that is said between nodes, as somebody hears it who is none.
struct Ear(PgListener);

impl Ear {
    async fn open(log: &TestLog) -> Self {
        let mut listener = PgListener::connect_with(&log.owner).await.expect("the owner connects");
        listener.listen("finnest_wake").await.expect("anybody may listen");
        Self(listener)
    }

    /// Waits for a word that begins like this; answers it, and how many others came before it.
    async fn hear(&mut self, beginning: &str) -> (String, usize) {
        within(async {
            for others in 0.. {
                let said = self.0.recv().await.expect("the connection lasts");
                if said.payload().starts_with(beginning) {
                    return (said.payload().to_owned(), others);
                }
            }
            unreachable!("the loop has no end")
        })
        .await
    }

    /// Waits for all of these words, whichever comes first: a leader may look by itself before it
    /// is told.
    async fn hear_all<const N: usize>(&mut self, words: [&str; N]) {
        let mut missing = words.to_vec();
        within(async {
            while !missing.is_empty() {
                let said = self.0.recv().await.expect("the connection lasts");
                missing.retain(|word| *word != said.payload());
            }
        })
        .await;
    }

    /// What was said up to now.
    async fn heard(&mut self, log: &TestLog) -> Vec<String> {
        let mark = "the end of the test";
        sqlx::query("select pg_notify('finnest_wake', $1)")
            .bind(mark)
            .execute(&log.owner)
            .await
            .expect("anybody may speak");
        let mut words = Vec::new();
        loop {
            let word = within(self.0.recv()).await.expect("the connection lasts");
            if word.payload() == mark {
                return words;
            }
            words.push(word.payload().to_owned());
        }
    }
}

/// A node that leads, and another that hears of the head by words alone: it has no sealer.
async fn two_nodes(log: &TestLog) -> (Root, Log, Root) {
    let mut ear = Ear::open(log).await;
    let leader = supervise([sealer::child(&log.log), wake::child(&log.log)]).await;
    ear.hear("here").await;
    within(async {
        while !log.log.sealer_stats().counts().is_leader {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let other = log.another_node().await;
    let follower = supervise([wake::child(&other)]).await;
    (leader, other, follower)
}

/// Records an event through the other node's connections.
async fn record_at(log: &TestLog, node: &Log, org_id: OrgId, number: i64) {
    let event = opened(org_id, number);
    let mut transaction = log.begin(event.domain, org_id).await;
    store::append(&mut transaction, &event).await.expect("a domain may append its own facts");
    transaction.commit().await.expect("nothing is in the way");
    node.nudge();
}

#[tokio::test]
async fn what_one_node_commits_is_sealed_by_another_and_known_at_both() {
    let log = TestLog::create().await;
    let mut ear = Ear::open(&log).await;
    let (leader, other, follower) = two_nodes(&log).await;

    record_at(&log, &other, OrgId::new(), 1).await;

    ear.hear_all(["committed", "sealed 1"]).await;
    within(other.wait_until(Position(1))).await;
    leader.stop().await;
    follower.stop().await;
}

/// Somebody who tells what he is given and keeps what he hears.
struct Rider {
    tells: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    hears: mpsc::UnboundedSender<String>,
}

impl wake::Passenger for Rider {
    fn next(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            match self.tells.lock().await.recv().await {
                Some(telling) => telling,
                None => std::future::pending().await,
            }
        })
    }

    fn hear(&self, telling: &str) {
        self.hears.send(telling.to_owned()).expect("the test listens");
    }
}

/// A rider, what to have it tell, and what it hears.
fn rider() -> (Arc<Rider>, mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>) {
    let (tell, tells) = mpsc::unbounded_channel();
    let (hears, told) = mpsc::unbounded_channel();
    (Arc::new(Rider { tells: tells.into(), hears }), tell, told)
}

#[tokio::test]
async fn what_a_passenger_tells_is_heard_by_those_of_other_nodes() {
    let log = TestLog::create().await;
    let mut ear = Ear::open(&log).await;
    let (first, tell, mut heard_by_first) = rider();
    let (second, _tell, mut heard) = rider();
    let root = supervise([wake::child_with(&log.log, first)]).await;
    ear.hear("here").await;
    tell.send("to nobody".to_owned()).expect("the rider listens");
    let other = log.another_node().await;
    let other_root = supervise([wake::child_with(&other, second)]).await;
    // The newcomer says that it is there, and is answered.
    ear.hear("here").await;
    ear.hear("here").await;

    tell.send("+recruit =payroll".to_owned()).expect("the rider listens");

    let telling = within(heard.recv()).await;
    assert_eq!(telling.as_deref(), Some("+recruit =payroll"));
    assert!(heard_by_first.try_recv().is_err());
    root.stop().await;
    other_root.stop().await;
}

#[tokio::test]
async fn a_burst_of_commits_costs_a_few_words() {
    let log = TestLog::create().await;
    let mut ear = Ear::open(&log).await;
    let (leader, other, follower) = two_nodes(&log).await;
    let org_id = OrgId::new();
    let begun = Instant::now();

    for number in 1..=300 {
        record_at(&log, &other, org_id, number).await;
    }
    within(other.wait_until(Position(300))).await;

    let words_max = begun.elapsed().as_millis() / PACE.as_millis() + 2;
    let words = ear.heard(&log).await;
    let count = |beginning: &str| words.iter().filter(|word| word.starts_with(beginning)).count();
    assert!(count("committed") as u128 <= words_max, "{words:?}");
    assert!(count("sealed") as u128 <= words_max, "{words:?}");
    assert!(count("sealed") > 0, "{words:?}");
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn a_node_that_is_alone_speaks_of_no_commit_and_no_head() {
    let log = TestLog::create().await;
    let mut ear = Ear::open(&log).await;
    let root = supervise([sealer::child(&log.log), wake::child(&log.log)]).await;
    ear.hear("here").await;

    for number in 1..=20 {
        log.record(&opened(OrgId::new(), number)).await;
        log.sealed_up_to(number).await;
    }

    let words = ear.heard(&log).await;
    // While nobody leads yet, a commit is passed on to whoever might.
    assert!(words.iter().all(|word| !word.starts_with("sealed")), "{words:?}");
    root.stop().await;
}

#[tokio::test]
async fn a_node_whose_connection_is_cut_hears_of_what_was_sealed_meanwhile() {
    let log = TestLog::create().await;
    let mut ear = Ear::open(&log).await;
    let (leader, other, follower) = two_nodes(&log).await;
    record_at(&log, &other, OrgId::new(), 1).await;
    within(other.wait_until(Position(1))).await;
    ear.hear("sealed 1").await;

    // Only the follower's: it is the one that does not lead, so the younger of the two.
    let cut: i64 = log
        .count(
            "select count(pg_terminate_backend(pid)) from (
                 select pid from pg_stat_activity
                 where datname = current_database() and application_name = 'finnest_wake'
                 order by backend_start desc limit 1) as younger",
        )
        .await;
    log.seal_some(OrgId::new(), 1).await;

    assert_eq!(cut, 1);
    within(other.wait_until(Position(2))).await;
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn nodes_find_each_other_again_after_all_connections_were_cut() {
    let log = TestLog::create().await;
    let (leader, other, follower) = two_nodes(&log).await;
    record_at(&log, &other, OrgId::new(), 1).await;
    within(other.wait_until(Position(1))).await;

    log.cut_connections().await;
    record_at(&log, &other, OrgId::new(), 2).await;
    within(other.wait_until(Position(2))).await;
    leader.stop().await;
    follower.stop().await;
}
