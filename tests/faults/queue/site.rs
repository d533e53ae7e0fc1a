//! The site of a trial: a server, the tables in which effects are counted, and how far it is.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use kernel::Timestamp;
use otp::Clock;
use sqlx::ConnectOptions as _;
use tokio::time::{Instant, interval};

use super::enqueuer::Enqueuer;
use super::expected::Expected;
use super::verdict::{self, Verdict};
use super::worker::Worker;
use crate::amount::is_full;
use crate::cluster::Cluster;
use crate::random::{self, Random};
use faults::order::{Order, Say};

/// The queue that harm is done to.
pub(crate) const HARMED: &str = "recruit";
/// The queue of another domain, which must not notice.
pub(crate) const OTHER: &str = "payroll";

/// How many jobs of the harmed queue execute.
const EXECUTING: &str =
    "select count(*) from jobs.jobs where queue = 'recruit' and state = 'executing'";
/// How many attempts each node runs at once: of the harmed queue, and of the other.
const LIMITS: [(&str, u32); 2] = [(HARMED, 12), (OTHER, 4)];
/// How long the queues may take until everything has ended, on a machine that is busy otherwise.
const SETTLES_WITHIN: Duration = Duration::from_mins(5);
/// How long anything else that is waited for may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where effects leave their traces: nothing in these tables would hide a second one.
const TABLES: &str = "
create table faults.effects (
    place bigint generated always as identity,
    number bigint not null,
    queue text not null,
    job_id uuid not null
);
create index on faults.effects (queue);
create table faults.calls (number bigint not null, key uuid not null);
create table faults.early (number bigint not null);
create table faults.gate (is_open boolean not null);
insert into faults.gate values (false);
grant usage on schema faults to finnest_runtime, finnest_app;
grant insert on faults.effects, faults.calls, faults.early to finnest_runtime, finnest_app;
grant select on faults.gate to finnest_runtime, finnest_app;
";

/// A server for jobs, and what is known of them.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) enqueuer: Enqueuer,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    began: Instant,
    /// Jobs of the harmed queue that have ended, as last seen.
    ended: AtomicU64,
    /// Effects of the other queue, as last seen.
    others: AtomicU64,
    /// How many jobs of the harmed queue may execute at once at the moment; any number if it is 0.
    limit: AtomicI64,
    limited: Limited,
}

/// What was seen of the harmed queue while it was limited.
#[derive(Debug, Default)]
struct Limited {
    /// How often anybody looked.
    looks: AtomicU64,
    /// The most jobs that executed at once.
    most: AtomicI64,
}

impl Site {
    /// A server without jobs. Tells the seed, by which a test that hangs is repeated as well.
    pub(crate) async fn start(name: &str) -> Self {
        let (seed, began) = (random::seed(), Instant::now());
        eprintln!("{name}: FINNEST_FAULTS_SEED={seed}");
        let cluster = Cluster::start(name).await;
        cluster.run(TABLES).await;
        let enqueuer = Enqueuer::new(&cluster.app());
        Self {
            cluster,
            enqueuer,
            clock: Clock::system(),
            seed,
            began,
            ended: AtomicU64::new(0),
            others: AtomicU64::new(0),
            limit: AtomicI64::new(0),
            limited: Limited::default(),
        }
    }

    /// What decides everything that is left to chance.
    pub(crate) fn random(&self) -> Random {
        Random::new(self.seed)
    }

    /// How long the trial has taken so far.
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// The order for a node of that name with both queues.
    pub(crate) fn order(&self, name: &str) -> Order {
        Order {
            name: name.to_owned(),
            database_url: self.cluster.app().to_url_lossy().to_string(),
            queues: LIMITS.map(|(queue, limit)| (queue.to_owned(), limit)).to_vec(),
            dedicated: None,
            release: None,
        }
    }

    /// A node of that name with both queues.
    pub(crate) fn worker(&self, name: &str) -> Worker {
        Worker::start(self.order(name))
    }

    /// Looks how far the jobs are, again and again until `is_done`, and cuts the waits between
    /// attempts short, as an operator may.
    pub(crate) async fn watch(&self, is_done: &AtomicBool) {
        // A look at many jobs takes its time.
        let mut ticks = interval(Duration::from_millis(if is_full() { 200 } else { 50 }));
        for round in 0_u32.. {
            ticks.tick().await;
            if is_done.load(Ordering::Relaxed) {
                break;
            }
            self.look().await;
            if is_full() || round.is_multiple_of(4) {
                // While the server is away, nobody waits.
                let hurry = "update jobs.jobs set scheduled_at = now()
                     where state = 'retryable' and scheduled_at > now()";
                let _ = sqlx::query(hurry).execute(&self.cluster.owner).await;
            }
        }
    }

    /// Watches while something else is done.
    pub(crate) async fn watched<T>(&self, doing: impl Future<Output = T>) -> T {
        let is_done = AtomicBool::new(false);
        let doing = async {
            let done = doing.await;
            is_done.store(true, Ordering::Relaxed);
            done
        };
        tokio::join!(doing, self.watch(&is_done)).0
    }

    async fn look(&self) {
        let ended = "select count(*) from jobs.finished where queue = 'recruit'";
        let others = "select count(*) from faults.effects where queue = 'payroll'";
        for (count, query) in [(&self.ended, ended), (&self.others, others)] {
            if let Some(number) = self.cluster.number(query).await {
                count.store(number.unsigned_abs(), Ordering::Relaxed);
            }
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let executing = self.cluster.number(EXECUTING).await.unwrap_or(0);
        // A limit that was lifted meanwhile says nothing about what was seen.
        if limit > 0 && self.limit.load(Ordering::Relaxed) == limit {
            self.limited.looks.fetch_add(1, Ordering::Relaxed);
            self.limited.most.fetch_max(executing, Ordering::Relaxed);
        }
    }

    /// Has a node limit how many jobs of the harmed queue execute at once, and holds it to that.
    pub(crate) async fn limit(&self, worker: &mut Worker, limit: u32) {
        self.limit.store(0, Ordering::Relaxed);
        let say = Say::Limit { queue: HARMED.to_owned(), limit };
        until("the limit", PATIENCE, async || worker.say(&say).await == 1).await;
        if limit > 0 {
            // Claims that began before may still take what was free then.
            let said_at = self.clock.now();
            until("earlier claims", PATIENCE, async || self.is_open_since(said_at).await).await;
            let limit = i64::from(limit);
            let is_within =
                async || self.cluster.number(EXECUTING).await.is_some_and(|n| n <= limit);
            until("earlier attempts", PATIENCE, is_within).await;
            self.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// Whether no transaction of the nodes is older than that.
    async fn is_open_since(&self, time: Timestamp) -> bool {
        let older = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where usename = 'finnest_app' and xact_start < $1",
        );
        older.bind(time).fetch_one(&self.cluster.owner).await.is_ok_and(|older: i64| older == 0)
    }

    /// In how many looks the harmed queue was limited, and how many jobs executed at most in one.
    pub(crate) fn limited(&self) -> (u64, i64) {
        let Limited { looks, most } = &self.limited;
        (looks.load(Ordering::Relaxed), most.load(Ordering::Relaxed))
    }

    /// How many jobs of the harmed queue have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// How many effects the other queue has had.
    pub(crate) fn others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }

    /// Waits until `ended` jobs of the harmed queue have ended; somebody must be watching.
    pub(crate) async fn until_ended(&self, ended: u64) {
        until("jobs to end", PATIENCE, async || self.ended() >= ended).await;
    }

    /// Waits until a count of the owner's is reached.
    pub(crate) async fn until_count(&self, query: &'static str, expected: i64) {
        let is_reached = async || self.cluster.number(query).await == Some(expected);
        until(query, PATIENCE, is_reached).await;
    }

    /// Opens the gate before which jobs wait, or closes it.
    pub(crate) async fn set_gate(&self, is_open: bool) {
        let set = "update faults.gate set is_open = $1";
        let set = sqlx::query(set).bind(is_open).execute(&self.cluster.owner).await;
        set.expect("the server is there");
    }

    /// Waits until every job has ended and was swept, and judges.
    pub(crate) async fn judge(&self, expected: &[Expected]) -> Verdict {
        let settling = async {
            let deadline = Instant::now() + SETTLES_WITHIN;
            let mut ticks = interval(Duration::from_millis(100));
            // A job may leave another, so none may be left in the same look.
            while self.cluster.number("select count(*) from jobs.jobs").await != Some(0) {
                ticks.tick().await;
                // What is left then is told by the verdict.
                if Instant::now() > deadline {
                    break;
                }
            }
        };
        self.watched(settling).await;
        verdict::judge(&self.cluster.owner, expected).await
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    let mut ticks = interval(Duration::from_millis(20));
    while !is_so().await {
        ticks.tick().await;
        assert!(Instant::now() < deadline, "waited too long for {what}");
    }
}
