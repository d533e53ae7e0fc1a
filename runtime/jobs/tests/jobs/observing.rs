//! What is measured and told of jobs, to whoever wants to hear it.

use std::time::Duration;

use jobs::drain::drain;
use jobs::{
    Attempt, Failure, JobState, News, OBSERVED_MAX, Observed, Observer, Outcome, Performed,
    Performers, Queues,
};
use serde_json::json;

use crate::world::{QUEUE, World, performing, within};

/// Ends as its arguments say.
fn obedient() -> Performers {
    performing(|attempt: Attempt| async move {
        match attempt.args.as_str() {
            Some("fail") => Err(Failure::Retry("no answer".into())),
            Some("discard") => Ok(Performed::Outcome(Outcome::Discard("no such order".into()))),
            Some("cancel") => Ok(Performed::Outcome(Outcome::Cancel("filled".into()))),
            Some("snooze") => Ok(Performed::Outcome(Outcome::Snooze(Duration::from_mins(1)))),
            Some("away") => Err(Failure::Unavailable("the provider is away".into())),
            _ => Ok(Performed::Outcome(Outcome::Complete)),
        }
    })
}

async fn heard(observer: &mut Observer) -> Observed {
    within("something to hear", observer.next()).await.expect("the queues are there")
}

async fn ends_of(world: &World, queues: &Queues, args: &str) -> Vec<News> {
    let mut observer = queues.observe();
    let job_id = world.enqueue(&world.job(json!(args))).await;
    drain(queues, QUEUE, &obedient()).await.expect("the end is recorded");
    let mut news = Vec::new();
    for _ in 0..2 {
        match heard(&mut observer).await {
            Observed::Event(event) => {
                assert_eq!((event.job_id, event.attempt), (job_id, 1));
                news.push(event.news);
            }
            Observed::Missed(count) => panic!("missed {count} events"),
        }
    }
    news
}

#[tokio::test]
async fn an_observer_hears_how_each_attempt_began_and_ended() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let started = News::Started { waited: Duration::ZERO };
    let minute = world.clock.now() + Duration::from_mins(1);
    let cases = [
        ("complete", News::Completed),
        ("discard", News::Discarded { error: "no such order".into() }),
        ("cancel", News::Cancelled { reason: "filled".into() }),
        ("snooze", News::Snoozed { until: minute }),
        ("away", News::Excused),
    ];

    for (args, end) in cases {
        assert_eq!(ends_of(&world, &queues, args).await, [started.clone(), end], "{args}");
    }
    let failed = ends_of(&world, &queues, "fail").await;

    assert!(matches!(&failed[1], News::Failed { error, .. } if error == "no answer"));
}

#[tokio::test]
async fn an_observer_that_does_not_listen_delays_nobody_and_learns_what_it_missed() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut observer = queues.observe();
    let count = OBSERVED_MAX / 2 + 50;
    world.enqueue_many(count).await;

    let drained = drain(&queues, QUEUE, &obedient()).await;

    assert_eq!(drained.ok(), Some(count));
    assert_eq!(heard(&mut observer).await, Observed::Missed(100));
    assert!(matches!(heard(&mut observer).await, Observed::Event(_)));
}

#[tokio::test]
async fn waiting_and_running_are_measured_apart() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(3).await;
    world.clock.advance(Duration::from_mins(2));

    drain(&queues, QUEUE, &obedient()).await.expect("the jobs are performed");

    let times = queues.times().remove(0);
    assert_eq!((times.wait.sum, times.wait.counts[13]), (Duration::from_mins(6), 3));
    assert_eq!(times.run.counts.iter().sum::<u64>(), 3);
    assert!(times.run.sum < Duration::from_mins(2), "{:?}", times.run.sum);
}

#[tokio::test]
async fn a_backlog_tells_what_waits_and_for_how_long_and_nothing_of_what_is_done() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(2).await;
    drain(&queues, QUEUE, &obedient()).await.expect("the jobs are performed");
    world.enqueue_many(3).await;
    let mut later = world.job(json!({}));
    later.scheduled_at = Some(world.clock.now() + Duration::from_hours(1));
    world.enqueue(&later).await;
    world.clock.advance(Duration::from_secs(30));
    queues.pause("payroll").await.expect("the database is there");

    let backlog = queues.backlog().await.expect("the database is there");

    let waiting = &backlog[QUEUE];
    assert_eq!(waiting.oldest_available, Some(Duration::from_secs(30)));
    let counts: Vec<_> = waiting.counts.iter().map(|(state, count)| (*state, *count)).collect();
    assert_eq!(counts, [(JobState::Available, 3), (JobState::Scheduled, 1)]);
    assert!(backlog["payroll"].is_paused && !waiting.is_paused);
}
