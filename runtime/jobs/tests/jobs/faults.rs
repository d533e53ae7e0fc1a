//! Faults: whatever dies, no job is lost, and no effect inside the database happens twice.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobs::producer::QueueOptions;
use jobs::{Attempt, Failure, JobState, Outcome, Performed, Queues, complete, lifeline, stager};
use otp::{Clock, Node, Root};
use serde_json::json;
use sqlx::{Executor as _, PgPool};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::world::{QUEUE, World, job_row, performing, start, start_with, until, within};

const DONE: Result<Performed, Failure> = Ok(Performed::Outcome(Outcome::Complete));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_jobs_attempted_twice_at_once_have_one_effect_each() {
    let world = World::new().await;
    with_effects(&world.owner).await;
    world.enqueue_many(200).await;
    let (opened, gate) = watch::channel(false);
    let (sender, mut started) = mpsc::unbounded_channel();
    let (pool, clock) = (world.pool.clone(), world.clock.clone());
    let performers = performing(move |attempt| {
        let (pool, clock) = (pool.clone(), clock.clone());
        let (sender, mut gate) = (sender.clone(), gate.clone());
        async move {
            sender.send(attempt.job_id).expect("the test listens");
            gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
            have_effect(&pool, &clock, &attempt).await
        }
    });

    let first = world.node("one").await;
    let first_root = start_with(&world, &first, QueueOptions::new(200), performers.clone()).await;
    for _ in 0..200 {
        within("the first attempts", started.recv()).await;
    }
    let second = world.node("one").await;
    let rescued = lifeline::rescue(&second).await;
    let second_root = start_with(&world, &second, QueueOptions::new(200), performers).await;
    for _ in 0..200 {
        within("the second attempts", started.recv()).await;
    }
    opened.send(true).expect("the attempts wait");
    world.until_count("completed", 200).await;
    let superseded = || {
        let counts = [&first, &second].map(|node| node.stats()[0].counts.superseded);
        counts.iter().sum::<u64>()
    };
    until("the slower attempts", async || superseded() == 200).await;

    assert_eq!(rescued.ok(), Some(200));
    assert_eq!(effects(&world.owner).await, (200, 200));
    // What is committed is counted a moment later.
    let completed = || {
        let counts = [&first, &second].map(|node| node.stats()[0].counts.completed);
        counts.iter().sum::<u64>()
    };
    until("the counts of what was done", async || completed() >= 200).await;
    assert_eq!(completed(), 200);
    first_root.stop().await;
    second_root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_never_run_one_job_at_once() {
    let world = World::new().await;
    let running = Arc::new(Mutex::new(HashSet::new()));
    let doubled = Arc::new(Mutex::new(Vec::new()));
    let (opened, gate) = watch::channel(false);
    let (in_hand, twice) = (running.clone(), doubled.clone());
    let performers = performing(move |attempt| {
        let (in_hand, twice, mut gate) = (in_hand.clone(), twice.clone(), gate.clone());
        async move {
            if !in_hand.lock().unwrap().insert(attempt.job_id) || attempt.number > 1 {
                twice.lock().unwrap().push(attempt.job_id);
            }
            gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
            DONE
        }
    });
    let (one, two) = (world.node("one").await, world.node("two").await);
    let roots =
        [start(&world, &one, performers.clone()).await, start(&world, &two, performers).await];

    world.enqueue_many(300).await;
    one.nudge(QUEUE);
    two.nudge(QUEUE);
    let both_have_a_share =
        async || [&one, &two].iter().all(|node| node.stats()[0].counts.claimed > 0);
    until("both nodes to have a share", both_have_a_share).await;
    opened.send(true).expect("the attempts wait");
    world.until_count("completed", 300).await;

    assert_eq!(*doubled.lock().unwrap(), []);
    assert_eq!(running.lock().unwrap().len(), 300);
    for root in roots {
        root.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_producer_loses_and_doubles_nothing() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(60).await;
    let performed = Arc::new(Mutex::new(HashMap::new()));
    let permits = Arc::new(Semaphore::new(0));
    let (sender, mut started) = mpsc::unbounded_channel();
    let (tally, waits_for) = (performed.clone(), permits.clone());
    let performers = performing(move |attempt| {
        let (tally, waits_for, sender) = (tally.clone(), waits_for.clone(), sender.clone());
        async move {
            sender.send(()).expect("the test listens");
            waits_for.acquire().await.expect("the permits stay").forget();
            *tally.lock().unwrap().entry(attempt.job_id).or_insert(0) += 1;
            DONE
        }
    });
    let root = start(&world, &queues, performers).await;

    for _ in 0..3 {
        for _ in 0..10 {
            within("an attempt", started.recv()).await;
        }
        root.tree().kill("root/queue/producer").expect("the producer is there");
        permits.add_permits(10);
    }
    permits.add_permits(30);
    // A claim that was under way when its producer was killed is found by the lifeline.
    until("all jobs to be completed", async || {
        world.clock.advance(Duration::from_secs(11));
        lifeline::rescue(&queues).await.expect("the database is there");
        world.count("completed").await == 60
    })
    .await;

    let performed = performed.lock().unwrap().clone();
    assert_eq!(performed.len(), 60);
    assert!(performed.values().all(|times| *times == 1), "{performed:?}");
    root.stop().await;
}

#[tokio::test]
async fn an_attempt_that_is_killed_is_retried() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |_| {
        sender.send(()).expect("the test listens");
        std::future::pending()
    });
    let root = start(&world, &queues, performers).await;
    within("the attempt", started.recv()).await;

    let path = format!("root/queue/attempts/{job_id}-1");
    root.tree().kill(&path).expect("the attempt runs");
    world.until_count("retryable", 1).await;

    let row = job_row(&queues, job_id).await;
    assert_eq!(row.used_attempts(), 1);
    assert_eq!(row.errors[0].error, "killed: the attempt ended without a word");
    root.stop().await;
}

#[tokio::test]
async fn killing_all_attempts_at_once_retries_them_all() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(10).await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |attempt| {
        let sender = sender.clone();
        async move {
            sender.send(()).expect("the test listens");
            if attempt.number == 1 { std::future::pending().await } else { DONE }
        }
    });
    let root = start(&world, &queues, performers).await;
    for _ in 0..10 {
        within("an attempt", started.recv()).await;
    }

    root.tree().kill("root/queue/attempts").expect("the supervisor is there");
    world.until_count("retryable", 10).await;
    world.clock.advance(Duration::from_mins(1));
    stager::stage(&queues).await.expect("the database is there");

    world.until_count("completed", 10).await;
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_its_own_attempt_only_and_shows_in_the_tree() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(20).await;
    let performers = performing(|attempt| async move {
        assert_ne!(attempt.args, json!({ "number": 7 }), "unlucky");
        DONE
    });
    let root = start(&world, &queues, performers).await;

    world.until_count("completed", 19).await;
    world.until_count("retryable", 1).await;

    // The job's row is written before its process has ended, so the tree may hear of it later.
    until("the panic to show in the tree", async || {
        let history = root.tree().history();
        history.iter().any(|event| format!("{event:?}").contains("unlucky"))
    })
    .await;
    assert_eq!(restarts(&root, "root/queue/producer"), 0);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_disconnects_everybody_is_survived() {
    let world = World::new().await;
    with_effects(&world.owner).await;
    let queues = world.node("one").await;
    world.enqueue_many(200).await;
    let (pool, clock) = (world.pool.clone(), world.clock.clone());
    let performers = performing(move |attempt| {
        let (pool, clock) = (pool.clone(), clock.clone());
        async move { have_effect(&pool, &clock, &attempt).await }
    });
    let root = start(&world, &queues, performers).await;

    let mut disconnected = 0;
    for round in 1..=5 {
        let is_far_enough = async || queues.stats()[0].counts.claimed >= round * 20;
        until("some jobs to be claimed", is_far_enough).await;
        disconnected += disconnect_everybody(&world.owner).await;
    }
    until("all jobs to be completed", async || {
        world.clock.advance(Duration::from_secs(11));
        // These may meet a connection that is gone, and are called again.
        let _ = lifeline::rescue(&queues).await;
        let _ = stager::stage(&queues).await;
        world.count("completed").await == 200
    })
    .await;

    assert!(disconnected > 0, "nobody was connected");
    assert_eq!(effects(&world.owner).await, (200, 200));
    assert_eq!(restarts(&root, "root/queue/producer"), 0);
    root.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_running_attempts_within_its_patience() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(3).await;
    let (opened, gate) = watch::channel(false);
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |_| {
        let (sender, mut gate) = (sender.clone(), gate.clone());
        async move {
            sender.send(()).expect("the test listens");
            gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
            DONE
        }
    });
    let root = start(&world, &queues, performers).await;
    for _ in 0..3 {
        within("an attempt", started.recv()).await;
    }

    tokio::join!(root.stop(), async {
        opened.send(true).expect("the attempts wait");
    });

    assert_eq!(world.count("completed").await, 3);
}

#[tokio::test]
async fn a_stop_returns_jobs_that_outlast_its_patience_without_burning_an_attempt() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_ids = world.enqueue_many(5).await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |_| {
        sender.send(()).expect("the test listens");
        std::future::pending()
    });
    let options = QueueOptions { patience: Duration::from_millis(20), ..QueueOptions::new(3) };
    let root = start_with(&world, &queues, options, performers).await;
    for _ in 0..3 {
        within("an attempt", started.recv()).await;
    }

    root.stop().await;

    assert_eq!(world.count("available").await, 5);
    for job_id in job_ids {
        let row = job_row(&queues, job_id).await;
        assert_eq!((row.used_attempts(), row.errors.len()), (0, 0));
    }
}

#[tokio::test]
async fn a_late_completion_of_a_cancelled_job_is_refused() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let now = world.clock.now();
    let mut transaction = world.runtime().await;
    let claimed = jobs::claim(&mut transaction, QUEUE, 1, queues.node_id(), now).await;
    transaction.commit().await.expect("the database is there");
    jobs::admin::cancel_job(&queues, job_id).await.expect("the job executes");

    let mut transaction = world.runtime().await;
    let is_completed = complete(&mut transaction, job_id, 1, now).await;

    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(1));
    assert_eq!(is_completed.ok(), Some(false));
    drop(transaction);
    assert_eq!(job_row(&queues, job_id).await.state, JobState::Cancelled);
}

/// A table that counts effects.
async fn with_effects(pool: &PgPool) {
    pool.execute(
        "create table public.effects (job_id uuid not null);
         grant insert on public.effects to finnest_runtime;",
    )
    .await
    .expect("the table is new");
}

/// How many effects there are, and of how many jobs.
async fn effects(pool: &PgPool) -> (i64, i64) {
    sqlx::query_as("select count(*), count(distinct job_id) from public.effects")
        .fetch_one(pool)
        .await
        .expect("the database is there")
}

/// What a command job does: effect and completion in one transaction.
async fn have_effect(
    pool: &PgPool,
    clock: &Clock,
    attempt: &Attempt,
) -> Result<Performed, Failure> {
    match try_effect(pool, clock, attempt).await {
        Ok(true) => Ok(Performed::AlreadyCompleted),
        Ok(false) => Err(Failure::Retry("another attempt owns the job".into())),
        Err(error) => Err(Failure::Unavailable(error.to_string())),
    }
}

async fn try_effect(pool: &PgPool, clock: &Clock, attempt: &Attempt) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin_with("begin; set local role finnest_runtime").await?;
    sqlx::query("insert into public.effects (job_id) values ($1)")
        .bind(attempt.job_id)
        .execute(&mut *transaction)
        .await?;
    let is_owner = complete(&mut transaction, attempt.job_id, attempt.number, clock.now()).await?;
    if is_owner {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(is_owner)
}

async fn disconnect_everybody(owner: &PgPool) -> u64 {
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and usename = 'finnest_app'";
    owner.execute(others).await.expect("the owner stays connected").rows_affected()
}

fn restarts(root: &Root, path: &str) -> u64 {
    find(&root.tree().snapshot(), path).expect("the process is there")
}

fn find(node: &Node, path: &str) -> Option<u64> {
    if node.path == path {
        return Some(node.restarts);
    }
    node.children.iter().find_map(|child| find(child, path))
}

#[tokio::test]
async fn a_node_may_stop_and_start_under_its_name() {
    let world = World::new().await;
    let first = world.node("one").await;
    let second = Queues::new(world.pool.clone(), world.clock.clone(), "one");

    assert_eq!(first.node_name(), second.node_name());
    assert_ne!(first.node_id(), second.node_id());
}
