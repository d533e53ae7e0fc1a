//! The clocks of two nodes jump, forward and back, each by itself, while jobs wait for their time
//! and others recur.

use chrono::TimeDelta;
use faults::perform::performers;
use faults::work::{WORK, Way, Work};
use jobs::cron::{self, Crontab};
use jobs::{CronEntry, Missed, Performers, Queues, Schedule, drain, lifeline, stager, sweeper};
use kernel::Timestamp;
use otp::Clock;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::expected::alike;
use super::site::{HARMED, OTHER, Site};
use super::table::Row;
use super::verdict::Verdict;
use crate::amount::times;

/// How far a clock jumps from the right time at most.
const FORWARD_MINUTES_MAX: u64 = 30;
const BACK_MINUTES_MAX: u64 = 180;
/// How much time passes from one jump to the next.
const STEP_MINUTES: u64 = 10;
/// Work that recurs is numbered from here, downwards.
const RECURRING: [i64; 2] = [-1, -2];

/// A node, which does its duties when it is told to, by a clock of its own.
struct Node {
    name: &'static str,
    clock: Clock,
    pool: PgPool,
    queues: Queues,
    crontab: Crontab,
    performers: Performers,
}

impl Node {
    fn new(name: &'static str, pool: &PgPool, clock: Clock) -> Self {
        Self {
            name,
            queues: Queues::new(pool.clone(), clock.clone(), name),
            crontab: Crontab::new(recurring()),
            performers: performers(pool.clone(), clock.clone(), None),
            pool: pool.clone(),
            clock,
        }
    }

    /// The same node after a restart: it remembers nothing.
    fn restarted(&self) -> Self {
        Self::new(self.name, &self.pool, self.clock.clone())
    }

    /// One round of everything it does; how many jobs recurred.
    async fn round(&self) -> u64 {
        lifeline::beat(&self.queues).await.expect("the server is there");
        lifeline::rescue(&self.queues).await.expect("the server is there");
        let recurred = cron::tick(&self.queues, &self.crontab).await.expect("the server is there");
        stager::stage(&self.queues).await.expect("the server is there");
        for queue in [HARMED, OTHER] {
            let drained = drain::drain(&self.queues, queue, &self.performers).await;
            drained.expect("nobody takes its jobs away");
        }
        sweeper::sweep(&self.queues).await.expect("the server is there");
        recurred
    }
}

/// What recurs: each minute by some clock, of which the latest makes up for those that were missed,
/// and every seven, of which none is left out unless it is too many.
fn recurring() -> Vec<CronEntry> {
    let schedules = [("* * * * *", Missed::Latest), ("every 7 minutes", Missed::All(5))];
    let entry = |(number, (schedule, missed)): (i64, (&str, Missed))| {
        let schedule = Schedule::parse(schedule, None).expect("it is well-formed");
        CronEntry {
            args: serde_json::to_value(Work { number, way: Way::Command }).expect("it is JSON"),
            missed,
            ..CronEntry::new(format!("faults.recurring{number}"), schedule, OTHER, WORK)
        }
    };
    RECURRING.into_iter().zip(schedules).map(entry).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_jump_run_nothing_twice_and_lose_nothing() {
    let site = Site::start("clocks").await;
    let mut random = site.random();
    let pool = PgPoolOptions::new().max_connections(8).connect_lazy_with(site.cluster.app());
    let began = site.clock.now();
    let minutes = |minutes: u64| TimeDelta::minutes(minutes.cast_signed());
    let jumps = times(400, 30);
    let all = STEP_MINUTES * u64::from(jumps);
    let (expected, mut jobs) = alike(HARMED, Way::Command, 0..times(5_000, 150).into());
    for job in &mut jobs {
        job.scheduled_at = Some(began + minutes(random.within(0..all)));
    }
    site.enqueuer.enqueue(&jobs).await;
    let node = |name| Node::new(name, &pool, Clock::manual(began));
    let mut nodes = ["one", "two"].map(node);

    let (mut latest, mut recurred, mut early) = (began, 0, 0);
    for step in 0..u64::from(jumps) {
        let right = began + minutes(step * STEP_MINUTES);
        let now = match random.below(2) {
            0 => right + minutes(random.within(0..FORWARD_MINUTES_MAX)),
            _ => right - minutes(random.within(0..BACK_MINUTES_MAX)),
        };
        latest = latest.max(now);
        let place = random.below(2);
        nodes[place].clock.set(now);
        match random.below(4) {
            0 => {
                // Both at once, and of one mind.
                nodes[1 - place].clock.set(now);
                let (one, two) = tokio::join!(nodes[0].round(), nodes[1].round());
                recurred += one + two;
            }
            1 => {
                nodes[place] = nodes[place].restarted();
                recurred += nodes[place].round().await;
            }
            _ => recurred += nodes[place].round().await,
        }
        early += early_count(&site, latest).await;
    }
    for node in &nodes {
        node.clock.set(began + minutes(all));
        recurred += node.round().await;
    }

    let mut verdict = super::verdict::judge(&site.cluster.owner, &expected).await;
    // By the clock of the node that claims a job, it may be early; by that which staged it, never.
    verdict.wrong.early = early;
    let ticks = tell(&site, verdict, jumps, recurred).await;
    assert_eq!(ticks, [recurred; 4], "jobs, their ticks, effects, and jobs with an effect");
    assert!(recurred > u64::from(jumps) / 10, "{recurred} jobs in {jumps} jumps");
    site.cluster.stop().await;
}

/// How many jobs were done although no clock has ever told their time.
async fn early_count(site: &Site, latest: Timestamp) -> usize {
    let early: i64 = sqlx::query_scalar(
        "select count(*) from jobs.every_job
         where queue = 'recruit' and state = 'completed' and scheduled_at > $1",
    )
    .bind(latest)
    .fetch_one(&site.cluster.owner)
    .await
    .expect("the owner may look at everything");
    usize::try_from(early).expect("a count")
}

/// Tells what came out; the jobs that recurred, their ticks, their effects and those with any.
async fn tell(site: &Site, verdict: Verdict, jumps: u32, recurred: u64) -> [u64; 4] {
    let row = Row {
        fault: "Clocks of two nodes that jump, each by itself",
        harm: format!(
            "{jumps} jumps, up to {FORWARD_MINUTES_MAX} minutes forward and {BACK_MINUTES_MAX} \
             back; {recurred} jobs recurred meanwhile, each for a tick of its own"
        ),
        verdict,
    };
    row.tell(site);
    let counts = [
        "select count(*) from jobs.every_job where queue = 'payroll' and state = 'completed'",
        "select count(distinct unique_key) from jobs.every_job where queue = 'payroll'",
        "select count(*) from faults.effects where queue = 'payroll'",
        "select count(distinct job_id) from faults.effects where queue = 'payroll'",
    ];
    let mut found = [0; 4];
    for (place, count) in counts.into_iter().enumerate() {
        found[place] = site.cluster.number(count).await.expect("it is there").unsigned_abs();
    }
    found
}
