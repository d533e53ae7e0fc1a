//! The duties: staging, rescuing, pruning, and what recurs.

use std::time::Duration;

use jobs::cron::{self, Crontab};
use jobs::{
    CronEntry, JobState, Outcome, Performed, Queues, Schedule, admin, drain, lifeline, pruner,
    stager,
};
use kernel::{JobId, Period};
use otp::Clock;
use serde_json::json;

use crate::world::{QUEUE, WORK, World, job_row, performing, start};

#[tokio::test]
async fn a_job_whose_time_has_come_is_staged_and_its_queue_hears_of_it() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let root = start(&world, &queues, completing()).await;
    let mut job = world.job(json!({}));
    job.scheduled_at = Some(world.clock.now() + Duration::from_mins(1));
    world.enqueue(&job).await;

    let early = stager::stage(&queues).await;
    world.clock.advance(Duration::from_mins(1));
    let in_time = stager::stage(&queues).await;

    world.until_count("completed", 1).await;
    assert_eq!((early.ok(), in_time.ok()), (Some(0), Some(1)));
    root.stop().await;
}

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
async fn what_ended_a_week_ago_is_pruned() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let old = world.enqueue(&world.job(json!({}))).await;
    drain::drain(&queues, QUEUE, &completing()).await.expect("the job is performed");
    world.clock.advance(Duration::from_hours(24 * 4));
    let young = world.enqueue(&world.job(json!({}))).await;
    drain::drain(&queues, QUEUE, &completing()).await.expect("the job is performed");
    let waiting = world.enqueue(&world.job(json!({}))).await;

    world.clock.advance(Duration::from_hours(24 * 4));
    let pruned = pruner::prune(&queues).await;

    assert_eq!(pruned.ok(), Some(1));
    assert!(admin::get_job(&queues, old).await.is_err());
    assert!(admin::get_job(&queues, young).await.is_ok());
    assert!(admin::get_job(&queues, waiting).await.is_ok());
}

#[tokio::test]
async fn each_tick_becomes_one_job_over_all_nodes() {
    let world = World::new().await;
    let nodes = [world.node("one").await, world.node("two").await, world.node("three").await];
    let crontabs = nodes.each_ref().map(|_| Crontab::new(vec![every_five_minutes()]));
    tick_all(&nodes, &crontabs).await;

    let mut enqueued = Vec::new();
    for _ in 0..3 {
        world.clock.advance(Duration::from_mins(5));
        enqueued.push(tick_all(&nodes, &crontabs).await);
    }

    assert_eq!(enqueued, [1, 1, 1]);
    assert_eq!(world.count("available").await, 3);
}

#[tokio::test]
async fn a_new_entry_begins_with_its_next_tick() {
    let world = World::new().await;
    let queues = world.node("one").await;

    let enqueued = cron::tick(&queues, &Crontab::new(vec![every_five_minutes()])).await;

    assert_eq!(enqueued.ok(), Some(0));
}

#[tokio::test]
async fn missed_ticks_are_made_up_for_by_one_job() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = || Crontab::new(vec![every_five_minutes()]);
    cron::tick(&queues, &crontab()).await.expect("the database is there");

    world.clock.advance(Duration::from_hours(3));
    let enqueued = cron::tick(&queues, &crontab()).await;

    assert_eq!(enqueued.ok(), Some(1));
}

#[tokio::test]
async fn a_clock_set_back_runs_nothing_twice() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let crontab = || Crontab::new(vec![every_five_minutes()]);
    cron::tick(&queues, &crontab()).await.expect("the database is there");
    world.clock.advance(Duration::from_hours(1));
    cron::tick(&queues, &crontab()).await.expect("the database is there");

    let earlier = Clock::manual(world.clock.now() - Duration::from_mins(30));
    let behind = Queues::new(world.pool.clone(), earlier.clone(), "two");
    let set_back = cron::tick(&behind, &crontab()).await;
    earlier.advance(Duration::from_mins(30));
    let caught_up = cron::tick(&behind, &crontab()).await;

    assert_eq!((set_back.ok(), caught_up.ok()), (Some(0), Some(0)));
    assert_eq!(world.count("available").await, 1);
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

async fn tick_all(nodes: &[Queues], crontabs: &[Crontab]) -> u64 {
    let ticks = nodes.iter().zip(crontabs).map(|(queues, crontab)| cron::tick(queues, crontab));
    let enqueued = futures_util::future::join_all(ticks).await;
    enqueued.into_iter().map(|enqueued| enqueued.expect("the database is there")).sum()
}

fn every_five_minutes() -> CronEntry {
    CronEntry {
        name: "recruit.refresh_pool".into(),
        schedule: Schedule::Every(Period::milliseconds(300_000)),
        queue: QUEUE.into(),
        job_name: WORK.into(),
        args: json!({}),
        org_id: None,
        max_attempts: 20,
        timeout: Duration::from_mins(1),
    }
}

fn completing() -> jobs::Performers {
    performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) })
}
