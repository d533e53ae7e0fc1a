//! Limits that hold over all nodes: how many execute at once, and how many start within a period.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use jobs::drain::drain;
use jobs::producer::QueueOptions;
use jobs::{
    Failure, Limits, NewJob, Outcome, PartitionBy, Performed, Performers, Queues, lifeline,
    settings,
};
use kernel::{OrgId, Scope};
use otp::{Clock, Root};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::world::{QUEUE, WORK, World, performing, start_with, until};

const DONE: Result<Performed, Failure> = Ok(Performed::Outcome(Outcome::Complete));
const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_together_never_execute_more_than_the_global_limit() {
    let world = World::new().await;
    let limits = Limits { global_limit: Some(3), ..Limits::default() };
    let (opened, gate) = watch::channel(false);
    let nodes = watched_nodes(&world, &limits, gate).await;
    world.enqueue_many(80).await;

    nudge(&nodes);
    world.until_count("executing", 3).await;
    opened.send(true).expect("the attempts wait");
    world.until_count("completed", 80).await;

    assert_eq!(most_at_once(&world.owner).await, [(String::new(), 3)]);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_together_never_execute_more_of_a_partition_than_its_limit() {
    let world = World::new().await;
    let limits = Limits {
        partition_by: Some(PartitionBy::Argument("client.id".into())),
        partition_limit: Some(2),
        ..Limits::default()
    };
    let (opened, gate) = watch::channel(false);
    let nodes = watched_nodes(&world, &limits, gate).await;
    for number in 0..90 {
        let client = ["acme", "blue", "coal"][number % 3];
        world.enqueue(&world.job(json!({ "client": { "id": client } }))).await;
    }

    nudge(&nodes);
    world.until_count("executing", 6).await;
    opened.send(true).expect("the attempts wait");
    world.until_count("completed", 90).await;

    let most = most_at_once(&world.owner).await;
    assert_eq!(most, [("acme".to_owned(), 2), ("blue".to_owned(), 2), ("coal".to_owned(), 2)]);
    stop(nodes).await;
}

#[tokio::test]
async fn a_tenant_with_many_jobs_does_not_starve_another() {
    let world = World::new().await;
    let queues = world.node("one").await;
    queues.set_limits(QUEUE, by(PartitionBy::Organisation));
    settle(&queues).await;
    let (large, small) = (OrgId::new(), OrgId::new());
    enqueue_for(&world, large, 5_000).await;
    enqueue_for(&world, small, 4).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let performers = performing(move |attempt| {
        seen.lock().unwrap().push(attempt.scope.org_id);
        async { DONE }
    });

    let root = start_with(&world, &queues, QueueOptions::new(3), performers).await;
    until("the few jobs", async || {
        order.lock().unwrap().iter().filter(|org_id| **org_id == small).count() == 4
    })
    .await;
    root.stop().await;

    let order = order.lock().unwrap();
    let last = order.iter().rposition(|org_id| *org_id == small);
    assert!(last.is_some_and(|place| place < 12), "{last:?}");
    assert!(order.iter().take(4).any(|org_id| *org_id == large));
}

#[tokio::test]
async fn within_a_partition_jobs_keep_their_order() {
    let world = World::new().await;
    let queues = world.node("one").await;
    queues.set_limits(QUEUE, by(PartitionBy::Name));
    settle(&queues).await;
    for (number, priority) in [(1, 5), (2, 0), (3, 9), (4, 0)] {
        let job = NewJob { priority, ..world.job(json!(number)) };
        world.enqueue(&job).await;
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let performers = performing(move |attempt| {
        seen.lock().unwrap().push(attempt.args);
        async { DONE }
    });

    drain(&queues, QUEUE, &performers).await.expect("the jobs are performed");

    assert_eq!(*order.lock().unwrap(), [json!(2), json!(4), json!(1), json!(3)]);
}

#[tokio::test]
async fn a_rate_holds_over_two_nodes_and_their_restarts() {
    let world = World::new().await;
    world.enqueue_many(20).await;
    let nodes = [rated(&world, "one").await, rated(&world, "two").await];

    let mut started = Vec::new();
    for _ in 0..3 {
        started.push(drained(&nodes[0]).await + drained(&nodes[1]).await);
        pass(&world, MINUTE / 2).await;
    }
    let again = rated(&world, "one").await;
    let after_a_restart = drained(&again).await;
    pass(&world, MINUTE / 2).await;
    let a_period_later = drained(&again).await;

    assert_eq!(started, [5, 0, 5]);
    assert_eq!((after_a_restart, a_period_later), (0, 5));
    assert_eq!(most_within_a_minute(&world.owner).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_at_once_start_no_more_than_the_rate() {
    let world = World::new().await;
    world.enqueue_many(60).await;
    let (one, two) = (rated(&world, "one").await, rated(&world, "two").await);
    let roots = [
        start_with(&world, &one, QueueOptions::new(10), completing()).await,
        start_with(&world, &two, QueueOptions::new(10), completing()).await,
    ];

    for period in 1..=6 {
        world.until_count("completed", period * 5).await;
        pass(&world, MINUTE).await;
        one.nudge(QUEUE);
        two.nudge(QUEUE);
    }

    assert_eq!(most_within_a_minute(&world.owner).await, 5);
    for root in roots {
        root.stop().await;
    }
}

#[tokio::test]
async fn a_clock_set_back_gives_nothing_back_and_holds_nothing_up_for_long() {
    let world = World::new().await;
    world.enqueue_many(20).await;
    let before = drained(&rated(&world, "one").await).await;
    let clock = Clock::manual(world.clock.now() + Duration::from_hours(1));
    let ahead = Queues::new(world.pool.clone(), clock, "two");
    ahead.set_limits(QUEUE, five_a_minute());

    let by_a_node_ahead = drained(&ahead).await;
    // As when the clock of the database is set back by an hour.
    count_later(&world, TimeDelta::hours(1)).await;
    let at_once = drained(&ahead).await;
    count_later(&world, TimeDelta::seconds(-58)).await;
    let early = drained(&ahead).await;
    count_later(&world, TimeDelta::seconds(-2)).await;
    let in_time = drained(&ahead).await;

    assert_eq!((before, by_a_node_ahead, at_once, early, in_time), (5, 0, 0, 0, 5));
}

#[tokio::test]
async fn each_partition_has_a_rate_of_its_own() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let limits = Limits {
        partition_by: Some(PartitionBy::Organisation),
        partition_rate_limit: Some(2),
        rate_limit: Some(5),
        ..Limits::default()
    };
    queues.set_limits(QUEUE, limits);
    settle(&queues).await;
    for _ in 0..4 {
        enqueue_for(&world, OrgId::new(), 3).await;
    }

    let mut started = Vec::new();
    for _ in 0..3 {
        started.push(drained(&queues).await);
        pass(&world, MINUTE).await;
    }

    let statement = "select max(started) from (
        select count(*) as started from jobs.finished group by org_id, attempted_at
    ) as each";
    let most: i64 = sqlx::query_scalar(statement).fetch_one(&world.owner).await.unwrap();
    assert_eq!(started, [5, 5, 2]);
    assert_eq!(most, 2);
}

#[tokio::test]
async fn a_place_comes_back_when_an_attempt_fails() {
    let world = World::new().await;
    let queues = world.node("one").await;
    queues.set_limits(QUEUE, Limits { global_limit: Some(1), ..Limits::default() });
    world.enqueue_many(2).await;
    let failing = performing(|_| async { Err(Failure::Retry("the model is asleep".into())) });

    let drained = drain(&queues, QUEUE, &failing).await;

    assert_eq!(drained.ok(), Some(2));
    assert_eq!(world.count("retryable").await, 2);
}

#[tokio::test]
async fn the_places_of_a_dead_node_come_back_within_thirty_seconds() {
    let world = World::new().await;
    let (dead, queues) = (world.node("one").await, world.node("two").await);
    queues.set_limits(QUEUE, Limits { global_limit: Some(2), ..Limits::default() });
    world.enqueue_many(4).await;
    let statement = "update jobs.jobs set state = 'executing', attempt = 1, node = $1,
        attempted_at = $2 where id in (select id from jobs.jobs order by id limit 2)";
    sqlx::query(statement)
        .bind(dead.node_id())
        .bind(world.clock.now())
        .execute(&world.owner)
        .await
        .unwrap();

    let while_held = drained(&queues).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(9));
        lifeline::beat(&queues).await.expect("the database is there");
        lifeline::rescue(&queues).await.expect("the database is there");
    }
    let after = drained(&queues).await;

    assert_eq!((while_held, after), (0, 4));
}

#[tokio::test]
async fn a_node_that_has_not_heard_of_a_limit_claims_nothing() {
    let world = World::new().await;
    let told = world.node("one").await;
    told.set_limits(QUEUE, Limits { global_limit: Some(1), ..Limits::default() });
    settle(&told).await;
    world.enqueue_many(3).await;

    let mut transaction = world.runtime().await;
    let claimed = jobs::claim(&mut transaction, QUEUE, 3, "two", world.clock.now()).await;

    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(0));
}

#[tokio::test]
async fn waiting_jobs_are_told_their_partitions_when_a_queue_is_divided() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let (large, small) = (OrgId::new(), OrgId::new());
    enqueue_for(&world, large, 50).await;
    enqueue_for(&world, small, 1).await;
    queues.set_limits(QUEUE, by(PartitionBy::Organisation));
    settle(&queues).await;

    let told = settings::divide(&queues, false).await;
    let again = settings::divide(&queues, true).await;
    sqlx::query("update jobs.jobs set partition_key = null where org_id = $1")
        .bind(small)
        .execute(&world.owner)
        .await
        .unwrap();
    let untold = settings::divide(&queues, true).await;

    assert_eq!((told.ok(), again.ok(), untold.ok()), (Some(51), Some(0), Some(1)));
    assert_eq!(drained(&queues).await, 51);
}

#[tokio::test]
async fn what_a_node_no_longer_declares_no_longer_limits() {
    let world = World::new().await;
    let before = rated(&world, "one").await;
    world.enqueue_many(7).await;
    let limited = drained(&before).await;

    let after = world.node("one").await;
    after.set_limits(QUEUE, Limits::default());

    assert_eq!((limited, drained(&after).await), (5, 2));
}

#[tokio::test]
async fn a_job_with_a_long_partition_key_is_claimed_like_others() {
    let world = World::new().await;
    let queues = world.node("one").await;
    queues.set_limits(QUEUE, by(PartitionBy::Argument("text".into())));
    settle(&queues).await;
    let long: String = (0..20_000_u32).map(|number| number.to_string()).collect();
    world.enqueue(&world.job(json!({ "text": long }))).await;
    world.enqueue(&world.job(json!({ "other": 1 }))).await;

    assert_eq!(drained(&queues).await, 2);
}

fn by(partition_by: PartitionBy) -> Limits {
    Limits { partition_by: Some(partition_by), ..Limits::default() }
}

fn five_a_minute() -> Limits {
    Limits { rate_limit: Some(5), ..Limits::default() }
}

async fn rated(world: &World, name: &str) -> Queues {
    let queues = world.node(name).await;
    queues.set_limits(QUEUE, five_a_minute());
    queues
}

/// Lets time pass, for the nodes and for what the database has counted.
async fn pass(world: &World, time: Duration) {
    // Between two claims: what is claimed by one time is not counted by another.
    let begin = "begin; lock jobs.queues in exclusive mode";
    let mut transaction = world.owner.begin_with(begin).await.unwrap();
    world.clock.advance(time);
    sqlx::query("update jobs.rates set last_at = last_at - $1")
        .bind(TimeDelta::from_std(time).expect("it is short"))
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

/// Has everything that was counted have happened so much later.
async fn count_later(world: &World, by: TimeDelta) {
    let statement = "update jobs.rates set last_at = last_at + $1";
    sqlx::query(statement).bind(by).execute(&world.owner).await.unwrap();
}

/// Has what this node declares stored, as its producer would.
async fn settle(queues: &Queues) {
    drained(queues).await;
}

async fn drained(queues: &Queues) -> usize {
    drain(queues, QUEUE, &completing()).await.expect("the jobs are performed")
}

fn completing() -> Performers {
    performing(|_| async { DONE })
}

async fn enqueue_for(world: &World, org_id: OrgId, count: usize) {
    let scope = || Scope::system(org_id, "test", Uuid::now_v7());
    let jobs: Vec<NewJob> =
        (0..count).map(|number| NewJob::new(QUEUE, WORK, json!(number), scope())).collect();
    let mut transaction = world.runtime().await;
    jobs::enqueue_all(&mut transaction, &jobs, world.clock.now()).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Four nodes whose attempts note in the database how many execute at once, and wait at a gate.
async fn watched_nodes(
    world: &World,
    limits: &Limits,
    gate: watch::Receiver<bool>,
) -> Vec<(Queues, Root)> {
    let table = "create table notes (partition_key text, at_once bigint);
        grant insert on notes to finnest_runtime";
    sqlx::raw_sql(table).execute(&world.owner).await.unwrap();
    let mut nodes = Vec::new();
    for name in ["one", "two", "three", "four"] {
        let queues = world.node(name).await;
        queues.set_limits(QUEUE, limits.clone());
        settle(&queues).await;
        let (pool, gate) = (world.pool.clone(), gate.clone());
        let performers = performing(move |_| {
            let (pool, mut gate) = (pool.clone(), gate.clone());
            async move {
                note(&pool).await;
                gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
                note(&pool).await;
                DONE
            }
        });
        let root = start_with(world, &queues, QueueOptions::new(10), performers).await;
        nodes.push((queues, root));
    }
    nodes
}

async fn note(pool: &PgPool) {
    let begin = "begin; set local role finnest_runtime";
    let mut transaction = pool.begin_with(begin).await.expect("the database is there");
    sqlx::raw_sql(
        "insert into notes select coalesce(partition_key, ''), count(*)
         from jobs.jobs where state = 'executing' group by 1",
    )
    .execute(&mut *transaction)
    .await
    .expect("the runtime may count");
    transaction.commit().await.expect("the database is there");
}

async fn most_at_once(owner: &PgPool) -> Vec<(String, i64)> {
    let statement = "select partition_key, max(at_once) from notes group by 1 order by 1";
    sqlx::query_as(statement).fetch_all(owner).await.expect("the notes are there")
}

async fn most_within_a_minute(owner: &PgPool) -> i64 {
    let statement = "select max(started) from (
        select count(*) as started
        from jobs.every_job as first
        join jobs.every_job as other
            on other.attempted_at >= first.attempted_at
            and other.attempted_at < first.attempted_at + $1
        group by first.id
    ) as each";
    let most = sqlx::query_scalar(statement).bind(TimeDelta::minutes(1)).fetch_one(owner).await;
    most.expect("the jobs are there")
}

fn nudge(nodes: &[(Queues, Root)]) {
    for (queues, _) in nodes {
        queues.nudge(QUEUE);
    }
}

async fn stop(nodes: Vec<(Queues, Root)>) {
    for (_, root) in nodes {
        root.stop().await;
    }
}
