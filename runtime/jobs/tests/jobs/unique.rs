//! Unique jobs: one of its kind, however many try at once and whatever happens meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use jobs::drain::drain;
use jobs::{
    Enqueued, Failure, JobState, NewJob, Outcome, Performed, Queues, Replace, Unique, admin,
    sweeper,
};
use kernel::{JobId, OrgId};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::world::{QUEUE, World, job_row, performing};

/// So many inserters at once.
const RIVALS: u32 = 32;

#[tokio::test]
async fn thirty_two_inserters_of_one_key_enqueue_one_job() {
    let world = World::new().await;
    let pool = world.connections(RIVALS).await;

    let rivals = (0..RIVALS).map(async |_| {
        let mut enqueued = Vec::new();
        for number in 0..50 {
            let job = unique(&world, json!({ "order": 4711, "n": number }), by_order());
            enqueued.push(enqueue_through(&pool, &world, &job).await);
        }
        enqueued
    });
    let enqueued: Vec<_> = join_all(rivals).await.into_iter().flatten().collect();

    let new: Vec<_> = enqueued.iter().filter(|e| matches!(e, Enqueued::New(_))).collect();
    assert_eq!((enqueued.len(), new.len()), (1_600, 1));
    assert!(enqueued.iter().all(|enqueued| enqueued.job_id() == new[0].job_id()));
    assert_eq!(world.count("available").await, 1);
}

#[tokio::test]
async fn many_at_once_with_the_same_keys_in_different_orders_all_get_through() {
    let world = World::new().await;
    let pool = world.connections(RIVALS).await;

    let rivals = (0..RIVALS as usize).map(async |rival| {
        // All steps are prime to 100: each rival walks through the same keys in its own order.
        let order = |step: usize| (rival * 31 + step * (7 + rival * 10)) % 100;
        let jobs: Vec<_> = (0..100)
            .map(|step| unique(&world, json!({ "order": order(step) }), by_order()))
            .collect();
        let mut transaction = runtime(&pool).await;
        let enqueued = jobs::enqueue_all(&mut transaction, &jobs, world.clock.now()).await;
        transaction.commit().await.expect("the database is there");
        enqueued.expect("nobody waits for ever")
    });
    let enqueued: Vec<_> = join_all(rivals).await.into_iter().flatten().collect();

    let new = enqueued.iter().filter(|enqueued| matches!(enqueued, Enqueued::New(_)));
    assert_eq!(i64::try_from(new.count()).ok(), Some(world.count("available").await));
    let orders = "select count(distinct args) from jobs.jobs";
    let orders: Result<i64, _> = sqlx::query_scalar(orders).fetch_one(&world.owner).await;
    assert_eq!(orders.ok(), Some(world.count("available").await));
}

#[tokio::test]
async fn when_the_first_is_rolled_back_the_second_takes_its_place() {
    let world = World::new().await;
    let first = unique(&world, json!({ "order": 1 }), by_order());
    let second = unique(&world, json!({ "order": 1 }), by_order());
    let mut hesitating = world.runtime().await;
    let now = world.clock.now();
    let enqueued = jobs::enqueue(&mut hesitating, &first, now).await;

    let waiting = enqueue_through(&world.pool, &world, &second);
    let (waited, ()) = tokio::join!(waiting, async {
        until_somebody_waits(&world).await;
        hesitating.rollback().await.expect("the database is there");
    });

    assert_eq!(enqueued.ok(), Some(Enqueued::New(first.job_id)));
    assert_eq!(waited, Enqueued::New(second.job_id));
    assert_eq!(world.count("available").await, 1);
}

#[tokio::test]
async fn a_job_counts_while_it_is_swept() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let pool = world.connections(8).await;
    let job = |number: i32| unique(&world, json!({ "order": number }), by_order());
    for number in 0..50 {
        world.enqueue(&job(number)).await;
    }
    let now = world.clock.now();
    let mut marking = world.runtime().await;
    let claimed = jobs::claim(&mut marking, QUEUE, 50, queues.node_id(), now).await;
    for attempt in claimed.expect("the database is there") {
        let done = jobs::complete(&mut marking, attempt.job_id, attempt.number, now).await;
        assert_eq!(done.ok(), Some(true));
    }
    marking.commit().await.expect("the database is there");

    let rivals = join_all((0..8).map(async |_| {
        for number in 0..50 {
            let enqueued = enqueue_through(&pool, &world, &job(number)).await;
            assert!(matches!(enqueued, Enqueued::Duplicate(_)), "{enqueued:?}");
        }
    }));
    let (swept, _) = tokio::join!(sweeper::sweep(&queues), rivals);

    assert_eq!(swept.ok(), Some(50));
    assert_eq!(world.count("completed").await, 50);
}

#[tokio::test]
async fn an_earlier_job_counts_by_its_state_and_its_age() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let cancelling = performing(|_| async { Ok(Performed::Outcome(Outcome::Cancel("no".into()))) });
    let cases = [
        (Unique::by_name(), Some(JobState::Completed), true),
        (Unique::by_name().until_it_ends(), Some(JobState::Completed), false),
        (Unique::by_name(), Some(JobState::Cancelled), false),
        (Unique::by_name().among(JobState::ALL), Some(JobState::Cancelled), true),
        (Unique::by_name(), None, true),
        (Unique::by_name().within(Duration::from_mins(5)), None, true),
        (Unique::by_name().within(Duration::from_secs(59)), None, false),
        (Unique::by_args(), None, false),
    ];

    for (number, (rules, ended, is_duplicate)) in (0..).zip(cases) {
        let mut first = unique(&world, json!({ "n": 1 }), rules.clone());
        let mut second = unique(&world, json!({ "n": 2 }), rules.clone());
        first.name = format!("work_{number}");
        second.name.clone_from(&first.name);
        if ended.is_some() {
            // Performed by the one name that has a performer, under the key of its own name.
            first.unique_key = Some(format!("case:{number}"));
            second.unique_key.clone_from(&first.unique_key);
            first.name = "work".into();
        }
        world.enqueue(&first).await;
        let performers =
            if ended == Some(JobState::Cancelled) { cancelling.clone() } else { completing() };
        if ended.is_some() {
            drain(&queues, QUEUE, &performers).await.expect("the job is performed");
        }
        world.clock.advance(Duration::from_mins(1));

        let enqueued = enqueue_through(&world.pool, &world, &second).await;

        let expected = if is_duplicate { first.job_id } else { second.job_id };
        assert_eq!(enqueued.job_id(), expected, "{rules:?} after {ended:?}");
        admin_cancel_all(&queues, &[first.job_id, second.job_id]).await;
    }
}

#[tokio::test]
async fn a_waiting_job_takes_the_fields_of_the_one_it_makes_superfluous() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let later = world.clock.now() + Duration::from_mins(10);
    let fields = [Replace::Args, Replace::Priority, Replace::ScheduledAt, Replace::Tags];
    let rules = by_order().replacing(fields);
    let first = unique(&world, json!({ "order": 1, "text": "old" }), rules.clone());
    let second = NewJob {
        priority: 3,
        scheduled_at: Some(later),
        tags: vec!["urgent".into()],
        max_attempts: 2,
        ..unique(&world, json!({ "order": 1, "text": "new" }), rules)
    };
    world.enqueue(&first).await;

    let mut domain = world.domain(world.org_id).await;
    let enqueued = jobs::enqueue(&mut domain, &second, world.clock.now()).await;
    domain.commit().await.expect("the database is there");

    let row = job_row(&queues, first.job_id).await;
    assert_eq!(enqueued.ok(), Some(Enqueued::Replaced(first.job_id)));
    assert_eq!(row.args, json!({ "order": 1, "text": "new" }));
    assert_eq!((row.state, row.scheduled_at), (JobState::Scheduled, later));
    assert_eq!((row.priority, row.tags), (3, vec!["urgent".to_owned()]));
    assert_eq!(row.max_attempts, first.max_attempts);
}

#[tokio::test]
async fn of_several_at_once_that_replace_the_same_job_the_last_is_right() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let rules = by_order().replacing([Replace::Args]);
    let jobs: Vec<_> = (0..5)
        .map(|number| unique(&world, json!({ "order": 1, "n": number }), rules.clone()))
        .collect();

    let mut domain = world.domain(world.org_id).await;
    let enqueued = jobs::enqueue_all(&mut domain, &jobs, world.clock.now()).await;
    domain.commit().await.expect("the database is there");

    let enqueued = enqueued.expect("the jobs are well-formed");
    assert_eq!(enqueued[0], Enqueued::New(jobs[0].job_id));
    assert!(enqueued[1..].iter().all(|each| *each == Enqueued::Replaced(jobs[0].job_id)));
    assert_eq!(job_row(&queues, jobs[0].job_id).await.args["n"], 4);
}

#[tokio::test]
async fn a_job_that_has_begun_keeps_its_fields() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let rules = by_order().replacing([Replace::Args]);
    let first = unique(&world, json!({ "order": 1, "text": "old" }), rules.clone());
    world.enqueue(&first).await;
    let mut claiming = world.runtime().await;
    let claimed = jobs::claim(&mut claiming, QUEUE, 1, "one", world.clock.now()).await;
    claiming.commit().await.expect("the database is there");

    let second = unique(&world, json!({ "order": 1, "text": "new" }), rules);
    let enqueued = enqueue_through(&world.pool, &world, &second).await;

    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(1));
    assert_eq!(enqueued, Enqueued::Duplicate(first.job_id));
    assert_eq!(job_row(&queues, first.job_id).await.args["text"], "old");
}

#[tokio::test]
async fn a_domain_replaces_nothing_that_is_not_its_own() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut of_another_queue = world.job(json!({}));
    of_another_queue.queue = "payroll".into();
    let mut of_another_org = world.job(json!({}));
    of_another_org.scope.org_id = OrgId::new();
    let own = world.job(json!({}));
    for job in [&of_another_queue, &of_another_org, &own] {
        world.enqueue(job).await;
    }

    for job in [&of_another_queue, &of_another_org, &own] {
        let mut domain = world.domain(world.org_id).await;
        let replaced: Vec<JobId> = sqlx::query_scalar(
            "select jobs.replace_waiting(array[$1::uuid], array['{\"args\": 1}'::jsonb], $2)",
        )
        .bind(job.job_id)
        .bind(world.clock.now())
        .fetch_all(&mut *domain)
        .await
        .expect("the function may be called");
        domain.commit().await.expect("the database is there");

        let is_own = job.job_id == own.job_id;
        assert_eq!(!replaced.is_empty(), is_own, "{job:?}");
        assert_eq!(job_row(&queues, job.job_id).await.args == json!(1), is_own);
    }
}

fn by_order() -> Unique {
    Unique::by_keys(["order"])
}

fn unique(world: &World, args: Value, rules: Unique) -> NewJob {
    NewJob { unique: Some(rules), ..world.job(args) }
}

async fn runtime(pool: &PgPool) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let begin = "begin; set local role finnest_runtime";
    pool.begin_with(begin).await.expect("the database is there")
}

async fn enqueue_through(pool: &PgPool, world: &World, job: &NewJob) -> Enqueued {
    let mut transaction = runtime(pool).await;
    let enqueued = jobs::enqueue(&mut transaction, job, world.clock.now()).await;
    transaction.commit().await.expect("the database is there");
    enqueued.expect("an earlier job is no error")
}

async fn admin_cancel_all(queues: &Queues, job_ids: &[JobId]) {
    for job_id in job_ids {
        // Those that ended or were not enqueued are refused.
        let _ = admin::cancel_job(queues, *job_id).await;
    }
}

async fn until_somebody_waits(world: &World) {
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
         and database = (select oid from pg_database where datname = current_database())";
    crate::world::until("somebody to wait for the lock", async || {
        let count: Result<i64, _> = sqlx::query_scalar(waiting).fetch_one(&world.owner).await;
        count.expect("the database is there") > 0
    })
    .await;
}

fn completing() -> jobs::Performers {
    performing(|_| async { Ok::<_, Failure>(Performed::Outcome(Outcome::Complete)) })
}
