//! Staging, and what recurs.

use std::time::Duration;

use jobs::cron::{self, Crontab};
use jobs::{CronEntry, Outcome, Performed, Queues, Schedule, stager};
use kernel::Period;
use otp::Clock;
use serde_json::json;

use crate::world::{QUEUE, WORK, World, performing, start};

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
