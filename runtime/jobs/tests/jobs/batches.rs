//! Batches: jobs are counted together, and what follows from them is enqueued once.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use jobs::drain::drain;
use jobs::{
    Attempt, Batch, BatchError, BatchEvent, BatchProgress, EnqueueError, Enqueued, Failure, NewJob,
    Outcome, Performed, Performers, Unique, admin, sweeper,
};
use kernel::OrgId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{QUEUE, World, performing};

#[tokio::test]
async fn each_callback_is_enqueued_once_however_many_sweep() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let batch = with_callbacks(&world, (0..60).map(|_| job(&world, "complete")));
    enqueue(&world, &batch).await;
    let now = world.clock.now();
    let mut claiming = world.runtime().await;
    let claimed = jobs::claim(&mut claiming, QUEUE, 99, "one", now).await;
    claiming.commit().await.expect("the database is there");
    let claimed = claimed.expect("the database is there");

    let completing = claimed.iter().map(async |attempt| {
        let mut domain = world.domain(world.org_id).await;
        let done = jobs::complete(&mut domain, attempt.job_id, attempt.number, now).await;
        domain.commit().await.expect("the database is there");
        assert_eq!(done.ok(), Some(true));
    });
    let sweeping = (0..4).map(async |_| {
        for _ in 0..20 {
            sweeper::sweep(&queues).await.expect("nobody waits for ever");
        }
    });
    tokio::join!(join_all(completing), join_all(sweeping));
    let (performers, seen) = playing();
    drain(&queues, QUEUE, &performers).await.expect("the callbacks are performed");

    let progress = look(&world, batch.batch_id).await;
    assert_eq!((progress.jobs, progress.completed, progress.remaining()), (60, 60, 0));
    assert_eq!(progress.exhausted_at, Some(now));
    assert_eq!(*seen.lock().unwrap(), ["completed", "exhausted"]);
}

#[tokio::test]
async fn what_went_wrong_is_told_once_and_at_the_first_time() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let does = ["complete", "fail", "cancel", "fail", "cancel"];
    let batch = with_callbacks(&world, does.iter().map(|does| job(&world, does)));
    enqueue(&world, &batch).await;

    let (performers, seen) = playing();
    drain(&queues, QUEUE, &performers).await.expect("the jobs are performed");

    let progress = look(&world, batch.batch_id).await;
    let counts = (progress.completed, progress.cancelled, progress.discarded);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!((progress.jobs, counts), (5, (1, 2, 2)));
    assert_eq!(seen, ["cancelled", "discarded", "exhausted"]);
}

#[tokio::test]
async fn a_batch_is_completed_when_what_failed_was_retried() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let failing = job(&world, "fail once");
    let job_id = failing.job_id;
    let batch = with_callbacks(&world, [job(&world, "complete"), failing]);
    enqueue(&world, &batch).await;
    let (performers, seen) = playing();
    drain(&queues, QUEUE, &performers).await.expect("the jobs are performed");
    let before = seen.lock().unwrap().clone();

    admin::retry_job(&queues, job_id).await.expect("it was discarded");
    let meanwhile = look(&world, batch.batch_id).await;
    drain(&queues, QUEUE, &performers).await.expect("the job is performed");

    let after = look(&world, batch.batch_id).await;
    assert_eq!(before, ["exhausted", "discarded"]);
    assert_eq!((meanwhile.discarded, meanwhile.remaining()), (0, 1));
    assert_eq!((after.completed, after.remaining()), (2, 0));
    assert_eq!(*seen.lock().unwrap(), ["exhausted", "discarded", "completed"]);
}

#[tokio::test]
async fn a_callback_knows_its_batch_and_is_in_no_batch_itself() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let callback = NewJob { priority: 2, ..job(&world, "complete") };
    let callback_id = callback.job_id;
    let batch = Batch::new("one", [job(&world, "complete")]);
    let batch = batch.when(BatchEvent::Completed, callback);
    enqueue(&world, &batch).await;

    drain(&queues, QUEUE, &playing().0).await.expect("the jobs are performed");

    let row = crate::world::job_row(&queues, callback_id).await;
    let meta = json!({ "batch_id": batch.batch_id, "batch_event": "completed" });
    assert_eq!((row.meta, row.batch_id, row.priority), (meta, None, 2));
}

#[tokio::test]
async fn a_job_of_a_batch_adds_others_and_one_from_outside_comes_too_late() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let batch = with_callbacks(&world, [job(&world, "complete")]);
    enqueue(&world, &batch).await;
    let now = world.clock.now();
    let mut claiming = world.runtime().await;
    let claimed = jobs::claim(&mut claiming, QUEUE, 1, "one", now).await;
    claiming.commit().await.expect("the database is there");
    let attempt = claimed.expect("the database is there").remove(0);

    let more = NewJob { batch_id: Some(batch.batch_id), ..job(&world, "complete") };
    let mut domain = world.domain(world.org_id).await;
    let added = jobs::enqueue(&mut domain, &more, now).await;
    let done = jobs::complete(&mut domain, attempt.job_id, attempt.number, now).await;
    domain.commit().await.expect("the database is there");
    sweeper::sweep(&queues).await.expect("the database is there");
    let between = look(&world, batch.batch_id).await;
    let (performers, seen) = playing();
    drain(&queues, QUEUE, &performers).await.expect("the jobs are performed");
    let late = NewJob { batch_id: Some(batch.batch_id), ..job(&world, "complete") };
    let mut domain = world.domain(world.org_id).await;
    let refused = jobs::enqueue(&mut domain, &late, now).await;

    assert!(matches!(added, Ok(Enqueued::New(_))));
    assert_eq!(done.ok(), Some(true));
    assert_eq!((between.jobs, between.remaining(), between.exhausted_at), (2, 1, None));
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert!(matches!(refused, Err(EnqueueError::NoOpenBatch { .. })));
}

#[tokio::test]
async fn a_batch_of_nothing_new_is_completed_at_once() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let unique = || NewJob { unique: Some(Unique::by_args()), ..job(&world, "complete") };
    world.enqueue(&unique()).await;

    for jobs in [vec![], vec![unique()]] {
        let batch = with_callbacks(&world, jobs);
        enqueue(&world, &batch).await;
        let (performers, seen) = playing();
        drain(&queues, QUEUE, &performers).await.expect("the callbacks are performed");

        let mut seen = seen.lock().unwrap().clone();
        seen.retain(|event| event != "none");
        seen.sort_unstable();
        assert_eq!(seen, ["completed", "exhausted"]);
        assert!(look(&world, batch.batch_id).await.exhausted_at.is_some());
    }
}

#[tokio::test]
async fn a_domain_neither_joins_nor_sees_batches_that_are_not_its_own() {
    let world = World::new().await;
    let batch = with_callbacks(&world, [job(&world, "complete")]);
    enqueue(&world, &batch).await;
    let others = OrgId::new();
    let mut joining = NewJob { batch_id: Some(batch.batch_id), ..job(&world, "complete") };
    joining.scope.org_id = others;
    let mut elsewhere = job(&world, "complete");
    elsewhere.queue = "payroll".into();
    let mixed = Batch::new("mixed", [job(&world, "complete"), elsewhere]);

    let mut domain = world.domain(others).await;
    let seen = jobs::batch_progress(&mut domain, batch.batch_id).await;
    let joined = jobs::enqueue(&mut domain, &joining, world.clock.now()).await;
    let mut domain = world.domain(world.org_id).await;
    let mixed = jobs::enqueue_batch(&mut domain, &mixed, world.clock.now()).await;

    assert_eq!(seen.ok(), Some(None));
    assert!(matches!(joined, Err(EnqueueError::NoOpenBatch { .. })));
    assert!(matches!(mixed, Err(BatchError::Elsewhere { .. })));
}

fn job(world: &World, does: &str) -> NewJob {
    NewJob { max_attempts: 1, ..world.job(json!({ "does": does })) }
}

fn with_callbacks(world: &World, jobs: impl IntoIterator<Item = NewJob>) -> Batch {
    let events = [
        BatchEvent::Completed,
        BatchEvent::Exhausted,
        BatchEvent::Cancelled,
        BatchEvent::Discarded,
    ];
    events
        .into_iter()
        .fold(Batch::new("test", jobs), |batch, event| batch.when(event, job(world, "callback")))
}

/// Performs each job as it says, and notes of which event each callback was.
fn playing() -> (Performers, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = seen.clone();
    let performers = performing(move |attempt: Attempt| {
        let noting = noting.clone();
        async move {
            match attempt.args["does"].as_str() {
                Some("cancel") => Ok(Performed::Outcome(Outcome::Cancel("no".into()))),
                Some("fail once") if attempt.number > 1 => {
                    Ok(Performed::Outcome(Outcome::Complete))
                }
                Some("fail" | "fail once") => Err(Failure::Retry("it went wrong".into())),
                Some("callback") => {
                    let event = attempt.meta.get("batch_event").and_then(Value::as_str);
                    noting.lock().unwrap().push(event.unwrap_or("none").to_owned());
                    Ok(Performed::Outcome(Outcome::Complete))
                }
                _ => Ok(Performed::Outcome(Outcome::Complete)),
            }
        }
    });
    (performers, seen)
}

async fn enqueue(world: &World, batch: &Batch) {
    let mut domain = world.domain(world.org_id).await;
    let enqueued = jobs::enqueue_batch(&mut domain, batch, world.clock.now()).await;
    domain.commit().await.expect("the database is there");
    enqueued.expect("the batch is well-formed");
}

async fn look(world: &World, batch_id: Uuid) -> BatchProgress {
    let mut domain = world.domain(world.org_id).await;
    let progress = jobs::batch_progress(&mut domain, batch_id).await;
    progress.expect("the database is there").expect("the batch exists")
}
