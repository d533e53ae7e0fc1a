//! Finding jobs: by qualifiers, page by page, without reading what nobody asked for.

use std::time::Duration;

use jobs::admin::{self, COUNT_MAX, JobFilter, WINDOW};
use jobs::drain::drain;
use jobs::{Failure, JobState, NewJob, Queues};
use kernel::JobId;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool};
use uuid::Uuid;

use crate::world::{QUEUE, World, performing};

/// So many finished jobs are too many to be read for a page.
const FINISHED: u32 = 200_000;

/// The filter that is typed like this, a long time after the tests' clock.
pub(crate) fn filter_of(text: &str) -> JobFilter {
    let now = "2027-03-04T05:06:07Z".parse().expect("the time is well-formed");
    JobFilter::parse(text, now).expect("the filter is well-formed")
}

#[tokio::test]
async fn jobs_are_found_by_each_of_their_qualities() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let wanted = wanted(&world);
    let job_id = world.enqueue(&wanted).await;
    world.enqueue_many(3).await;
    let mut elsewhere = world.job(json!({}));
    elsewhere.queue = "payroll".into();
    world.enqueue(&elsewhere).await;
    let failing = performing(|attempt| async move {
        match attempt.name.as_str() {
            "work" if attempt.args.get("candidate").is_some() => {
                Err(Failure::Retry("the model Timed Out".into()))
            }
            _ => Err(Failure::Retry("no".into())),
        }
    });
    drain(&queues, QUEUE, &failing).await.expect("the failures are recorded");
    let batch_id = Uuid::now_v7();
    let mark = "update jobs.jobs set batch_id = $1, chain_key = 'chain' where id = $2";
    let marked = sqlx::query(mark).bind(batch_id).bind(job_id).execute(&world.owner).await;
    marked.expect("the owner may do anything");

    for text in [
        format!("id:{job_id}"),
        format!("org:{} tag:eu", world.org_id),
        format!("batch:{batch_id}"),
        "queue:recruit,payroll state:retryable priority:7".to_owned(),
        "name:work tag:night tag:eu".to_owned(),
        "node:one args.candidate.id:4711".to_owned(),
        "args.skills.0:lift meta.urgent:true".to_owned(),
        "error:\"timed out\"".to_owned(),
        "chain:chain partition:acme".to_owned(),
        "scheduled_after:2027-01-15 tag:eu".to_owned(),
    ] {
        assert_eq!(found(&queues, &text).await, [job_id], "{text}");
    }
    for text in ["tag:us", "args.candidate.id:4712", "error:away", "inserted_before:2027-01-01"] {
        assert_eq!(found(&queues, text).await, [], "{text}");
    }
    assert_eq!(found(&queues, "").await.len(), 5);
    assert_eq!(found(&queues, "inserted_after:2027-01-01 queue:recruit").await.len(), 4);
}

#[tokio::test]
async fn finished_jobs_are_found_by_queue_state_and_time_beside_those_to_do() {
    let world = World::new().await;
    let queues = world.node("one").await;
    finish(&world, 4, "completed").await;
    finish(&world, 2, "discarded").await;
    world.enqueue_many(1).await;

    let discarded = found(&queues, "state:discarded").await;
    let ended = found(&queues, "queue:recruit state:discarded,completed,available").await;
    let recent = found(&queues, "finished_after:2027-01-01").await;
    let paged = all_pages(&queues, "queue:recruit", 2).await;

    assert_eq!((discarded.len(), ended.len(), recent.len()), (2, 7, 6));
    assert_eq!(paged, ended);
    assert!(paged.is_sorted_by(|one, other| one > other), "newest first: {paged:?}");
}

#[tokio::test]
async fn a_page_that_looked_far_enough_says_where_to_look_further() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut old = world.job(json!({}));
    old.tags = vec!["rare".into()];
    let job_id = world.enqueue(&old).await;
    finish(&world, WINDOW + 10, "completed").await;

    let filter = filter_of("tag:rare");
    let first = admin::list_jobs(&queues, &filter, None, 10).await.expect("there is a page");
    let all = all_pages(&queues, "tag:rare", 10).await;
    let count = admin::count_jobs(&queues, &filter).await.expect("there is a count");

    assert_eq!(first.jobs, []);
    assert!(first.next.is_some());
    assert_eq!(all, [job_id]);
    assert_eq!((count.count, count.is_exact), (0, false));
}

#[tokio::test]
async fn a_count_ends_where_more_is_only_more() {
    let world = World::new().await;
    let queues = world.node("one").await;
    finish(&world, COUNT_MAX + 5, "completed").await;
    finish(&world, 3, "cancelled").await;

    let count = async |text| admin::count_jobs(&queues, &filter_of(text)).await.expect("a count");
    let (many, few) = (count("state:completed").await, count("state:cancelled").await);
    let listed = admin::list_queues(&queues).await.expect("the database is there");

    assert_eq!((many.count, many.is_exact), (u64::from(COUNT_MAX), false));
    assert_eq!((few.count, few.is_exact), (3, true));
    assert_eq!(listed[0].counts[&JobState::Completed], u64::from(COUNT_MAX));
    assert_eq!(listed[0].counts[&JobState::Cancelled], 3);
}

#[tokio::test]
async fn neither_a_page_nor_a_count_reads_all_finished_jobs() {
    let world = World::new().await;
    // What was read is known to the connection that read it.
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect_with((*world.pool.connect_options()).clone()).await;
    let pool = pool.expect("the application may connect");
    let queues = world.node("one").await.through(pool.clone());
    finish(&world, FINISHED, "completed").await;
    finish(&world, 5, "discarded").await;
    world.enqueue_many(3).await;
    world.owner.execute("vacuum analyze jobs.finished").await.expect("the owner may do anything");

    for text in ["", "queue:recruit", "state:discarded", "queue:recruit state:completed,available"]
    {
        let before = rows_read(&pool).await;
        let page = admin::list_jobs(&queues, &filter_of(text), None, 50).await;
        let read = rows_read(&pool).await - before;

        assert!(page.is_ok_and(|page| !page.jobs.is_empty()), "{text}");
        assert!((5..500).contains(&read), "{read} rows were read for a page of `{text}`");
    }
    for text in ["tag:nowhere", "state:completed args.none:1", "error:never"] {
        let before = rows_read(&pool).await;
        let page = admin::list_jobs(&queues, &filter_of(text), None, 50).await;
        let read = rows_read(&pool).await - before;

        assert!(page.is_ok_and(|page| page.next.is_some()), "{text}");
        let window = i64::from(WINDOW);
        assert!((window..4 * window).contains(&read), "{read} rows were read for `{text}`");
    }
    let before = rows_read(&pool).await;
    admin::list_queues(&queues).await.expect("the database is there");
    admin::count_jobs(&queues, &filter_of("queue:recruit")).await.expect("there is a count");
    let read = rows_read(&pool).await - before;
    let most = i64::from(COUNT_MAX);
    assert!((most..4 * most).contains(&read), "{read} rows were read for counts");
}

/// A job with everything that it can be found by.
fn wanted(world: &World) -> NewJob {
    let args = json!({ "candidate": { "id": 4711 }, "skills": ["lift", "count"] });
    NewJob {
        priority: 7,
        tags: vec!["eu".into(), "night".into()],
        meta: json!({ "urgent": true }),
        partition_key: Some("acme".into()),
        ..world.job(args)
    }
}

async fn found(queues: &Queues, text: &str) -> Vec<JobId> {
    let page = admin::list_jobs(queues, &filter_of(text), None, 50).await;
    page.expect("the database is there").jobs.into_iter().map(|job| job.job_id).collect()
}

async fn all_pages(queues: &Queues, text: &str, limit: u32) -> Vec<JobId> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = admin::list_jobs(queues, &filter_of(text), cursor, limit).await;
        let page = page.expect("the database is there");
        all.extend(page.jobs.into_iter().map(|job| job.job_id));
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

/// Puts so many finished jobs of a state beside the queue, newer than all that are there.
async fn finish(world: &World, count: u32, state: &str) {
    let scope: Value = serde_json::to_value(world.job(json!({})).scope).expect("a scope is JSON");
    let statement = format!(
        "insert into jobs.finished (id, org_id, queue, name, state, args, scope, max_attempts, \
             timeout_ms, inserted_at, scheduled_at, {state}_at)
         select ('ffffffff-ffff-7fff-bfff-' || lpad(to_hex(number + $5), 12, '0'))::uuid, $1, \
             'recruit', 'work', '{state}', '{{}}', $2, 20, 60000, $3, $3, $3
         from generate_series(1, $4) as number"
    );
    let before: i64 = sqlx::query_scalar("select count(*) from jobs.finished")
        .fetch_one(&world.owner)
        .await
        .expect("the owner may do anything");
    let inserted = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(world.org_id)
        .bind(scope)
        .bind(world.clock.now() - Duration::from_hours(1))
        .bind(i64::from(count))
        .bind(before)
        .execute(&world.owner)
        .await;
    inserted.expect("the owner may do anything");
}

/// How many rows of finished jobs a connection has read so far, by whatever plan.
async fn rows_read(pool: &PgPool) -> i64 {
    // In a transaction of its own, so that the next one sees it.
    pool.execute("select pg_stat_force_next_flush()").await.expect("it may be flushed");
    let statement = "select coalesce(sum(idx_tup_read), 0)::bigint
         + (select coalesce(seq_tup_read, 0) from pg_stat_user_tables
            where schemaname = 'jobs' and relname = 'finished')
         from pg_stat_user_indexes where schemaname = 'jobs' and relname = 'finished'";
    sqlx::query_scalar(statement).fetch_one(pool).await.expect("statistics are there")
}
