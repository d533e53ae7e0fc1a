//! Chains: one after another, in the order of the commits, whatever happens to each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use jobs::drain::{drain, unsettled};
use jobs::{Attempt, Chain, Failure, JobState, NewJob, Outcome, Performed, admin, stager, sweeper};
use kernel::JobId;
use serde_json::json;
use sqlx::PgPool;

use crate::world::{QUEUE, World, job_row, performing, start_swept, until};

/// So many inserters at once.
const RIVALS: u32 = 32;
/// Each enqueues so many jobs, in turns for each of the chains.
const EACH: u32 = 9;
const CHAINS: u32 = 3;

#[tokio::test]
async fn jobs_of_a_chain_are_performed_in_the_order_of_their_commits_over_all_nodes() {
    let world = World::new().await;
    let ledger = "create table numbers (job_id uuid, number bigint generated always as identity);
         grant insert on numbers to finnest_runtime";
    sqlx::raw_sql(ledger).execute(&world.owner).await.expect("the owner may");
    let pool = world.connections(RIVALS).await;
    let performed = Arc::new(Mutex::new(Performing::default()));
    let mut roots = Vec::new();
    let mut nodes = Vec::new();
    for name in ["one", "two", "three"] {
        let queues = world.node(name).await;
        let performers = stumbling(&performed);
        roots.push(start_swept(&world, &queues, performers).await);
        nodes.push(queues);
    }

    let rivals = (0..RIVALS).map(async |rival| {
        for number in 0..EACH {
            insert_numbered(&pool, &world, (rival + number) % CHAINS).await;
            nodes[0].nudge(QUEUE);
        }
    });
    join_all(rivals).await;
    let all = i64::from(RIVALS * EACH);
    until("all jobs to be performed", async || {
        // Those that stumbled are tried again when their time has come.
        world.clock.advance(Duration::from_mins(1));
        stager::stage(&nodes[1]).await.expect("the database is there");
        tokio::time::sleep(Duration::from_millis(5)).await;
        world.count("completed").await == all
    })
    .await;

    let numbers: Vec<(JobId, String)> = sqlx::query_as(
        "select job_id, job.chain_key from numbers join jobs.every_job as job on job.id = job_id
         order by number",
    )
    .fetch_all(&world.owner)
    .await
    .expect("the owner may");
    let mut expected: BTreeMap<String, Vec<JobId>> = BTreeMap::new();
    for (job_id, key) in numbers {
        expected.entry(key).or_default().push(job_id);
    }
    for root in roots {
        root.stop().await;
    }
    let performed = performed.lock().unwrap();
    assert_eq!(performed.overlaps, 0);
    assert!(performed.stumbles > 0);
    assert_eq!(performed.effects, expected);
}

/// What the jobs of the test above did.
#[derive(Default)]
struct Performing {
    running: BTreeSet<String>,
    overlaps: u32,
    stumbles: u32,
    effects: BTreeMap<String, Vec<JobId>>,
}

/// Performs jobs, one in four of them at its second attempt only.
fn stumbling(performed: &Arc<Mutex<Performing>>) -> jobs::Performers {
    let performed = performed.clone();
    performing(move |attempt: Attempt| {
        let performed = performed.clone();
        async move {
            let key = attempt.args["chain"].to_string();
            if !performed.lock().unwrap().running.insert(key.clone()) {
                performed.lock().unwrap().overlaps += 1;
            }
            tokio::task::yield_now().await;
            let mut performed = performed.lock().unwrap();
            performed.running.remove(&key);
            if attempt.number == 1 && attempt.job_id.uuid().as_u128().is_multiple_of(4) {
                performed.stumbles += 1;
                return Err(Failure::Retry("stumbled".into()));
            }
            performed.effects.entry(key).or_default().push(attempt.job_id);
            Ok(Performed::Outcome(Outcome::Complete))
        }
    })
}

/// Enqueues a job of a chain, and then numbers it: nobody else of the chain does so in between.
async fn insert_numbered(pool: &PgPool, world: &World, chain: u32) {
    let job = NewJob {
        chain: Some(Chain::by(chain.to_string())),
        ..world.job(json!({ "chain": chain }))
    };
    let begin = "begin; set local role finnest_runtime";
    let mut transaction = pool.begin_with(begin).await.expect("the database is there");
    let enqueued = jobs::enqueue(&mut transaction, &job, world.clock.now()).await;
    sqlx::query("insert into numbers (job_id) values ($1)")
        .bind(job.job_id)
        .execute(&mut *transaction)
        .await
        .expect("the runtime may");
    transaction.commit().await.expect("the database is there");
    enqueued.expect("the job is well-formed");
}

#[tokio::test]
async fn a_job_that_is_to_be_retried_keeps_those_behind_it_waiting() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let [first, second] = chained(&world, Chain::by("a")).await;
    let performers = performing(move |attempt: Attempt| async move {
        if attempt.job_id == first && attempt.number == 1 {
            return Err(Failure::Retry("not yet".into()));
        }
        Ok(Performed::Outcome(Outcome::Complete))
    });

    drain(&queues, QUEUE, &performers).await.expect("the job is performed");
    let meanwhile = job_row(&queues, second).await.state;
    world.clock.advance(Duration::from_mins(1));
    drain(&queues, QUEUE, &performers).await.expect("the jobs are performed");

    assert_eq!(meanwhile, JobState::Scheduled);
    assert_eq!(job_row(&queues, second).await.state, JobState::Completed);
}

#[tokio::test]
async fn a_chain_goes_on_after_a_discarded_job_or_holds_if_it_is_to() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let [passed, goes_on] = chained(&world, Chain::by("c")).await;
    let [awaited, held] = chained(&world, Chain::by("b").hold_if_discarded()).await;
    let failing = performing(move |attempt: Attempt| async move {
        if [goes_on, held].contains(&attempt.job_id) {
            return Ok(Performed::Outcome(Outcome::Complete));
        }
        Err(Failure::Retry("it went wrong".into()))
    });

    drain(&queues, QUEUE, &failing).await.expect("the jobs are performed");
    // Whoever comes later holds too, behind the one that does.
    let [later, last] = chained(&world, Chain::by("b").hold_if_discarded()).await;
    drain(&queues, QUEUE, &failing).await.expect("the jobs are performed");

    let moving = unsettled(&queues).await;
    // What failed keeps its place if it is waited for, and comes last if the chain went on.
    chained(&world, Chain::by("c")).await;
    let passed = admin::retry_job(&queues, passed).await;
    let awaited = admin::retry_job(&queues, awaited).await;
    let passed = passed.expect("it was discarded");
    assert_eq!((passed.state, passed.waits_for), (JobState::Scheduled, 1));
    assert_eq!(awaited.expect("it was discarded").state, JobState::Available);
    assert_eq!(job_row(&queues, goes_on).await.state, JobState::Completed);
    for job_id in [held, later, last] {
        assert_eq!(job_row(&queues, job_id).await.state, JobState::Scheduled);
    }
    assert_eq!(moving.ok(), Some(Vec::new()));
}

#[tokio::test]
async fn nobody_overtakes_a_running_job_because_one_between_them_was_cancelled() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let [first, second] = chained(&world, Chain::by("a")).await;
    let [third, _] = chained(&world, Chain::by("a")).await;
    let mut claiming = world.runtime().await;
    let now = world.clock.now();
    let claimed = jobs::claim(&mut claiming, QUEUE, 9, "one", now).await;
    claiming.commit().await.expect("the database is there");

    admin::cancel_job(&queues, second).await.expect("it waits");
    sweeper::sweep(&queues).await.expect("the database is there");
    let meanwhile = job_row(&queues, third).await.state;
    let moving = unsettled(&queues).await.expect("the database is there");
    let mut domain = world.domain(world.org_id).await;
    let done = jobs::complete(&mut domain, first, 1, now).await;
    domain.commit().await.expect("the database is there");
    sweeper::sweep(&queues).await.expect("the database is there");

    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(1));
    assert_eq!((meanwhile, done.ok()), (JobState::Scheduled, Some(true)));
    assert_eq!((moving.len(), moving[0].queue.as_str(), moving[0].count), (1, QUEUE, 1));
    assert_eq!(job_row(&queues, third).await.state, JobState::Available);
}

#[tokio::test]
async fn a_slow_inserter_does_not_keep_a_chain_from_going_on() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let [first, second] = chained(&world, Chain::by("a")).await;
    let mut claiming = world.runtime().await;
    let now = world.clock.now();
    let claimed = jobs::claim(&mut claiming, QUEUE, 9, "one", now).await;
    claiming.commit().await.expect("the database is there");

    let third = NewJob { chain: Some(Chain::by("a")), ..world.job(json!({})) };
    let mut slow = world.domain(world.org_id).await;
    jobs::enqueue(&mut slow, &third, now).await.expect("the job is well-formed");
    let mut domain = world.domain(world.org_id).await;
    let done = jobs::complete(&mut domain, first, 1, now).await;
    domain.commit().await.expect("the database is there");
    sweeper::sweep(&queues).await.expect("the database is there");
    let meanwhile = job_row(&queues, second).await.state;
    slow.commit().await.expect("the database is there");

    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(1));
    assert_eq!((done.ok(), meanwhile), (Some(true), JobState::Available));
    assert_eq!(job_row(&queues, third.job_id).await.waits_for, 1);
}

#[tokio::test]
async fn a_chain_that_is_done_leaves_nothing_behind() {
    let world = World::new().await;
    let queues = world.node("one").await;
    chained(&world, Chain::by("a")).await;
    let completing = performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) });

    drain(&queues, QUEUE, &completing).await.expect("the jobs are performed");

    let left =
        "select (select count(*) from jobs.chains) + (select count(*) from jobs.dependencies)";
    let left: Result<i64, _> = sqlx::query_scalar(left).fetch_one(&world.owner).await;
    assert_eq!(left.ok(), Some(0));
    assert_eq!(world.count("completed").await, 2);
}

/// Two jobs of a chain, enqueued at once by the domain; with two attempts each in the chain `a`.
async fn chained(world: &World, chain: Chain) -> [JobId; 2] {
    let max_attempts = if chain == Chain::by("a") { 2 } else { 1 };
    let job = || NewJob { chain: Some(chain.clone()), max_attempts, ..world.job(json!({})) };
    let both = [job(), job()];
    let mut domain = world.domain(world.org_id).await;
    let enqueued = jobs::enqueue_all(&mut domain, &both, world.clock.now()).await;
    domain.commit().await.expect("the database is there");
    enqueued.expect("the jobs are well-formed");
    both.map(|job| job.job_id)
}
