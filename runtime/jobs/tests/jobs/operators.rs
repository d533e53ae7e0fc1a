//! What operators do to queues and jobs.

use std::time::Duration;

use jobs::admin::{self, AdminError, Change, JobEdit};
use jobs::drain::{drain, unsettled};
use jobs::{Failure, JobState, Outcome, Performed, Queues};
use kernel::JobId;
use serde_json::json;
use tokio::sync::mpsc;

use crate::listing::filter_of;
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
    let filter = filter_of("queue:recruit state:available");

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
    let others = filter_of("queue:payroll");
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
async fn a_job_is_run_now_instead_of_at_its_time() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    job.scheduled_at = Some(world.clock.now() + Duration::from_hours(1));
    let job_id = world.enqueue(&job).await;

    let hurried = admin::change_job(&queues, Change::RunNow, job_id).await;
    let drained = drain(&queues, QUEUE, &completing()).await;
    let again = admin::change_job(&queues, Change::RunNow, job_id).await;

    assert_eq!(hurried.map(|job| job.state).ok(), Some(JobState::Available));
    assert_eq!(drained.ok(), Some(1));
    let refusal = again.expect_err("it is done").to_string();
    assert_eq!(refusal, format!("job {job_id} is completed, so it cannot be run now"));
}

#[tokio::test]
async fn what_an_operator_discards_and_deletes_is_given_up_and_forgotten() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = world.enqueue(&world.job(json!({}))).await;

    let discarded = admin::change_job(&queues, Change::Discard, job_id).await;
    jobs::sweeper::sweep(&queues).await.expect("the database is there");
    let deleted = admin::change_job(&queues, Change::Delete, job_id).await;
    let gone = admin::get_job(&queues, job_id).await;

    let discarded = discarded.expect("the job waits");
    assert_eq!((discarded.state, discarded.discarded_at), {
        (JobState::Discarded, Some(world.clock.now()))
    });
    assert_eq!(deleted.map(|job| job.job_id).ok(), Some(job_id));
    assert!(matches!(gone, Err(AdminError::NoSuchJob(_))));
}

#[tokio::test]
async fn a_job_that_waits_for_others_is_neither_retried_nor_run_nor_deleted_if_followed() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let wait = "update jobs.jobs set state = 'scheduled', waits_for = 1, is_followed = true";
    sqlx::query(wait).execute(&world.owner).await.expect("the owner may do anything");

    for (change, reason) in [
        (Change::Retry, "waits for the end of 1 others"),
        (Change::RunNow, "waits for the end of 1 others"),
        (Change::Delete, "others wait for the end of"),
    ] {
        let refused = admin::change_job(&queues, change, job_id).await;

        let refusal = refused.expect_err("it is in the way of others").to_string();
        assert!(refusal.contains(reason), "{}: {refusal}", change.name());
    }
    assert_eq!(job_row(&queues, job_id).await.state, JobState::Scheduled);
}

#[tokio::test]
async fn an_edited_job_is_performed_as_it_was_edited() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = world.enqueue(&world.job(json!({ "to": "old@example.com" }))).await;
    let (sender, mut performed) = mpsc::unbounded_channel();
    let performers = performing(move |attempt| {
        sender.send((attempt.args, attempt.max_attempts)).expect("the test listens");
        async { Ok(Performed::Outcome(Outcome::Complete)) }
    });
    let later = world.clock.now() + Duration::from_hours(1);
    let edit = JobEdit {
        args: Some(json!({ "to": "new@example.com" })),
        priority: Some(3),
        scheduled_at: Some(later),
        max_attempts: Some(2),
        tags: Some(vec!["mended".into()]),
        meta: Some(json!({ "ticket": 7 })),
        version: Some(admin::version(&job_row(&queues, job_id).await)),
    };

    let edited = admin::edit_job(&queues, job_id, &edit).await.expect("the job waits");
    let early = drain(&queues, QUEUE, &performers).await;
    world.clock.advance(Duration::from_hours(1));
    let in_time = drain(&queues, QUEUE, &performers).await;

    assert_eq!((edited.state, edited.priority), (JobState::Scheduled, 3));
    assert_eq!((edited.tags, edited.meta), (vec!["mended".into()], json!({ "ticket": 7 })));
    assert_eq!((early.ok(), in_time.ok()), (Some(0), Some(1)));
    let given = performed.try_recv().expect("the job was performed");
    assert_eq!(given, (json!({ "to": "new@example.com" }), 2));
}

#[tokio::test]
async fn an_edit_that_cannot_be_is_refused_with_its_reason() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let waiting = world.enqueue(&world.job(json!({}))).await;
    let version = admin::version(&job_row(&queues, waiting).await);
    let first = JobEdit { priority: Some(1), version: Some(version), ..JobEdit::default() };
    admin::edit_job(&queues, waiting, &first).await.expect("nobody was faster");
    let cases = [
        (JobEdit { priority: Some(2), ..first.clone() }, "it was changed meanwhile"),
        (JobEdit { priority: Some(10), version: None, ..first.clone() }, "priorities go from 0"),
        (JobEdit { max_attempts: Some(0), version: None, ..first.clone() }, "used 0 attempts"),
        (
            JobEdit { meta: Some(json!(7)), version: None, ..first.clone() },
            "its meta is no JSON object",
        ),
    ];

    for (edit, reason) in cases {
        let refused = admin::edit_job(&queues, waiting, &edit).await;

        let refusal = refused.expect_err(reason).to_string();
        assert!(refusal.contains(reason), "{refusal}");
    }
    drain(&queues, QUEUE, &completing()).await.expect("the job is performed");
    let late = admin::edit_job(&queues, waiting, &JobEdit::default()).await;
    let refusal = late.expect_err("it is done").to_string();
    assert_eq!(refusal, format!("job {waiting} cannot be edited: it is completed"));
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
