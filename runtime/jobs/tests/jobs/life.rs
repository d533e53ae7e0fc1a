//! The life of a job: from its enqueueing to one of its three ends.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use jobs::drain::drain;
use jobs::{Enqueued, Failure, JobState, Outcome, Performed, stager};
use serde_json::json;
use tokio::sync::mpsc;

use crate::world::{QUEUE, World, job_row, performing, start, within};

#[tokio::test]
async fn a_job_runs_once_its_transaction_is_committed() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let (sender, mut performed) = mpsc::unbounded_channel();
    let performers = performing(move |attempt| {
        let sender = sender.clone();
        async move {
            sender.send(attempt.args).expect("the test listens");
            Ok(Performed::Outcome(Outcome::Complete))
        }
    });
    let root = start(&world, &queues, performers).await;

    let job_id = world.enqueue(&world.job(json!({ "headcount": 3 }))).await;
    queues.nudge(QUEUE);
    let args = within("the job to be performed", performed.recv()).await;
    world.until_count("completed", 1).await;

    let row = job_row(&queues, job_id).await;
    assert_eq!(args, Some(json!({ "headcount": 3 })));
    assert_eq!(row.node.as_deref(), Some(queues.node_id()));
    assert_eq!(row.attempt, 1);
    assert_eq!(row.attempted_at, Some(world.clock.now()));
    assert_eq!(row.completed_at, Some(world.clock.now()));
    assert_eq!(row.duration, Some(Duration::ZERO));
    root.stop().await;
}

#[tokio::test]
async fn a_job_that_is_rolled_back_was_never_enqueued() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut transaction = world.runtime().await;

    let enqueued = jobs::enqueue(&mut transaction, &world.job(json!({})), world.clock.now()).await;
    transaction.rollback().await.expect("the database is there");
    let drained = drain(&queues, QUEUE, &completing()).await;

    assert!(enqueued.is_ok());
    assert_eq!(drained.ok(), Some(0));
}

#[tokio::test]
async fn a_unique_key_is_enqueued_once_however_many_try() {
    let world = World::new().await;
    let keyed = |_| {
        let mut job = world.job(json!({}));
        job.unique_key = Some("draft_roster_template:4711".into());
        job
    };
    let rivals: Vec<_> = (0..8).map(keyed).collect();

    let attempts = rivals.iter().map(async |job| {
        let mut transaction = world.runtime().await;
        let enqueued = jobs::enqueue(&mut transaction, job, world.clock.now()).await;
        transaction.commit().await.expect("the database is there");
        enqueued.expect("a duplicate is no error")
    });
    let enqueued = futures_util::future::join_all(attempts).await;

    let new: Vec<_> = enqueued.iter().filter(|e| matches!(e, Enqueued::New(_))).collect();
    assert_eq!(new.len(), 1);
    assert!(enqueued.iter().all(|enqueued| enqueued.job_id() == new[0].job_id()));
    assert_eq!(world.count("available").await, 1);
}

#[tokio::test]
async fn jobs_are_performed_by_priority_then_time_then_age() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let now = world.clock.now();
    for (label, priority, age) in
        [("late", 5, 9), ("third", 1, 0), ("second", 1, 1), ("first", 0, 0)]
    {
        let mut job = world.job(json!(label));
        job.priority = priority;
        job.scheduled_at = Some(now - Duration::from_secs(age));
        world.enqueue(&job).await;
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let performers = performing(move |attempt| {
        seen.lock().unwrap().push(attempt.args);
        async { Ok(Performed::Outcome(Outcome::Complete)) }
    });

    drain(&queues, QUEUE, &performers).await.expect("the jobs are performed");

    let order = order.lock().unwrap().clone();
    assert_eq!(order, [json!("first"), json!("second"), json!("third"), json!("late")]);
}

#[tokio::test]
async fn a_scheduled_job_waits_for_its_time() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.scheduled_at = Some(world.clock.now() + Duration::from_mins(1));
    world.enqueue(&job).await;

    let early = drain(&queues, QUEUE, &completing()).await;
    world.clock.advance(Duration::from_mins(1));
    let in_time = drain(&queues, QUEUE, &completing()).await;

    assert_eq!((early.ok(), in_time.ok()), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_panic_is_retried_with_back_off_and_discarded_in_the_end() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.max_attempts = 3;
    let job_id = world.enqueue(&job).await;
    let performers = performing(|attempt| async move { panic!("attempt {}", attempt.number) });

    let mut waits = Vec::new();
    for _ in 0..2 {
        drain(&queues, QUEUE, &performers).await.expect("a panic is not ours");
        let row = job_row(&queues, job_id).await;
        assert_eq!(row.state, JobState::Retryable);
        let wait = (row.scheduled_at - world.clock.now()).to_std().expect("it is later");
        waits.push(wait);
        world.clock.advance(wait);
    }
    drain(&queues, QUEUE, &performers).await.expect("a panic is not ours");

    let row = job_row(&queues, job_id).await;
    let errors: Vec<_> = row.errors.iter().map(|error| error.error.as_str()).collect();
    assert_eq!(row.state, JobState::Discarded);
    assert_eq!(row.discarded_at, Some(world.clock.now()));
    assert_eq!(errors, ["panicked: attempt 1", "panicked: attempt 2", "panicked: attempt 3"]);
    for (wait, about) in waits.iter().zip([17.0, 19.0]) {
        let ratio = wait.as_secs_f64() / about;
        assert!((0.89..1.11).contains(&ratio), "{wait:?} is not about {about} s");
    }
    let counts = queues.stats()[0].counts;
    assert_eq!((counts.failed, counts.retried, counts.discarded), (3, 2, 1));
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_has_failed() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.timeout = Duration::from_millis(20);
    let job_id = world.enqueue(&job).await;
    let performers = performing(|_| std::future::pending());

    drain(&queues, QUEUE, &performers).await.expect("the failure is recorded");

    let row = job_row(&queues, job_id).await;
    assert_eq!(row.state, JobState::Retryable);
    assert_eq!(row.errors[0].error, "timed out after 20 milliseconds");
}

#[tokio::test]
async fn neither_a_snooze_nor_an_outage_uses_up_an_attempt() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.max_attempts = 1;
    let job_id = world.enqueue(&job).await;
    let performers = performing(|attempt| async move {
        match attempt.number {
            1..=5 => Ok(Performed::Outcome(Outcome::Snooze(Duration::from_mins(5)))),
            6..=9 => Err(Failure::Unavailable("the database is away".into())),
            _ => Ok(Performed::Outcome(Outcome::Complete)),
        }
    });

    for _ in 0..10 {
        drain(&queues, QUEUE, &performers).await.expect("the outcome is recorded");
        world.clock.advance(Duration::from_mins(5));
    }

    let row = job_row(&queues, job_id).await;
    assert_eq!(row.state, JobState::Completed);
    assert_eq!((row.attempt, row.used_attempts()), (10, 1));
}

#[tokio::test]
async fn a_job_may_cancel_itself() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let performers = performing(|_| async {
        Ok(Performed::Outcome(Outcome::Cancel("order was filled".into())))
    });

    drain(&queues, QUEUE, &performers).await.expect("the outcome is recorded");

    let row = job_row(&queues, job_id).await;
    assert_eq!(row.state, JobState::Cancelled);
    assert_eq!(row.errors[0].error, "order was filled");
}

#[tokio::test]
async fn a_job_nobody_can_perform_is_kept_for_a_later_deploy() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.name = "from_the_future".into();
    let job_id = world.enqueue(&job).await;

    drain(&queues, QUEUE, &completing()).await.expect("the failure is recorded");

    assert_eq!(job_row(&queues, job_id).await.state, JobState::Retryable);
}

#[tokio::test]
async fn a_job_remembers_its_latest_errors_only() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.max_attempts = 30;
    let job_id = world.enqueue(&job).await;
    let performers = performing(|attempt| async move {
        Err(Failure::Retry(format!("attempt {} failed", attempt.number)))
    });

    for _ in 0..25 {
        drain(&queues, QUEUE, &performers).await.expect("the failure is recorded");
        world.clock.advance(jobs::backoff::RETRY_MAX);
        stager::stage(&queues).await.expect("the database is there");
    }

    let row = job_row(&queues, job_id).await;
    assert_eq!(row.errors.len(), usize::from(jobs::ERRORS_MAX));
    assert_eq!(row.errors[0].error, "attempt 6 failed");
    assert_eq!(row.errors[19].attempt, 25);
}

fn completing() -> jobs::Performers {
    performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) })
}
