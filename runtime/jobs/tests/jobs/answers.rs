//! What an attempt may answer, what it is given, and what its job remembers of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use jobs::drain::drain;
use jobs::{
    Attempt, BoxFuture, EnqueueError, Failure, JobState, Outcome, Perform, Performed, Performers,
    RESULT_BYTES_MAX, admin, lifeline, panics,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{QUEUE, WORK, World, job_row, performing, start, within};

#[tokio::test]
async fn a_job_that_breaks_a_rule_is_refused_in_words() {
    let world = World::new().await;
    let mut job = world.job(json!({}));
    job.priority = 10;

    let mut transaction = world.runtime().await;
    let refused = jobs::enqueue(&mut transaction, &job, world.clock.now()).await;

    let refused = refused.expect_err("there is no such priority");
    assert!(matches!(refused, EnqueueError::Malformed { .. }));
    assert_eq!(
        refused.to_string(),
        "job `work` cannot be enqueued: its priority is 10; priorities go from 0 (first) to 9 \
         (last)"
    );
}

#[tokio::test]
async fn an_attempt_is_given_what_its_maker_noted() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut job = world.job(json!({}));
    (job.tags, job.meta) = (vec!["urgent".into()], json!({"asked_by": "a client"}));
    job.timeout = Duration::from_secs(90);
    world.enqueue(&job).await;
    let (sender, mut given) = mpsc::unbounded_channel();
    let performers = performing(move |attempt| {
        sender.send(attempt).expect("the test listens");
        async { Ok(Performed::Outcome(Outcome::Complete)) }
    });

    drain(&queues, QUEUE, &performers).await.expect("the job is performed");

    let attempt = given.recv().await.expect("the job is performed");
    let deadline = attempt.deadline();
    assert_eq!((attempt.tags, attempt.meta), (job.tags, job.meta));
    assert_eq!(
        (attempt.number, attempt.max_attempts, attempt.job_id),
        (1, job.max_attempts, job.job_id)
    );
    assert_eq!(deadline, world.clock.now() + Duration::from_secs(90));
}

#[tokio::test]
async fn a_small_result_stays_with_its_job_and_a_long_one_does_not() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let small = world.enqueue(&world.job(json!({"score": 4711}))).await;
    let long = world.enqueue(&world.job(json!("a".repeat(RESULT_BYTES_MAX)))).await;
    let performers =
        performing(|attempt| async { Ok(Performed::Outcome(Outcome::CompleteWith(attempt.args))) });

    drain(&queues, QUEUE, &performers).await.expect("the jobs are performed");

    let (small, long) = (job_row(&queues, small).await, job_row(&queues, long).await);
    assert_eq!((small.state, small.result), (JobState::Completed, Some(json!({"score": 4711}))));
    assert_eq!((long.state, long.result), (JobState::Completed, None));
}

#[tokio::test]
async fn a_job_may_discard_itself_before_its_attempts_are_used_up() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let performers =
        performing(|_| async { Ok(Performed::Outcome(Outcome::Discard("no such order".into()))) });

    drain(&queues, QUEUE, &performers).await.expect("the outcome is recorded");

    let row = job_row(&queues, job_id).await;
    assert_eq!((row.state, row.attempt), (JobState::Discarded, 1));
    assert_eq!(row.discarded_at, Some(world.clock.now()));
    assert_eq!(row.errors[0].error, "no such order");
}

/// Fails in its own way, with a patience of its own.
struct Patient(Duration);

impl Perform for Patient {
    fn perform(&self, attempt: Attempt) -> BoxFuture<'static, Result<Performed, Failure>> {
        Box::pin(async move {
            assert!(attempt.args != "panic", "on purpose");
            Err(Failure::Retry("again".into()))
        })
    }

    fn backoff(&self, attempt: &Attempt) -> Option<Duration> {
        Some(self.0 * attempt.used())
    }
}

#[tokio::test]
async fn a_kind_of_job_may_have_a_patience_of_its_own_however_it_fails() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let patient: Arc<dyn Perform> = Arc::new(Patient(Duration::from_hours(1)));
    let performers: Performers = Arc::new(HashMap::from([(WORK.to_owned(), patient)]));

    for args in ["fail", "panic"] {
        let job_id = world.enqueue(&world.job(json!(args))).await;
        let mut waits = Vec::new();
        for _ in 0..2 {
            drain(&queues, QUEUE, &performers).await.expect("the failure is recorded");
            let wait = job_row(&queues, job_id).await.scheduled_at - world.clock.now();
            waits.push(wait.num_hours());
            world.clock.advance(Duration::from_hours(2));
        }
        assert_eq!(waits, [1, 2], "{args}");
        admin::cancel_job(&queues, job_id).await.expect("the job waits");
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the provider does not answer")]
struct NoAnswer(#[source] std::io::Error);

#[tokio::test]
async fn a_job_remembers_the_causes_of_a_failure_and_the_place_of_a_panic() {
    panics::note_panics();
    let world = World::new().await;
    let queues = world.node("one").await;
    let failing = world.enqueue(&world.job(json!("fail"))).await;
    let panicking = world.enqueue(&world.job(json!("panic"))).await;
    let performers = performing(|attempt| async move {
        assert!(attempt.args != "panic", "on purpose");
        let error = NoAnswer(std::io::Error::other("no route to host"));
        Err(Failure::Retry(error.to_string()).caused_by(&error))
    });

    drain(&queues, QUEUE, &performers).await.expect("the failures are recorded");

    let failed = job_row(&queues, failing).await.errors.remove(0);
    assert_eq!(failed.error, "the provider does not answer");
    assert_eq!(failed.stack, ["no route to host"]);
    let panicked = job_row(&queues, panicking).await.errors.remove(0);
    assert_eq!(panicked.error, "panicked: on purpose");
    let place = panicked.stack.first().expect("the place is noted");
    assert!(place.starts_with("at ") && place.contains("answers.rs:"), "{place}");
}

#[tokio::test]
async fn cancelling_on_another_node_ends_the_attempt_and_its_effect_is_refused() {
    let world = World::new().await;
    let (near, far) = (world.node("near").await, world.node("far").await);
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let performers = performing(move |attempt| {
        let (guard, ended) = mpsc::unbounded_channel::<()>();
        sender.send((attempt.number, ended)).expect("the test listens");
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let root = start(&world, &far, performers).await;
    let (number, mut ended) =
        within("the attempt", started.recv()).await.expect("the attempt runs");

    let before = lifeline::end_superseded(&far).await.ok();
    admin::cancel_job(&near, job_id).await.expect("the job executes");
    let mut effect = world.runtime().await;
    let is_completed = jobs::complete(&mut effect, job_id, number, world.clock.now()).await;
    effect.rollback().await.expect("the database is there");
    let after = lifeline::end_superseded(&far).await.ok();
    within("the end of the attempt", ended.recv()).await;

    assert_eq!((before, after), (Some(0), Some(1)));
    assert_eq!(is_completed.ok(), Some(false));
    assert_eq!(job_row(&near, job_id).await.state, JobState::Cancelled);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_attempt_that_blocks_its_thread_delays_no_other_and_times_out_when_it_lets_go() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let (release, released) = blocking::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let performers = performing(move |attempt: Attempt| {
        let released = released.clone();
        async move {
            if attempt.args == "block" && attempt.number == 1 {
                // Nothing can end it, not even its time limit, until the thread is let go.
                released.lock().expect("nobody panicked").recv().expect("the test lets go");
                std::future::pending::<()>().await;
            }
            Ok(Performed::Outcome(Outcome::Complete))
        }
    });
    let root = start(&world, &queues, performers).await;

    let mut blocking = world.job(json!("block"));
    blocking.timeout = Duration::from_millis(10);
    let blocking = world.enqueue(&blocking).await;
    queues.nudge(QUEUE);
    world.until_count("executing", 1).await;
    world.enqueue_many(20).await;
    queues.nudge(QUEUE);
    world.until_count("completed", 20).await;
    let while_blocked = job_row(&queues, blocking).await.state;
    release.send(()).expect("the attempt waits");
    world.until_count("retryable", 1).await;

    assert_eq!(while_blocked, JobState::Executing);
    let row = job_row(&queues, blocking).await;
    assert_eq!(row.errors[0].error, "timed out after 10 milliseconds");
    root.stop().await;
}

#[tokio::test]
async fn an_effect_completes_its_job_with_a_result() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut results: Vec<Option<Value>> = Vec::new();

    for result in [json!({"job_order": 4711}), Value::Null] {
        let job_id = world.enqueue(&world.job(json!({}))).await;
        let now = world.clock.now();
        let mut domain = world.runtime().await;
        jobs::claim(&mut domain, QUEUE, 1, queues.node_id(), now).await.expect("it is due");
        let owns = jobs::complete_with(&mut domain, job_id, 1, Some(result), now).await;
        domain.commit().await.expect("the database is there");
        assert_eq!(owns.ok(), Some(true));
        jobs::sweeper::sweep(&queues).await.expect("the database is there");
        results.push(job_row(&queues, job_id).await.result);
    }

    assert_eq!(results, [Some(json!({"job_order": 4711})), None]);
}
