//! What Postgres refuses a domain: other queues, other organisations.

use jobs::{EnqueueError, Enqueued, NewJob};
use kernel::{OrgId, Scope};
use serde_json::json;
use sqlx::Executor as _;
use uuid::Uuid;

use crate::world::{QUEUE, World, job_row};

#[tokio::test]
async fn a_domain_enqueues_and_completes_its_own_jobs() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let mut claiming = world.runtime().await;
    let job_id = world.enqueue(&world.job(json!({}))).await;
    let now = world.clock.now();
    let claimed = jobs::claim(&mut claiming, QUEUE, 1, queues.node_id(), now).await;
    claiming.commit().await.expect("the database is there");

    let mut domain = world.domain(world.org_id).await;
    let enqueued = jobs::enqueue(&mut domain, &world.job(json!({})), now).await;
    let is_completed = jobs::complete(&mut domain, job_id, 1, now).await;
    domain.commit().await.expect("the database is there");

    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(1));
    assert!(matches!(enqueued, Ok(Enqueued::New(_))));
    assert_eq!(is_completed.ok(), Some(true));
    assert_eq!(job_row(&queues, job_id).await.completed_at, Some(now));
}

#[tokio::test]
async fn a_domain_cannot_enqueue_for_another_domain_or_organisation() {
    let world = World::new().await;
    let mut other_queue = world.job(json!({}));
    other_queue.queue = "payroll".into();
    let other_org = NewJob {
        scope: Scope::system(OrgId::new(), "test", Uuid::now_v7()),
        ..world.job(json!({}))
    };

    for job in [other_queue, other_org] {
        let mut domain = world.domain(world.org_id).await;
        let refused = jobs::enqueue(&mut domain, &job, world.clock.now()).await;

        assert!(is_insufficient_privilege(refused.err()), "{job:?}");
    }
}

#[tokio::test]
async fn a_domain_neither_sees_nor_completes_what_is_not_its_own() {
    let world = World::new().await;
    let mut other_queue = world.job(json!({}));
    other_queue.queue = "payroll".into();
    let job_id = world.enqueue(&other_queue).await;
    let mut claiming = world.runtime().await;
    let claimed = jobs::claim(&mut claiming, "payroll", 1, "one", world.clock.now()).await;
    claiming.commit().await.expect("the database is there");

    let mut domain = world.domain(world.org_id).await;
    let seen: Result<i64, _> =
        sqlx::query_scalar("select count(*) from jobs.jobs").fetch_one(&mut *domain).await;
    let is_completed = jobs::complete(&mut domain, job_id, 1, world.clock.now()).await;

    assert_eq!(claimed.map(|claimed| claimed.len()).ok(), Some(1));
    assert_eq!(seen.ok(), Some(0));
    assert_eq!(is_completed.ok(), Some(false));
}

#[tokio::test]
async fn a_domain_can_neither_delete_jobs_nor_pause_queues() {
    let world = World::new().await;
    let statements = [
        "delete from jobs.jobs",
        "update jobs.jobs set args = 'null'",
        "update jobs.queues set paused_at = null",
        "select from jobs.nodes",
    ];

    for statement in statements {
        let mut domain = world.domain(world.org_id).await;
        let refused = domain.execute(statement).await;

        let code = refused.err().and_then(|error| Some(error.as_database_error()?.code()?.into()));
        assert_eq!(code, Some("42501".to_owned()), "{statement}");
    }
}

#[tokio::test]
async fn two_organisations_may_use_the_same_unique_key() {
    let world = World::new().await;
    let now = world.clock.now();
    let mut enqueued = Vec::new();
    for org_id in [OrgId::new(), OrgId::new()] {
        let mut job = world.job(json!({}));
        job.scope.org_id = org_id;
        job.unique_key = Some("monthly_invoice".into());
        let mut domain = world.domain(org_id).await;
        enqueued.push(jobs::enqueue(&mut domain, &job, now).await.expect("the key is free"));
        domain.commit().await.expect("the database is there");
    }

    assert!(enqueued.iter().all(|enqueued| matches!(enqueued, Enqueued::New(_))));
}

fn is_insufficient_privilege(error: Option<EnqueueError>) -> bool {
    let Some(EnqueueError::Database { source, .. }) = error else {
        return false;
    };
    source.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42501"))
}
