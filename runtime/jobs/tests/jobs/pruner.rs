//! The pruner: what is forgotten when.

use std::time::Duration;

use jobs::{
    Batch, Chain, JobState, NewJob, Outcome, Performed, Queues, Workflow, admin, drain, pruner,
};
use kernel::{JobId, Scope};
use serde_json::json;
use uuid::Uuid;

use crate::world::{QUEUE, WORK, World, performing};

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
async fn what_failed_is_remembered_longer_than_what_went_well() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let completed = ended(&world, &queues, QUEUE, JobState::Completed).await;
    let cancelled = ended(&world, &queues, QUEUE, JobState::Cancelled).await;

    world.clock.advance(Duration::from_hours(24 * 8));
    let after_a_week = pruner::prune(&queues).await;
    let was_there = admin::get_job(&queues, cancelled).await.is_ok();
    world.clock.advance(Duration::from_hours(24 * 23));
    let after_a_month = pruner::prune(&queues).await;

    assert_eq!((after_a_week.ok(), after_a_month.ok()), (Some(1), Some(1)));
    assert!(was_there);
    assert!(admin::get_job(&queues, completed).await.is_err());
    assert!(admin::get_job(&queues, cancelled).await.is_err());
}

#[tokio::test]
async fn a_queue_may_forget_sooner_or_later_than_the_others() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let day = Duration::from_hours(24);
    for (queue, days) in [("sooner", 1), ("later", 100), (pruner::EVERY_QUEUE, 10)] {
        let said = pruner::remember(&queues, queue, JobState::Completed, day * days).await;
        said.expect("the database is there");
    }
    let mut jobs = Vec::new();
    for queue in ["sooner", QUEUE, "later"] {
        jobs.push(ended(&world, &queues, queue, JobState::Completed).await);
    }

    let mut left = Vec::new();
    for days in [2, 9, 90] {
        world.clock.advance(day * days);
        pruner::prune(&queues).await.expect("the database is there");
        let mut there = Vec::new();
        for job_id in &jobs {
            there.push(admin::get_job(&queues, *job_id).await.is_ok());
        }
        left.push(there);
    }

    assert_eq!(left, [[false, true, true], [false, false, true], [false, false, false]]);
}

#[tokio::test]
async fn what_was_said_of_a_queue_can_be_taken_back() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let hour = Duration::from_hours(1);
    let state = JobState::Discarded;
    pruner::remember(&queues, QUEUE, state, hour).await.expect("the database is there");
    let said = pruner::list(&queues).await.expect("the database is there");

    let was_said = pruner::forget(&queues, QUEUE, state).await;
    let was_said_still = pruner::forget(&queues, QUEUE, state).await;

    assert!(said.iter().any(|line| line.queue == QUEUE && line.keep == hour));
    assert_eq!(said.len(), 4);
    assert_eq!((was_said.ok(), was_said_still.ok()), (Some(true), Some(false)));
    assert_eq!(pruner::list(&queues).await.map(|lines| lines.len()).ok(), Some(3));
}

#[tokio::test]
async fn a_backlog_of_many_batches_goes_in_one_round_and_is_counted() {
    let world = World::new().await;
    let queues = world.node("one").await;
    ended(&world, &queues, QUEUE, JobState::Completed).await;
    let copies = "insert into jobs.finished (id, org_id, queue, name, state, args, scope, \
                  max_attempts, timeout_ms, inserted_at, scheduled_at, completed_at)
                  select gen_random_uuid(), org_id, queue, name, state, args, scope, \
                  max_attempts, timeout_ms, inserted_at, scheduled_at, \
                  completed_at + number % 100 * interval '1 second'
                  from jobs.finished cross join generate_series(1, 5000) as number";
    sqlx::query(copies).execute(&world.owner).await.expect("the owner may");

    world.clock.advance(Duration::from_hours(24 * 8));
    let pruned = pruner::prune(&queues).await;

    assert_eq!(pruned.ok(), Some(5_001));
    assert_eq!(pruner::stats(&queues).pruned, 5_001);
    assert!(!pruner::stats(&queues).is_under_way);
    assert_eq!(world.count("completed").await, 0);
}

/// A job of this queue that ended like this, now.
#[tokio::test]
async fn a_job_that_holds_others_back_is_kept_and_what_tied_them_is_forgotten_with_the_last() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let chained =
        || NewJob { chain: Some(Chain::by("account").hold_if_cancelled()), ..world.job(json!({})) };
    let mut transaction = world.runtime().await;
    let now = world.clock.now();
    let chain = jobs::enqueue_all(&mut transaction, &[chained(), chained()], now).await;
    let workflow = Workflow::new("hire").step("fetch", world.job(json!({})));
    let flow = jobs::enqueue_workflow(&mut transaction, &workflow, now).await;
    let batch = Batch::new("import", [world.job(json!({}))]);
    let many = jobs::enqueue_batch(&mut transaction, &batch, now).await;
    transaction.commit().await.expect("the database is there");
    assert!(flow.is_ok() && many.is_ok());
    let holder = chain.expect("a chain takes any job")[0].job_id();
    admin::cancel_job(&queues, holder).await.expect("it waits");
    drain::drain(&queues, QUEUE, &completing()).await.expect("the others are performed");

    world.clock.advance(Duration::from_hours(24 * 40));
    pruner::prune(&queues).await.expect("the database is there");
    let is_kept = admin::get_job(&queues, holder).await.is_ok();
    let tied_then = ties(&world).await;
    admin::retry_job(&queues, holder).await.expect("it was kept");
    let went_on = drain::drain(&queues, QUEUE, &completing()).await;
    world.clock.advance(Duration::from_hours(24 * 40));
    pruner::prune(&queues).await.expect("the database is there");

    assert!(is_kept);
    assert_eq!(tied_then, [1, 0, 0], "the chain goes on, workflow and batch are over");
    assert_eq!(went_on.ok(), Some(2));
    assert_eq!(ties(&world).await, [0, 0, 0]);
}

/// How many chains, workflows and batches are remembered.
async fn ties(world: &World) -> [i64; 3] {
    let (chains, workflows, batches) = sqlx::query_as(
        "select (select count(*) from jobs.chains), (select count(*) from jobs.workflows),
             (select count(*) from jobs.batches)",
    )
    .fetch_one(&world.owner)
    .await
    .expect("the database is there");
    [chains, workflows, batches]
}

async fn ended(world: &World, queues: &Queues, queue: &str, state: JobState) -> JobId {
    let scope = Scope::system(world.org_id, "test", Uuid::now_v7());
    let job = NewJob::new(queue, WORK, json!({}), scope);
    let job_id = world.enqueue(&job).await;
    let outcome = match state {
        JobState::Completed => Outcome::Complete,
        _ => Outcome::Cancel("not needed".to_owned()),
    };
    let performers = performing(move |_| {
        let outcome = outcome.clone();
        async move { Ok(Performed::Outcome(outcome)) }
    });
    drain::drain(queues, queue, &performers).await.expect("the job is performed");
    job_id
}

fn completing() -> jobs::Performers {
    performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) })
}
