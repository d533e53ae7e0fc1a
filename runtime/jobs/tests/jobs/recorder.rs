//! The recorder: how attempts ended is written down, many at a time, whatever is in the way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobs::producer::QueueOptions;
use jobs::{Failure, Outcome, Performed, lifeline};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::world::{World, job_row, performing, start, start_with, until};

const DONE: Result<Performed, Failure> = Ok(Performed::Outcome(Outcome::Complete));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_recorder_loses_and_doubles_nothing() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue_many(500).await;
    let performed = Arc::new(Mutex::new(HashMap::new()));
    let tally = performed.clone();
    let performers = performing(move |attempt| {
        *tally.lock().unwrap().entry(attempt.job_id).or_insert(0) += 1;
        async { DONE }
    });
    let root = start(&world, &queues, performers).await;

    for round in 1..=3 {
        let is_far_enough = async || queues.stats()[0].counts.claimed >= round * 100;
        until("some jobs to be claimed", is_far_enough).await;
        let is_killed = async || root.tree().kill("root/queue/recorder").is_ok();
        until("the recorder to run again and to be killed", is_killed).await;
    }

    world.until_count("completed", 500).await;
    let performed = performed.lock().unwrap().clone();
    assert_eq!(performed.len(), 500);
    assert!(performed.values().all(|times| *times == 1), "{performed:?}");
    root.stop().await;
}

#[tokio::test]
async fn an_end_that_cannot_be_recorded_yet_frees_its_place_and_is_rescued_by_nobody() {
    let world = World::new().await;
    let queues = world.node("one").await;
    refuse_finished(&world, "true", "53100").await;
    let job_ids = world.enqueue_many(3).await;
    let root = start_with(&world, &queues, QueueOptions::new(1), completing()).await;
    let counts = || queues.stats()[0].counts;
    until("each job to have its turn", async || counts().claimed == 3).await;
    until("the last to end", async || queues.stats()[0].running == 0).await;

    world.clock.advance(Duration::from_mins(1));
    let rescued = lifeline::rescue(&queues).await;
    world.owner.execute("drop trigger refuses on jobs.finished").await.expect("it is there");
    world.until_count("completed", 3).await;
    until("all to be counted", async || counts().completed == 3).await;

    assert_eq!(rescued.ok(), Some(0));
    assert_eq!((counts().claimed, counts().superseded), (3, 0));
    for job_id in job_ids {
        assert_eq!(job_row(&queues, job_id).await.duration, Some(Duration::ZERO));
    }
    root.stop().await;
}

#[tokio::test]
async fn one_end_that_is_refused_fails_its_own_attempt_only() {
    let world = World::new().await;
    let queues = world.node("one").await;
    refuse_finished(&world, "new.args ->> 'number' = '7'", "22023").await;
    let job_ids = world.enqueue_many(20).await;
    let root = start(&world, &queues, completing()).await;

    world.until_count("completed", 19).await;
    world.until_count("retryable", 1).await;

    let row = job_row(&queues, job_ids[7]).await;
    assert!(row.errors[0].error.contains("could not be recorded"), "{:?}", row.errors);
    root.stop().await;
}

#[tokio::test]
async fn a_stop_records_what_has_ended() {
    let world = World::new().await;
    let queues = world.node("one").await;
    world.enqueue(&world.job(json!({}))).await;
    let stopping = Arc::new(tokio::sync::Notify::new());
    let begun = stopping.clone();
    let performers = performing(move |_| {
        begun.notify_one();
        async { DONE }
    });
    let root = start(&world, &queues, performers).await;

    stopping.notified().await;
    root.stop().await;

    assert_eq!(world.count("completed").await, 1);
}

/// Has Postgres refuse to keep finished jobs that are so, with an error of that code.
async fn refuse_finished(world: &World, condition: &str, code: &str) {
    let statements = format!(
        "create function public.refuse() returns trigger language plpgsql as $$
         begin
             if {condition} then raise exception 'refused' using errcode = '{code}'; end if;
             return new;
         end $$;
         create trigger refuses before insert on jobs.finished
             for each row execute function public.refuse();",
    );
    // Safe: the text is written down in this file.
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&world.owner).await.expect("the owner may");
}

fn completing() -> jobs::Performers {
    performing(|_| async { DONE })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claiming_and_recording_read_what_they_touch_however_much_executes_elsewhere() {
    const JOBS: i64 = 300;
    let world = World::new().await;
    world.enqueue_many(3_300).await;
    // What Postgres knows of the table is from when nothing executed.
    let mut owner = world.owner.acquire().await.expect("the database is there");
    for statement in [
        "analyze jobs.jobs",
        "update jobs.jobs set state = 'executing', node = 'elsewhere', attempt = 1
         where (args ->> 'number')::int >= 300",
        // What this connection has counted is told now.
        "select pg_stat_force_next_flush()",
    ] {
        owner.execute(statement).await.expect("the owner may");
    }
    drop(owner);
    let queues = world.node("one").await;
    let before = rows_read(&world).await;

    let root = start_with(&world, &queues, QueueOptions::new(50), completing()).await;
    let is_done = async || queues.stats()[0].counts.completed == JOBS.unsigned_abs();
    until("all jobs to be completed", is_done).await;
    root.stop().await;
    // What a connection has counted is told when it ends, at the latest.
    world.pool.close().await;
    let at_least = before + JOBS;
    until("the counts", async || rows_read(&world).await >= at_least).await;

    let read = rows_read(&world).await - before;
    assert!(read < JOBS * 12, "{read} rows were read for {JOBS} jobs");
}

/// How many rows of the queue's table have been read so far, by whatever way.
async fn rows_read(world: &World) -> i64 {
    sqlx::query_scalar(
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
         from pg_stat_user_tables where relid = 'jobs.jobs'::regclass",
    )
    .fetch_one(&world.owner)
    .await
    .expect("the owner may look")
}
