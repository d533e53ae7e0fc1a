//! Jobs that depend on jobs: chains, workflows, batches. What must be enqueued together is a unit,
//! and the order of effects shows whether anybody began too early.

use std::iter::repeat_n;

use faults::work::Way;
use jobs::{Batch, BatchEvent, Chain, NewJob, Workflow};
use kernel::JobId;
use sqlx::PgPool;

use super::expected::{Expected, job};
use super::site::HARMED;

/// Their work is numbered from here. The last digits are the place within a chain, workflow or
/// batch.
const CHAINS: i64 = 20_000_000;
const WORKFLOWS: i64 = 30_000_000;
const BATCHES: i64 = 40_000_000;
/// How many jobs a chain has, and in how many transactions they are enqueued.
const LINKS: i64 = 20;
const PARTS: usize = 4;
/// How many jobs a batch has, callbacks not counted.
const MEMBERS: i64 = 5;
/// The places of the callbacks of a batch.
const WHEN_DISCARDED: i64 = 7;
const WHEN_COMPLETED: i64 = 8;
const WHEN_EXHAUSTED: i64 = 9;

/// What is enqueued in one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) job_ids: Vec<JobId>,
    pub(crate) what: What,
}

/// What a unit consists of.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Jobs(Vec<NewJob>),
    Workflow(Workflow),
    Batch(Batch),
}

impl Unit {
    /// Jobs that do not depend on each other, or chains in their order.
    pub(crate) fn of(jobs: &[NewJob]) -> Self {
        let job_ids = jobs.iter().map(|job| job.job_id).collect();
        Self { job_ids, what: What::Jobs(jobs.to_vec()) }
    }
}

/// So many chains, workflows and batches each. The units of one chain are in one list, in order.
pub(crate) fn flows(count: i64) -> (Vec<Expected>, Vec<Vec<Unit>>) {
    let (mut expected, mut units) = (Vec::new(), Vec::new());
    for number in 0..count {
        units.push(chain(number, &mut expected));
        units.push(vec![workflow(number, &mut expected)]);
        units.push(vec![batch(number, &mut expected)]);
    }
    (expected, units)
}

/// A job for new work, which is written down.
fn add(expected: &mut Vec<Expected>, number: i64, way: Way) -> NewJob {
    let work = Expected { number, way };
    expected.push(work);
    job(HARMED, work)
}

fn chain(number: i64, expected: &mut Vec<Expected>) -> Vec<Unit> {
    let ways = [Way::Command, Way::Flaky, Way::Command, Way::Panicking, Way::Command];
    let ways = ways.into_iter().chain([Way::Snoozing, Way::Hopeless]).cycle();
    let first = CHAINS + 100 * number;
    let mut jobs = Vec::new();
    for (number, way) in (first..first + LINKS).zip(ways) {
        let link = add(expected, number, way);
        jobs.push(NewJob { chain: Some(Chain::by(format!("chain {first}"))), ..link });
    }
    jobs.chunks(jobs.len() / PARTS).map(Unit::of).collect()
}

/// Four steps: one, then two beside each other, then one that waits for both. In each third
/// workflow a step fails for good, and then the last one is cancelled.
fn workflow(number: i64, expected: &mut Vec<Expected>) -> Unit {
    let fails = number % 3 == 2;
    let (beside, last) =
        if fails { (Way::Hopeless, Way::Dependent) } else { (Way::Command, Way::Command) };
    let first = WORKFLOWS + 10 * number;
    let steps = [Way::Command, Way::Flaky, beside, last];
    let jobs: Vec<NewJob> =
        (first..).zip(steps).map(|(number, way)| add(expected, number, way)).collect();
    let job_ids = jobs.iter().map(|job| job.job_id).collect();
    let [fetch, score, check, offer] = jobs.try_into().expect("there are four");
    let workflow = Workflow::new("faults")
        .step_after("offer", offer, ["score", "check"])
        .step_after("check", check, ["fetch"])
        .step_after("score", score, ["fetch"])
        .step("fetch", fetch);
    Unit { job_ids, what: What::Workflow(workflow) }
}

/// Five jobs and what follows from them. In each second batch one fails for good.
fn batch(number: i64, expected: &mut Vec<Expected>) -> Unit {
    let fails = number % 2 == 1;
    let first = BATCHES + 10 * number;
    let others = repeat_n(Way::Command, 2).chain([Way::Outside, Way::Snoozing]);
    let ways = [if fails { Way::Hopeless } else { Way::Flaky }].into_iter().chain(others);
    let jobs: Vec<NewJob> = (first..first + MEMBERS)
        .zip(ways)
        .map(|(number, way)| add(expected, number, way))
        .collect();
    let job_ids = jobs.iter().map(|job| job.job_id).collect();
    let mut callback = |place| add(expected, first + place, Way::Command);
    let exhausted = callback(WHEN_EXHAUSTED);
    let (event, other) = if fails {
        (BatchEvent::Discarded, callback(WHEN_DISCARDED))
    } else {
        (BatchEvent::Completed, callback(WHEN_COMPLETED))
    };
    // What never happens is waited for as well; nobody expects its work.
    let never = if fails { BatchEvent::Completed } else { BatchEvent::Discarded };
    let nothing = job(HARMED, Expected { number: first + MEMBERS, way: Way::Command });
    let batch = Batch::new("faults", jobs)
        .when(BatchEvent::Exhausted, exhausted)
        .when(event, other)
        .when(never, nothing);
    Unit { job_ids, what: What::Batch(batch) }
}

/// How many effects came before one that they had to follow.
pub(crate) async fn out_of_order(owner: &PgPool) -> i64 {
    sqlx::query_scalar(
        "with ordered as (
             select number, place,
                 lag(number) over (partition by number / 100 order by place) as before
             from faults.effects where number >= 20000000 and number < 30000000
         )
         select (select count(*) from ordered where before > number)
             + (select count(*)
                from faults.effects as earlier
                join faults.effects as later on later.number / 10 = earlier.number / 10
                where earlier.number >= 30000000 and earlier.number < 40000000
                    and (earlier.number % 10 = 0 or later.number % 10 = 3)
                    and earlier.number < later.number and earlier.place > later.place)
             + (select count(*)
                from faults.effects as earlier
                join faults.effects as later on later.number / 10 = earlier.number / 10
                where earlier.number >= 40000000 and earlier.number < 50000000
                    and earlier.number % 10 < 7 and later.number % 10 >= 8
                    and earlier.place > later.place)",
    )
    .fetch_one(owner)
    .await
    .expect("the owner may look at everything")
}
