//! What runs later, elsewhere or because of something else acts for whoever caused it.

use platform::{OrgId, Role, Scope, TraceParent};
use serde_json::{Value, json};
use sqlx::Executor as _;
use testkit::{ACME, GLOBEX, TestSystem};
use uuid::Uuid;

use crate::world::{clock, every_domain, soon};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn start() -> TestSystem {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    testkit::start_with(every_domain(), clock(), "", edge).await
}

async fn operate(system: &TestSystem, operation: &str, input: Value) {
    let operator = system.member(ACME, Role::Operator);
    operator.call("operator", operation, input).await.expect("an operator may");
}

/// A traced request of a recruiter of `org_id`, whose job sends a message later.
async fn send_later(system: &TestSystem, org_id: OrgId) -> Scope {
    let trace: TraceParent = TRACE.parse().expect("the text is a trace");
    let scope = system.member(org_id, Role::Staff).scope().traced(Some(trace));
    let message = json!({"channel": "email", "recipient": "mia@example.com", "body": "hello"});
    let queued = system.system().call(&scope, "reach", "queue_message", message).await;
    queued.expect("the message is queued");
    scope
}

/// The organisation and the metadata of the event that a message was sent, by its chain.
async fn sent(system: &TestSystem, correlation_id: Uuid) -> (OrgId, Value) {
    let mut owner = system.owner().await;
    let found: (OrgId, String) = sqlx::query_as(
        "select org_id, convert_from(metadata, 'UTF8') from events.domain_events
         where event_type = 'message_sent'
             and convert_from(metadata, 'UTF8')::jsonb ->> 'correlation_id' = $1",
    )
    .bind(correlation_id.to_string())
    .fetch_one(&mut owner)
    .await
    .expect("the message was sent once");
    (found.0, serde_json::from_str(&found.1).expect("metadata are JSON"))
}

async fn assert_sent_for(system: &TestSystem, scope: &Scope) {
    let (org_id, metadata) = sent(system, scope.correlation_id).await;

    assert_eq!(org_id, scope.org_id);
    let user_id = scope.user_id().expect("a recruiter is a user").to_string();
    assert_eq!(metadata["actor"]["user_id"], user_id, "{metadata}");
    assert_eq!(metadata["traceparent"], TRACE, "{metadata}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_acts_for_whoever_enqueued_it_also_after_a_restart() {
    let system = start().await;
    operate(&system, "pause_queue", json!({"queue": "reach"})).await;
    let (acme, globex) = (send_later(&system, ACME).await, send_later(&system, GLOBEX).await);

    let kill = json!({"path": "root/domains/reach", "reason": "fire drill"});
    operate(&system, "kill_process", kill).await;
    operate(&system, "resume_queue", json!({"queue": "reach"})).await;
    system.settle().await;

    assert_sent_for(&system, &acme).await;
    assert_sent_for(&system, &globex).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_acts_for_whoever_enqueued_it_also_on_another_node() {
    let system = start().await;
    operate(&system, "pause_queue", json!({"queue": "reach"})).await;
    let scopes = [send_later(&system, ACME).await, send_later(&system, GLOBEX).await];

    let other = system.another_node(every_domain()).await;
    let here = json!({"queue": "reach", "node": system.system().queues().node_name()});
    operate(&system, "pause_queue_on_node", here).await;
    operate(&system, "resume_queue", json!({"queue": "reach"})).await;
    system.settle().await;

    for scope in &scopes {
        assert_sent_for(&system, scope).await;
    }
    let mut owner = system.owner().await;
    let elsewhere: i64 = sqlx::query_scalar(
        "select count(*) from jobs.every_job where queue = 'reach' and node <> $1",
    )
    .bind(system.system().queues().node_id())
    .fetch_one(&mut owner)
    .await
    .expect("the owner may count");
    assert_eq!(elsewhere, 2);
    other.stop().await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_events_of_two_organisations_never_mixes_them() {
    let system = start().await;
    let mut owner = system.owner().await;
    // While nobody can seal, events wait; afterwards consumers get them in one batch.
    owner.execute("begin; lock table events.seals in exclusive mode").await.expect("it is locked");
    let acme = system.member(ACME, Role::Staff);
    let globex = system.member(GLOBEX, Role::Staff);
    for number in 0..6 {
        for (member, mark) in [(&acme, "Acme"), (&globex, "Globex")] {
            let order = json!({
                "title": format!("{mark} order {number}"), "headcount": 1, "starts_on": soon(),
            });
            member.call("recruit", "open_job_order", order).await.expect("the order is opened");
        }
    }
    owner.execute("rollback").await.expect("it is free again");
    system.settle().await;

    let mixed: Vec<(String, Option<String>)> = sqlx::query_as(
        "select effect.domain || '.' || effect.event_type, cause.event_type
         from (
             select *, convert_from(metadata, 'UTF8')::jsonb as said from events.domain_events
         ) as effect
         left join events.domain_events as cause
             on cause.id = (effect.said ->> 'causation_id')::uuid
         where effect.said ? 'causation_id' and effect.org_id is distinct from cause.org_id",
    )
    .fetch_all(&mut owner)
    .await
    .expect("the owner may look");
    assert!(mixed.is_empty(), "{mixed:?}");
    let jobs: i64 = sqlx::query_scalar(
        "select count(*) from jobs.every_job where scope ->> 'org_id' <> org_id::text",
    )
    .fetch_one(&mut owner)
    .await
    .expect("the owner may count");
    assert_eq!(jobs, 0, "a job has the scope of another organisation");
    for (member, mark) in [(&acme, "Acme"), (&globex, "Globex")] {
        for (domain, list) in [
            ("recruit", "list_pipeline"),
            ("pulse", "list_roster_templates"),
            ("payroll", "list_billing_records"),
        ] {
            let page = member.call(domain, list, json!({"limit": 100})).await.expect("it is told");
            let items = page["items"].as_array().expect("a page has items");
            let titles = items.iter().filter_map(|item| item["title"].as_str());
            let own = titles.filter(|title| title.starts_with(&format!("{mark} order"))).count();
            assert_eq!((items.len(), own), (6, 6), "{domain}/{list} of {mark}: {page}");
        }
    }
    system.stop().await;
}
