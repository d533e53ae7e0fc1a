//! What is done to many jobs: in batches, once to each, whoever dies in between.

use jobs::admin::Change;
use jobs::bulk::{self, BulkError, BulkState};
use jobs::drain::drain;
use jobs::{Failure, Outcome, Performed, Queues};
use kernel::JobId;
use serde_json::json;

use crate::world::{QUEUE, World, performing};

/// More than one batch.
const MANY: usize = 1_203;

/// Many discarded jobs and one that is done, and a node.
async fn with_discarded(world: &World) -> Queues {
    let queues = world.node("one").await;
    let mut transaction = world.runtime().await;
    let jobs: Vec<_> = (0..MANY)
        .map(|number| {
            let mut job = world.job(json!({ "number": number }));
            job.max_attempts = 1;
            job
        })
        .collect();
    let enqueued = jobs::enqueue_all(&mut transaction, &jobs, world.clock.now()).await;
    enqueued.expect("the jobs are well-formed");
    transaction.commit().await.expect("the database is there");
    let discard = bulk::start_bulk(&queues, Change::Discard, "queue:recruit", "a test").await;
    discard.expect("the filter is well-formed");
    all_of_it(&queues).await;
    jobs::sweeper::sweep(&queues).await.expect("the database is there");
    world.enqueue_many(1).await;
    let completing = performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) });
    drain(&queues, QUEUE, &completing).await.expect("the job is performed");
    queues
}

async fn all_of_it(queues: &Queues) -> usize {
    let mut steps = 0;
    while bulk::advance(queues).await.expect("the database is there") {
        steps += 1;
    }
    steps
}

#[tokio::test]
async fn a_bulk_retry_reaches_every_job_once_and_tells_how_far_it_is() {
    let world = World::new().await;
    let queues = with_discarded(&world).await;

    let preview = bulk::preview_bulk(&queues, Change::Retry, "queue:recruit").await;
    let started = bulk::start_bulk(&queues, Change::Retry, "queue:recruit", "user 7").await;
    let bulk_id = started.as_ref().map(|bulk| bulk.bulk_id).expect("the filter is well-formed");
    bulk::advance(&queues).await.expect("it is counted");
    let counted = bulk::get_bulk(&queues, bulk_id).await.expect("it exists");
    bulk::advance(&queues).await.expect("a batch is done");
    let halfway = bulk::get_bulk(&queues, bulk_id).await.expect("it exists");
    // Another node goes on where the first one stopped.
    let other = world.node("two").await;
    all_of_it(&other).await;
    let ended = bulk::get_bulk(&other, bulk_id).await.expect("it exists");

    let preview = preview.expect("the filter is well-formed");
    assert_eq!((preview.fits.count, preview.fits.is_exact), (MANY as u64 + 1, true));
    assert_eq!(preview.refusals.into_iter().collect::<Vec<_>>(), [("completed".to_owned(), 1)]);
    assert_eq!(preview.sample.len(), 10);
    assert_eq!((counted.total, counted.done), (Some(MANY as u64 + 1), 0));
    assert_eq!((halfway.done + halfway.refused, halfway.state), (500, BulkState::Running));
    assert_eq!((ended.done, ended.refused, ended.state), (MANY as u64, 1, BulkState::Done));
    assert_eq!((ended.refusals["completed"], ended.asked_by.as_str()), (1, "user 7"));
    assert_eq!(world.count("available").await, i64::try_from(MANY).unwrap());
    assert_eq!(world.count("completed").await, 1);
}

#[tokio::test]
async fn a_bulk_change_that_is_cancelled_leaves_the_rest_as_it_was() {
    let world = World::new().await;
    let queues = with_discarded(&world).await;
    let started = bulk::start_bulk(&queues, Change::Delete, "state:discarded", "a test").await;
    let bulk_id = started.expect("the filter is well-formed").bulk_id;
    for _ in 0..2 {
        bulk::advance(&queues).await.expect("the database is there");
    }

    let cancelled = bulk::cancel_bulk(&queues, bulk_id).await.expect("it runs");
    let more = all_of_it(&queues).await;
    let again = bulk::cancel_bulk(&queues, bulk_id).await;

    assert_eq!((cancelled.state, cancelled.done, more), (BulkState::Cancelled, 500, 0));
    assert_eq!(world.count("discarded").await, i64::try_from(MANY - 500).unwrap());
    assert!(matches!(again, Err(BulkError::Ended(_, "cancelled"))));
}

#[tokio::test]
async fn jobs_enqueued_after_a_bulk_change_was_asked_for_are_not_touched() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(2).await;

    let started = bulk::start_bulk(&queues, Change::Cancel, "queue:recruit", "a test").await;
    world.enqueue_many(1).await;
    all_of_it(&queues).await;

    assert!(started.is_ok());
    assert_eq!((world.count("cancelled").await, world.count("available").await), (2, 1));
}

#[tokio::test]
async fn two_nodes_never_do_the_same_batch() {
    let world = World::new().await;
    let queues = with_discarded(&world).await;
    let other = world.node("two").await;
    let started = bulk::start_bulk(&queues, Change::Retry, "state:discarded", "a test").await;
    let bulk_id = started.expect("the filter is well-formed").bulk_id;

    tokio::join!(all_of_it(&queues), all_of_it(&other));
    all_of_it(&queues).await;

    let ended = bulk::get_bulk(&queues, bulk_id).await.expect("it exists");
    assert_eq!((ended.done, ended.refused, ended.state), (MANY as u64, 0, BulkState::Done));
}

#[tokio::test]
async fn a_bulk_change_that_the_database_refuses_has_failed_and_blocks_no_other() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(1).await;
    let failing = performing(|_| async { Err(Failure::Retry("no".into())) });
    drain(&queues, QUEUE, &failing).await.expect("the failure is recorded");
    let started = bulk::start_bulk(&queues, Change::Retry, "meta.x:1", "a test").await;
    let broken = started.expect("the filter is well-formed").bulk_id;
    sqlx::query("update jobs.bulks set filter = 'colour:red'").execute(&world.owner).await.unwrap();
    let started = bulk::start_bulk(&queues, Change::Retry, "queue:recruit", "a test").await;
    let good = started.expect("the filter is well-formed").bulk_id;

    all_of_it(&queues).await;

    let failed = bulk::get_bulk(&queues, broken).await.expect("it exists");
    let done = bulk::get_bulk(&queues, good).await.expect("it exists");
    assert_eq!((failed.state, done.state), (BulkState::Failed, BulkState::Done));
    let failure = failed.failure.unwrap_or_default();
    assert!(failure.contains("`colour` is no qualifier"), "{failure}");
    let listed = bulk::list_bulks(&queues).await.expect("the database is there");
    let listed: Vec<_> = listed.into_iter().map(|bulk| bulk.bulk_id).collect();
    assert_eq!(listed, [good, broken]);
}

#[tokio::test]
async fn a_bulk_change_says_which_jobs_it_means() {
    let world = World::new().await;
    let queues = world.node("one").await;

    let every = bulk::start_bulk(&queues, Change::Delete, "  ", "a test").await;
    let wrong = bulk::start_bulk(&queues, Change::Delete, "stat:discarded", "a test").await;
    let unknown = bulk::get_bulk(&queues, JobId::new().uuid()).await;

    assert!(matches!(every, Err(BulkError::EveryJob)));
    assert!(matches!(wrong, Err(BulkError::Filter(_))));
    assert!(matches!(unknown, Err(BulkError::Unknown(_))));
}
