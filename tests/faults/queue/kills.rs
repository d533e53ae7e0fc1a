//! Everything is killed at random, in turn, while jobs of all kinds are performed by two nodes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use faults::order::Say;
use faults::work::Way;
use futures_util::future::join_all;
use kernel::Timestamp;
use tokio::time::{interval, sleep};

use super::expected::{Expected, alike, mixed};
use super::flows::{Unit, flows, out_of_order};
use super::site::{HARMED, OTHER, Site, until};
use super::table::Row;
use super::worker::Worker;
use crate::amount::{is_full, times};
use crate::cluster::signal;
use crate::random::Random;

/// So many jobs are enqueued in one transaction.
const BATCH: usize = 40;
/// So many clients enqueue at once.
const CLIENTS: usize = 4;
/// The work of the other queue is numbered from here.
const OTHERS: i64 = 10_000_000;
/// While one domain is harmed, another must have had so many effects before the harm ends.
const PROGRESS: u64 = 10;
/// So many jobs execute at once over all nodes, while each second victim is killed.
const LIMIT: u32 = 9;
/// How long that may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Attempts,
    Child(&'static str),
    Duties,
    Node,
    BothNodes,
    Session,
    Sessions,
    Postgres(&'static str),
}

/// All that is killed, each in its turn; the order is left to chance. The gate has no time for the
/// last ones, after which Postgres recovers as it does after its own end.
const VICTIMS: [Victim; 12] = [
    Victim::Attempts,
    Victim::Child("/queue/producer"),
    Victim::Child("/queue/attempts"),
    Victim::Child("/queue"),
    Victim::Child(""),
    Victim::Duties,
    Victim::Node,
    Victim::BothNodes,
    Victim::Sessions,
    Victim::Postgres("KILL"),
    Victim::Session,
    Victim::Postgres("QUIT"),
];
/// How many of them the gate has time for.
const VICTIMS_OF_THE_GATE: usize = 10;

fn victims() -> usize {
    if is_full() { VICTIMS.len() } else { VICTIMS_OF_THE_GATE }
}

/// Two nodes to do harm to, and the books on it.
struct Harm<'s> {
    site: &'s Site,
    workers: Vec<Worker>,
    random: Random,
    /// How many jobs may be enqueued so far.
    allowed: &'s AtomicU64,
    /// How many kills there were inside the domain, of nodes, and of sessions and servers.
    inside: u64,
    nodes: u64,
    database: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_ends_once_and_rightly_whatever_is_killed() {
    let site = Site::start("kills").await;
    let count = if is_full() { 50_000 } else { 1_200 };
    let rounds = times(8, 1);
    let mut random = site.random();
    let (mut expected, lists) = plan(count, &mut random, site.clock.now());
    let jobs: usize = lists.iter().flatten().map(|unit| unit.job_ids.len()).sum();
    eprintln!("before: {} pieces of work, {jobs} jobs to enqueue", expected.len());
    let workers = ["one", "two"].map(|name| site.worker(name)).into();
    let [unanswered, allowed] = [AtomicU64::new(0), AtomicU64::new(0)];
    let mut harm = Harm::new(&site, workers, random, &allowed);

    let is_done = AtomicBool::new(false);
    let harming = async {
        let share = jobs.div_ceil(rounds as usize * victims());
        for _ in 0..rounds {
            harm.round(share as u64).await;
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let others = enqueue_others(&site, &is_done);
    let enqueuing = enqueue(&site, &lists, &allowed, &unanswered);
    let (others, (), (), ()) = tokio::join!(others, enqueuing, harming, site.watch(&is_done));
    let of_the_other = others.len();
    expected.extend(others);
    eprintln!("{:.1} s: the harm is done", site.took().as_secs_f64());
    let verdict = site.judge(&expected).await;

    let restarts = harm.restarts_of_the_other().await;
    let (looks, most) = site.limited();
    let out_of_order = out_of_order(&site.cluster.owner).await;
    let row = Row {
        fault: "Everything killed at random, of two nodes and their server",
        harm: format!(
            "{} kills within the domain, {} of nodes with -9, {} of sessions and servers; {} \
             enqueues repeated; {of_the_other} jobs of another domain meanwhile; limited to \
             {LIMIT} over both nodes for half of the time, {most} at once in {looks} looks; \
             {} chains, workflows and batches each, {out_of_order} effects out of order",
            harm.inside,
            harm.nodes,
            harm.database,
            unanswered.load(Ordering::Relaxed),
            flow_count(count),
        ),
        verdict,
    };
    eprintln!("after: {:?}", row.verdict);
    row.tell(&site);
    assert_eq!(out_of_order, 0, "somebody began before those it waits for");
    assert!(looks > 0 && most <= LIMIT.into(), "{most} jobs executed at once");
    assert_eq!(restarts, 0, "the other domain noticed what was done to its neighbour");
    for worker in harm.workers {
        worker.stop().await;
    }
    site.cluster.stop().await;
}

/// How many chains, workflows and batches there are, each.
fn flow_count(count: usize) -> i64 {
    i64::try_from(count / 100).expect("it fits into memory")
}

/// All work, and what is to be enqueued for it: lists of units whose order matters, in random
/// order.
fn plan(count: usize, random: &mut Random, now: Timestamp) -> (Vec<Expected>, Vec<Vec<Unit>>) {
    let (mut expected, jobs) = mixed(count, random, now);
    let (more, mut lists) = flows(flow_count(count));
    expected.extend(more);
    lists.extend(jobs.chunks(BATCH).map(|jobs| vec![Unit::of(jobs)]));
    for place in (1..lists.len()).rev() {
        lists.swap(place, random.below(place + 1));
    }
    (expected, lists)
}

impl<'s> Harm<'s> {
    fn new(site: &'s Site, workers: Vec<Worker>, random: Random, allowed: &'s AtomicU64) -> Self {
        Self { site, workers, random, allowed, inside: 0, nodes: 0, database: 0 }
    }

    /// Kills each victim once, each in the middle of a share of the jobs.
    async fn round(&mut self, share: u64) {
        let mut victims = VICTIMS[..victims()].to_vec();
        for place in (1..victims.len()).rev() {
            victims.swap(place, self.random.below(place + 1));
        }
        for (number, victim) in victims.into_iter().enumerate() {
            let limit = if number % 2 == 0 { LIMIT } else { 0 };
            self.site.limit(&mut self.workers[number % 2], limit).await;
            let (ended, others) = (self.site.ended(), self.site.others());
            self.allowed.fetch_add(share / 2, Ordering::Relaxed);
            self.site.until_ended(ended + share / 5).await;
            // The kill comes while the other half is being enqueued.
            self.allowed.fetch_add(share - share / 2, Ordering::Relaxed);
            sleep(self.random.millis(0..100)).await;
            let executing = "select count(*) from jobs.jobs where state = 'executing'";
            let executing = self.site.cluster.number(executing).await.unwrap_or(-1);
            let took = self.site.took().as_secs_f64();
            let ended = self.site.ended();
            eprintln!(
                "{took:.1} s: {ended} ended, {executing} executing, {others} others; {victim:?}"
            );
            self.kill(victim).await;
        }
    }

    async fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Attempts => {
                let (count, place) = (1 + self.random.below(8), self.random.below(1_000));
                let queue = HARMED.to_owned();
                self.within_domain(&Say::KillAttempts { queue, count, place }).await;
            }
            Victim::Child(place) => {
                self.within_domain(&Say::Kill(format!("root/domains/{HARMED}{place}"))).await;
            }
            Victim::Duties => self.within_domain(&Say::Kill("root/jobs".to_owned())).await,
            Victim::Node => {
                let place = self.random.below(self.workers.len());
                self.workers[place].kill_and_start_again().await;
                self.nodes += 1;
            }
            Victim::BothNodes => {
                for worker in &mut self.workers {
                    worker.kill().await;
                }
                for worker in &mut self.workers {
                    worker.kill_and_start_again().await;
                }
                self.nodes += 2;
            }
            Victim::Session => {
                let backends = self.site.cluster.backends();
                let place = self.random.below(backends.len().max(1));
                signal("KILL", backends.get(place..=place).unwrap_or_default());
                self.database += 1;
            }
            Victim::Sessions => {
                let everybody = "select pg_terminate_backend(pid) from pg_stat_activity
                     where usename = 'finnest_app'";
                // It may be recovering from the kill before.
                let _ = sqlx::query(everybody).execute(&self.site.cluster.owner).await;
                self.database += 1;
            }
            Victim::Postgres(name) => {
                let postmaster = self.site.cluster.postmaster();
                signal(name, &postmaster.into_iter().collect::<Vec<_>>());
                self.database += 1;
            }
        }
    }

    /// Has a node kill something again and again, until the other domain is well ahead of where it
    /// was when that began.
    async fn within_domain(&mut self, say: &Say) {
        let place = self.random.below(self.workers.len());
        let target = self.site.others() + PROGRESS;
        let (site, worker, inside) = (self.site, &mut self.workers[place], &mut self.inside);
        until("another domain", PATIENCE, async || {
            *inside += worker.say(say).await;
            site.others() >= target
        })
        .await;
    }

    /// How often anything of the other domain was started again since its nodes were.
    async fn restarts_of_the_other(&mut self) -> u64 {
        let mut restarts = 0;
        for worker in &mut self.workers {
            for place in ["", "/queue", "/queue/producer", "/queue/attempts"] {
                let path = format!("root/domains/{OTHER}{place}");
                restarts += worker.say(&Say::Restarts(path)).await;
            }
        }
        restarts
    }
}

/// Enqueues everything from several clients, never more jobs than are allowed so far.
async fn enqueue(site: &Site, lists: &[Vec<Unit>], allowed: &AtomicU64, unanswered: &AtomicU64) {
    let enqueued = AtomicU64::new(0);
    let client = async |mine: Vec<&Vec<Unit>>| {
        let mut ticks = interval(Duration::from_millis(10));
        for unit in mine.into_iter().flatten() {
            let jobs = unit.job_ids.len() as u64;
            let after = enqueued.fetch_add(jobs, Ordering::Relaxed) + jobs;
            while after > allowed.load(Ordering::Relaxed) {
                ticks.tick().await;
            }
            unanswered.fetch_add(site.enqueuer.enqueue_unit(unit).await, Ordering::Relaxed);
        }
    };
    let share = |client| lists.iter().skip(client).step_by(CLIENTS).collect();
    join_all((0..CLIENTS).map(|number| client(share(number)))).await;
}

/// Keeps the other queue supplied until `is_done`; what it was given.
async fn enqueue_others(site: &Site, is_done: &AtomicBool) -> Vec<Expected> {
    let (mut given, mut ticks) = (Vec::new(), interval(Duration::from_millis(20)));
    while !is_done.load(Ordering::Relaxed) {
        ticks.tick().await;
        if (given.len() as u64) < site.others() + 60 {
            let first = OTHERS + i64::try_from(given.len()).expect("it fits into memory");
            let (expected, jobs) = alike(OTHER, Way::Command, first..first + 20);
            site.enqueuer.enqueue(&jobs).await;
            given.extend(expected);
        }
    }
    given
}
