//! Control of queues at run time, on one node and on all, and what nodes tell each other.

use std::time::Duration;

use jobs::producer::QueueOptions;
use jobs::waits::{self, Waits};
use jobs::{
    Contradiction, Failure, JobState, Limits, Outcome, Overrides, Performed, Performers, Queues,
    ScaleError, admin, settings,
};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::world::{QUEUE, World, job_row, performing, start, start_with, until, within};

const DONE: Result<Performed, Failure> = Ok(Performed::Outcome(Outcome::Complete));

#[tokio::test]
async fn what_an_operator_scales_holds_on_every_node_and_after_restarts() {
    let world = World::new().await;
    let (one, two) = (world.node("one").await, world.node("two").await);
    one.set_limits(QUEUE, Limits { global_limit: Some(7), ..Limits::default() });
    let roots = [start(&world, &one, completing()).await, start(&world, &two, completing()).await];
    let at_first = [limit_at(&one), limit_at(&two)];

    let said = Overrides { limit: Some(2), global_limit: Some(3), ..Overrides::default() };
    let scaled = one.scale(QUEUE, said).await;
    settings::refresh(&two).await.expect("the database is there");
    let after = [limit_at(&one), limit_at(&two)];
    let restarted = world.node("one").await;
    restarted.set_limits(QUEUE, Limits { global_limit: Some(7), ..Limits::default() });
    let restarted_root = start(&world, &restarted, completing()).await;
    until("the node to read what holds", async || limit_at(&restarted) == 2).await;
    let reset = two.reset(QUEUE).await;
    settings::refresh(&restarted).await.expect("the database is there");

    assert_eq!((at_first, after), ([10, 10], [2, 2]));
    assert_eq!(scaled.map(|limits| limits.global_limit).ok(), Some(Some(3)));
    assert_eq!(reset.map(|limits| limits.global_limit).ok(), Some(Some(7)));
    assert_eq!([limit_at(&two), limit_at(&restarted)], [10, 10]);
    for root in roots.into_iter().chain([restarted_root]) {
        root.stop().await;
    }
}

#[tokio::test]
async fn one_node_may_be_scaled_and_paused_alone() {
    let world = World::new().await;
    let (one, two) = (world.node("one").await, world.node("two").await);
    one.scale_on(QUEUE, "two", Some(4)).await.expect("the limit can be");
    one.pause_on(QUEUE, "two").await.expect("the database is there");
    let roots = [start(&world, &one, completing()).await, start(&world, &two, completing()).await];
    until("the node to read what holds", async || limit_at(&two) == 4).await;
    world.enqueue_many(30).await;

    one.nudge(QUEUE);
    two.nudge(QUEUE);
    world.until_count("completed", 30).await;
    let while_paused = [limit_at(&one), claimed_at(&two)];
    one.pause_on(QUEUE, "one").await.expect("the database is there");
    one.resume_on(QUEUE, "two").await.expect("the database is there");
    two.hear(&one.news().await);
    world.enqueue_many(5).await;
    two.nudge(QUEUE);
    world.until_count("completed", 35).await;

    assert_eq!(while_paused, [10, 0]);
    assert_eq!([claimed_at(&one), claimed_at(&two)], [30, 5]);
    for root in roots {
        root.stop().await;
    }
}

#[tokio::test]
async fn limits_that_cannot_hold_are_refused_and_change_nothing() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let scale = async |said| match queues.scale(QUEUE, said).await {
        Err(ScaleError::Contradiction(contradiction)) => contradiction,
        other => panic!("{other:?}"),
    };

    let undivided = scale(Overrides { partition_limit: Some(1), ..Overrides::default() }).await;
    let none = scale(Overrides { limit: Some(0), ..Overrides::default() }).await;
    let by_what =
        scale(Overrides { partition_by: Some("colour".into()), ..Overrides::default() }).await;

    assert_eq!(undivided, Contradiction::NothingToDivideBy("partition_limit"));
    assert_eq!(none, Contradiction::OutOfRange("limit", 1, 1_000));
    assert!(matches!(by_what, Contradiction::NoPartition(_)));
    let stored: i64 = sqlx::query_scalar("select count(*) from jobs.queues")
        .fetch_one(&world.owner)
        .await
        .unwrap();
    assert_eq!(stored, 0);
}

#[tokio::test]
async fn work_enqueued_where_no_producer_is_starts_where_one_is_without_a_look() {
    let world = World::new().await;
    let (without, with) = (world.node("one").await, world.node("two").await);
    // What is there when it starts, it finds by itself.
    world.enqueue(&world.job(json!({}))).await;
    let root = start_with(&world, &with, seldom(10), completing()).await;
    world.until_count("completed", 1).await;
    world.enqueue(&world.job(json!({}))).await;

    without.nudge(QUEUE);
    with.hear(&within("the news", without.news()).await);

    world.until_count("completed", 2).await;
    root.stop().await;
}

#[tokio::test]
async fn work_for_which_a_node_has_no_place_starts_where_one_is_free() {
    let world = World::new().await;
    let (full, free) = (world.node("one").await, world.node("two").await);
    let (opened, gate) = watch::channel(false);
    let (sender, mut started) = mpsc::unbounded_channel();
    let waiting = performing(move |_| {
        let (sender, mut gate) = (sender.clone(), gate.clone());
        async move {
            sender.send(()).expect("the test listens");
            gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
            DONE
        }
    });
    let full_root = start_with(&world, &full, seldom(1), waiting).await;
    world.enqueue(&world.job(json!({}))).await;
    full.nudge(QUEUE);
    within("the attempt", started.recv()).await;
    let free_root = start_with(&world, &free, seldom(1), completing()).await;
    world.enqueue(&world.job(json!({}))).await;

    full.nudge(QUEUE);
    free.hear(&within("the news", full.news()).await);
    world.until_count("completed", 1).await;
    opened.send(true).expect("the attempt waits");
    world.until_count("completed", 2).await;

    full_root.stop().await;
    free_root.stop().await;
}

#[tokio::test]
async fn a_job_cancelled_at_one_node_ends_where_it_executes() {
    let world = World::new().await;
    let (asked, other) = (world.node("one").await, world.node("two").await);
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |_| {
        let (guard, ended) = mpsc::unbounded_channel::<()>();
        sender.send(ended).expect("the test listens");
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let root = start_with(&world, &other, seldom(1), performers).await;
    let mut ended = within("the attempt", started.recv()).await.expect("the attempt runs");

    admin::cancel_job(&asked, job_id).await.expect("the job executes");
    other.hear(&within("the news", asked.news()).await);
    within("the end of the attempt", ended.recv()).await;

    assert_eq!(job_row(&other, job_id).await.state, JobState::Cancelled);
    root.stop().await;
}

#[tokio::test]
async fn a_change_is_applied_where_it_is_heard_of() {
    let world = World::new().await;
    let (asked, other) = (world.node("one").await, world.node("two").await);
    let root = start_with(&world, &other, seldom(10), completing()).await;

    let said = Overrides { limit: Some(3), ..Overrides::default() };
    asked.scale(QUEUE, said).await.expect("the limit can be");
    other.hear(&within("the news", asked.news()).await);

    until("the change", async || limit_at(&other) == 3).await;
    root.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_claims_nothing_more_and_leaves_it_to_others() {
    let world = World::new().await;
    let (stopping, other) = (world.node("one").await, world.node("two").await);
    let (opened, gate) = watch::channel(false);
    let (sender, mut started) = mpsc::unbounded_channel();
    let waiting = performing(move |_| {
        let (sender, mut gate) = (sender.clone(), gate.clone());
        async move {
            sender.send(()).expect("the test listens");
            gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
            DONE
        }
    });
    world.enqueue(&world.job(json!({}))).await;
    let root = start(&world, &stopping, waiting).await;
    within("the attempt", started.recv()).await;
    let other_root = start_with(&world, &other, seldom(10), completing()).await;

    let meanwhile = async {
        // As soon as it claims no more, work is for the others.
        let mut heard = None;
        until("the news", async || {
            stopping.nudge(QUEUE);
            heard = tokio::time::timeout(Duration::ZERO, stopping.news()).await.ok();
            heard.is_some()
        })
        .await;
        world.enqueue_many(3).await;
        stopping.nudge(QUEUE);
        other.hear(&heard.expect("there was news"));
        world.until_count("completed", 3).await;
        opened.send(true).expect("the attempt waits");
    };
    futures_util::future::join(root.stop(), meanwhile).await;

    world.until_count("completed", 4).await;
    assert_eq!([claimed_at(&stopping), claimed_at(&other)], [1, 3]);
    other_root.stop().await;
}

#[tokio::test]
async fn an_operator_is_told_why_jobs_wait() {
    let world = World::new().await;
    let queues = world.node("one").await;
    queues.set_limits(QUEUE, Limits { global_limit: Some(1), ..Limits::default() });
    let (opened, gate) = watch::channel(false);
    world.enqueue_many(3).await;

    let down = waits(&queues).await;
    queues.pause(QUEUE).await.expect("the database is there");
    let paused = waits(&queues).await;
    let root = start_with(&world, &queues, seldom(5), waiting_at(gate)).await;
    queues.pause_on(QUEUE, "one").await.expect("the database is there");
    queues.resume(QUEUE).await.expect("the database is there");
    until_waits(&queues, |waits| waits == Waits::PausedOnNodes).await;
    queues.resume_on(QUEUE, "one").await.expect("the database is there");
    world.until_count("executing", 1).await;
    until_waits(&queues, |waits| waits == Waits::GlobalLimit).await;
    let said = Overrides {
        global_limit: Some(0),
        rate_limit: Some(1),
        rate_period_ms: Some(86_400_000),
        ..Overrides::default()
    };
    queues.scale(QUEUE, said).await.expect("the limit can be");
    world.until_count("executing", 2).await;
    until_waits(&queues, |waits| matches!(waits, Waits::RateLimited { .. })).await;
    queues.scale(QUEUE, Overrides { rate_limit: Some(0), ..Overrides::default() }).await.unwrap();
    opened.send(true).expect("the attempts wait");
    world.until_count("completed", 3).await;
    let none = waits(&queues).await;

    assert_eq!((down, paused), (Some(Waits::NoProducer), Some(Waits::Paused)));
    assert_eq!(none, None);
    root.stop().await;
}

async fn until_waits(queues: &Queues, is_so: impl Fn(Waits) -> bool) {
    until("the reason", async || waits(queues).await.is_some_and(&is_so)).await;
}

async fn waits(queues: &Queues) -> Option<Waits> {
    settings::refresh(queues).await.expect("the database is there");
    let control = waits::control(queues).await.expect("the database is there");
    control.into_iter().find(|control| control.queue == QUEUE).and_then(|control| control.waits)
}

fn waiting_at(gate: watch::Receiver<bool>) -> Performers {
    performing(move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|is_open| *is_open).await.expect("the gate stays");
            DONE
        }
    })
}

/// Looks at the queue by itself once an hour.
fn seldom(limit: u32) -> QueueOptions {
    QueueOptions { scan: Duration::from_hours(1), ..QueueOptions::new(limit) }
}

fn limit_at(queues: &Queues) -> u32 {
    stats(queues).limit
}

fn claimed_at(queues: &Queues) -> u32 {
    u32::try_from(stats(queues).counts.claimed).expect("they are few")
}

fn stats(queues: &Queues) -> jobs::QueueStats {
    let mut stats = queues.stats();
    stats.retain(|stats| stats.queue == QUEUE);
    stats.pop().expect("the queue is known")
}

fn completing() -> Performers {
    performing(|_| async { DONE })
}
