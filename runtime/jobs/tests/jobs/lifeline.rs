//! The lifeline: who is taken for dead, what is rescued, and what a slow survivor can still do.

use std::time::Duration;

use jobs::producer::QueueOptions;
use jobs::{Attempt, Failure, JobState, Performed, Queues, complete, drain, lifeline};
use kernel::JobId;
use otp::Clock;
use serde_json::json;
use sqlx::{Executor as _, PgPool};
use tokio::sync::{mpsc, watch};

use crate::world::{QUEUE, World, job_row, performing, start, start_with, until, within};

#[tokio::test]
async fn a_claim_of_which_no_attempt_came_is_rescued_after_a_grace() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = claimed_by(&world, &queues, 20).await;

    let early = lifeline::rescue(&queues).await;
    world.clock.advance(Duration::from_secs(11));
    let late = lifeline::rescue(&queues).await;

    let row = job_row(&queues, job_id).await;
    assert_eq!((early.ok(), late.ok()), (Some(0), Some(1)));
    assert_eq!(row.state, JobState::Available);
    assert_eq!(row.errors[0].attempt, 1);
}

#[tokio::test]
async fn a_rescued_job_without_attempts_left_is_discarded() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = claimed_by(&world, &queues, 1).await;

    world.clock.advance(Duration::from_secs(11));
    lifeline::rescue(&queues).await.expect("the database is there");

    let row = job_row(&queues, job_id).await;
    assert_eq!(row.state, JobState::Discarded);
    assert_eq!(row.discarded_at, Some(world.clock.now()));
}

#[tokio::test]
async fn jobs_of_a_node_that_fell_silent_are_rescued_by_another() {
    let world = World::new().await;
    let (silent, steady) = (world.node("one").await, world.node("two").await);
    let job_id = claimed_by(&world, &silent, 20).await;

    let mut rescued = Vec::new();
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(8));
        lifeline::beat(&steady).await.expect("the database is there");
        rescued.push(lifeline::rescue(&steady).await.expect("the database is there"));
    }

    assert_eq!(rescued, [0, 0, 1]);
    assert_eq!(job_row(&steady, job_id).await.state, JobState::Available);
}

#[tokio::test]
async fn jobs_of_a_node_that_beats_stay_its_own() {
    let world = World::new().await;
    let (busy, other) = (world.node("one").await, world.node("two").await);
    claimed_by(&world, &busy, 20).await;

    for _ in 0..5 {
        world.clock.advance(Duration::from_secs(8));
        lifeline::beat(&busy).await.expect("the database is there");
        lifeline::beat(&other).await.expect("the database is there");
    }
    let rescued = lifeline::rescue(&other).await;

    assert_eq!(rescued.ok(), Some(0));
}

#[tokio::test]
async fn a_node_that_was_silent_itself_does_not_judge_others_at_once() {
    let world = World::new().await;
    let (silent, also_silent) = (world.node("one").await, world.node("two").await);
    claimed_by(&world, &silent, 20).await;

    world.clock.advance(Duration::from_mins(10));
    lifeline::beat(&also_silent).await.expect("the database is there");
    let rescued = lifeline::rescue(&also_silent).await;

    assert_eq!(rescued.ok(), Some(0));
}

#[tokio::test]
async fn jobs_of_a_node_that_restarted_are_rescued_at_once() {
    let world = World::new().await;
    let first = world.node("one").await;
    claimed_by(&world, &first, 20).await;

    let second = world.node("one").await;
    let rescued = lifeline::rescue(&second).await;

    assert_eq!(rescued.ok(), Some(1));
}

#[tokio::test]
async fn a_node_whose_clock_is_wrong_keeps_its_jobs_as_long_as_it_beats() {
    let world = World::new().await;
    let slow = Clock::manual(world.clock.now() - Duration::from_hours(1));
    let behind = Queues::new(world.pool.clone(), slow.clone(), "behind");
    let judge = world.node("judge").await;
    claimed_by(&world, &behind, 20).await;

    let mut rescued = 0;
    for _ in 0..10 {
        slow.advance(Duration::from_secs(5));
        world.clock.advance(Duration::from_secs(5));
        lifeline::beat(&behind).await.expect("the database is there");
        lifeline::beat(&judge).await.expect("the database is there");
        rescued += lifeline::rescue(&judge).await.expect("the database is there");
    }

    assert_eq!(rescued, 0);
}

#[tokio::test]
async fn a_clock_that_jumps_takes_no_job_from_anybody() {
    let world = World::new().await;
    let wild = Clock::manual(world.clock.now());
    let (busy, judge) =
        (world.node("busy").await, Queues::new(world.pool.clone(), wild.clone(), "judge"));
    claimed_by(&world, &busy, 20).await;

    let mut rescued = 0;
    for jump in [0, 86_400, -90_000, 7_200, -3, 31_536_000, -31_536_000] {
        wild.set(wild.now() + chrono::TimeDelta::seconds(jump));
        world.clock.advance(Duration::from_secs(5));
        lifeline::beat(&judge).await.expect("the database is there");
        lifeline::beat(&busy).await.expect("the database is there");
        rescued += lifeline::rescue(&judge).await.expect("the database is there");
    }

    assert_eq!(rescued, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_after_the_rescue_commits_neither_effect_nor_completion() {
    let world = World::new().await;
    world.owner.execute("create table effects (attempt integer)").await.unwrap();
    world.owner.execute("grant insert on effects to finnest_runtime").await.unwrap();
    let (sender, mut started) = mpsc::unbounded_channel();
    let (opened, gate) = watch::channel(false);
    let (pool, clock) = (world.pool.clone(), world.clock.clone());
    let performers = performing(move |attempt| {
        let (pool, clock) = (pool.clone(), clock.clone());
        let (sender, mut gate) = (sender.clone(), gate.clone());
        async move {
            sender.send(()).expect("the test listens");
            if attempt.number == 1 {
                gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
            }
            as_a_command_does(&pool, &clock, &attempt).await
        }
    });
    let (suspended, steady) = (world.node("one").await, world.node("two").await);
    let root = start(&world, &suspended, performers.clone()).await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    suspended.nudge(QUEUE);
    within("the first attempt", started.recv()).await;

    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(5));
        lifeline::beat(&steady).await.expect("the database is there");
    }
    let rescued = lifeline::rescue(&steady).await;
    // The queue of the node that was suspended is full: the second attempt is elsewhere.
    suspended.set_limit(QUEUE, 1);
    drain::drain(&steady, QUEUE, &performers).await.expect("the second attempt is made");
    opened.send(true).expect("the first attempt waits");
    let is_refused = async || suspended.stats()[0].counts.superseded == 1;
    until("the first attempt to be refused", is_refused).await;

    let effects: Vec<i32> =
        sqlx::query_scalar("select attempt from effects").fetch_all(&world.owner).await.unwrap();
    let row = job_row(&steady, job_id).await;
    assert_eq!(rescued.ok(), Some(1));
    assert_eq!(effects, [2]);
    assert_eq!((row.state, row.attempt), (JobState::Completed, 2));
    assert_eq!(suspended.stats()[0].counts.completed, 0);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_ends_the_attempts_it_lost_and_no_other() {
    let world = World::new().await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |_| {
        sender.send(()).expect("the test listens");
        std::future::pending()
    });
    let (suspended, steady) = (world.node("one").await, world.node("two").await);
    let options = QueueOptions { patience: Duration::ZERO, ..QueueOptions::new(2) };
    let root = start_with(&world, &suspended, options, performers).await;
    let lost = world.enqueue(&world.job(json!({}))).await;
    suspended.nudge(QUEUE);
    within("the first attempt", started.recv()).await;

    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(5));
        lifeline::beat(&steady).await.expect("the database is there");
    }
    lifeline::rescue(&steady).await.expect("the database is there");
    // It is claimed again by the very node that lost it: two attempts of one job at once.
    suspended.nudge(QUEUE);
    within("the second attempt", started.recv()).await;
    let ended = lifeline::end_superseded(&suspended).await;
    until("one attempt to be left", async || suspended.stats()[0].running == 1).await;
    let ended_again = lifeline::end_superseded(&suspended).await;

    let row = job_row(&steady, lost).await;
    assert_eq!((ended.ok(), ended_again.ok()), (Some(1), Some(0)));
    assert_eq!((row.state, row.attempt), (JobState::Executing, 2));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_ended_whose_job_was_cancelled_on_another_node() {
    let world = World::new().await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |_| {
        sender.send(()).expect("the test listens");
        std::future::pending()
    });
    let (performing_node, other) = (world.node("one").await, world.node("two").await);
    let root = start(&world, &performing_node, performers).await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    performing_node.nudge(QUEUE);
    within("the attempt", started.recv()).await;

    jobs::admin::cancel_job(&other, job_id).await.expect("it is executing");
    let ended = lifeline::end_superseded(&performing_node).await;

    assert_eq!(ended.ok(), Some(1));
    until("the attempt to end", async || performing_node.stats()[0].running == 0).await;
    root.stop().await;
}

/// Effect and completion in one transaction, which is rolled back if the job is not its own.
async fn as_a_command_does(
    pool: &PgPool,
    clock: &Clock,
    attempt: &Attempt,
) -> Result<Performed, Failure> {
    let failed = |error: sqlx::Error| Failure::Retry(error.to_string());
    let begin = "begin; set local role finnest_runtime";
    let mut transaction = pool.begin_with(begin).await.map_err(failed)?;
    let number = i32::try_from(attempt.number).expect("the test makes few attempts");
    let effect = sqlx::query("insert into effects (attempt) values ($1)").bind(number);
    effect.execute(&mut *transaction).await.map_err(failed)?;
    let completed = complete(&mut transaction, attempt.job_id, attempt.number, clock.now()).await;
    if completed.map_err(failed)? {
        transaction.commit().await.map_err(failed)?;
        return Ok(Performed::AlreadyCompleted);
    }
    transaction.rollback().await.map_err(failed)?;
    Err(Failure::Retry("the job is no longer its own".to_owned()))
}

/// A job of one attempt or more that this node has claimed, without anything that performs it.
async fn claimed_by(world: &World, queues: &Queues, max_attempts: u16) -> JobId {
    let mut job = world.job(json!({}));
    job.max_attempts = max_attempts;
    let job_id = world.enqueue(&job).await;
    let mut transaction = world.runtime().await;
    let claimed =
        jobs::claim(&mut transaction, QUEUE, 1, queues.node_id(), world.clock.now()).await;
    transaction.commit().await.expect("the database is there");
    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(1));
    job_id
}
