//! What operators do to queues and jobs.

use std::time::Duration;

use jobs::admin::{self, AdminError, JobFilter};
use jobs::drain::{drain, unsettled};
use jobs::{Failure, JobState, Outcome, Performed, Queues};
use kernel::JobId;
use serde_json::json;
use tokio::sync::mpsc;

use crate::world::{QUEUE, World, job_row, performing, start, within};

#[tokio::test]
async fn a_paused_queue_claims_nothing_even_after_a_restart() {
    let world = World::new().await;
    let first = world.node("one").await;
    first.pause(QUEUE).await.expect("the database is there");
    world.enqueue_many(2).await;

    let second = world.node("one").await;
    let while_paused = drain(&second, QUEUE, &completing()).await;
    let listed = admin::list_queues(&second).await.expect("the database is there");
    let waiting = unsettled(&second).await.expect("the database is there");
    let root = start(&world, &second, completing()).await;
    second.resume(QUEUE).await.expect("the database is there");
    world.until_count("completed", 2).await;

    assert_eq!(while_paused.ok(), Some(0));
    assert_eq!(listed[0].paused_at, Some(world.clock.now()));
    assert_eq!(waiting, []);
    root.stop().await;
}

#[tokio::test]
async fn queues_are_listed_with_what_is_in_them() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let root = start(&world, &queues, completing()).await;
    world.enqueue_many(3).await;
    queues.nudge(QUEUE);
    world.until_count("completed", 3).await;
    let mut other = world.job(json!({}));
    other.queue = "payroll".into();
    world.enqueue(&other).await;

    let listed = admin::list_queues(&queues).await.expect("the database is there");

    let names: Vec<_> = listed.iter().map(|info| info.queue.as_str()).collect();
    assert_eq!(names, ["payroll", QUEUE]);
    assert_eq!(listed[0].counts[&JobState::Available], 1);
    assert_eq!(listed[1].counts[&JobState::Completed], 3);
    assert_eq!(listed[1].stats.as_ref().map(|stats| stats.limit), Some(10));
    root.stop().await;
}

#[tokio::test]
async fn jobs_are_listed_page_by_page_newest_first() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut enqueued = world.enqueue_many(5).await;
    enqueued.sort_unstable_by(|a, b| b.cmp(a));
    let filter = JobFilter { queue: Some(QUEUE.into()), state: Some(JobState::Available) };

    let mut listed: Vec<JobId> = Vec::new();
    let mut cursor = None;
    loop {
        let page =
            admin::list_jobs(&queues, &filter, cursor, 2).await.expect("the database is there");
        listed.extend(page.jobs.iter().map(|job| job.job_id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let others = JobFilter { queue: Some("payroll".into()), state: None };
    let none = admin::list_jobs(&queues, &others, None, 2).await.expect("the database is there");

    assert_eq!(listed, enqueued);
    assert_eq!(none.jobs, []);
}

#[tokio::test]
async fn a_discarded_job_may_be_retried_and_a_completed_one_may_not() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.max_attempts = 1;
    let job_id = world.enqueue(&job).await;
    let performers = performing(|attempt| async move {
        if attempt.number == 1 {
            return Err(Failure::Retry("the model is asleep".into()));
        }
        Ok(Performed::Outcome(Outcome::Complete))
    });
    drain(&queues, QUEUE, &performers).await.expect("the failure is recorded");
    let discarded = job_row(&queues, job_id).await.state;

    let retried = admin::retry_job(&queues, job_id).await;
    drain(&queues, QUEUE, &performers).await.expect("the job is performed");
    let refused = admin::retry_job(&queues, job_id).await;

    assert_eq!(discarded, JobState::Discarded);
    assert_eq!(retried.map(|row| row.state).ok(), Some(JobState::Available));
    assert!(matches!(
        refused,
        Err(AdminError::WrongState { state: JobState::Completed, wish: "retried", .. })
    ));
}

#[tokio::test]
async fn a_waiting_job_may_be_cancelled_once() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.scheduled_at = Some(world.clock.now() + Duration::from_hours(1));
    let job_id = world.enqueue(&job).await;

    let cancelled = admin::cancel_job(&queues, job_id).await;
    let again = admin::cancel_job(&queues, job_id).await;
    world.clock.advance(Duration::from_hours(2));
    let drained = drain(&queues, QUEUE, &completing()).await;

    assert_eq!(cancelled.map(|row| row.state).ok(), Some(JobState::Cancelled));
    assert!(matches!(again, Err(AdminError::WrongState { wish: "cancelled", .. })));
    assert_eq!(drained.ok(), Some(0));
}

#[tokio::test]
async fn cancelling_an_executing_job_ends_its_attempt() {
    let world = World::new().await;
    let queues = world.node("one").await;
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
    let root = start(&world, &queues, performers).await;
    let mut ended = within("the attempt", started.recv()).await.expect("the attempt runs");

    admin::cancel_job(&queues, job_id).await.expect("the job executes");
    within("the end of the attempt", ended.recv()).await;

    assert_eq!(job_row(&queues, job_id).await.state, JobState::Cancelled);
    root.stop().await;
}

#[tokio::test]
async fn a_job_that_does_not_exist_is_said_not_to() {
    let world = World::new().await;
    let queues: Queues = world.node("one").await;

    let refused = admin::cancel_job(&queues, JobId::new()).await;

    assert!(matches!(refused, Err(AdminError::NoSuchJob(_))));
}

fn completing() -> jobs::Performers {
    performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) })
}
