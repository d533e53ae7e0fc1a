//! An operator looks inside a process, holds it still, watches its messages and lets it go again.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::support::{Served, serve};

const HEALTH: &str = "root/domains/onboard/children/provider_health";
const ASK_HEALTH: &str = "/api/v1/onboard/provider_health";

async fn look(served: &Served) -> Value {
    let target = format!("/api/v1/operator/process?path={HEALTH}");
    served.get(&served.operator(), &target).await.json()
}

async fn act(served: &Served, operation: &str, input: Value) -> Value {
    let target = format!("/api/v1/operator/{operation}");
    let answer = served.post(&served.operator(), &target, input).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_knows_and_does_can_be_seen() {
    let served = serve().await;
    let observe = json!({"path": HEALTH, "statistics": true, "log_max": 10});

    act(&served, "observe_process", observe).await;
    let answered = served.get(&served.operator(), ASK_HEALTH).await;
    let seen = look(&served).await;

    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    assert_eq!(seen["state"]["failure_count"], 0, "{seen}");
    assert!(seen["statistics"]["messages_in"].as_u64() >= Some(1), "{seen}");
    let log = seen["log"].as_array().expect("it was asked for");
    assert!(log.iter().any(|event| event["kind"] == "in" && event["message"] == "ask"), "{seen}");
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stands_still_between_suspend_and_resume_and_both_are_recorded() {
    let served = serve().await;
    let suspend = json!({"path": HEALTH, "reason": "to look closer"});

    act(&served, "suspend_process", suspend).await;
    let meanwhile = served.get(&served.operator(), ASK_HEALTH).await;
    let still = look(&served).await;
    act(&served, "resume_process", json!({"path": HEALTH})).await;
    let afterwards = served.get(&served.operator(), ASK_HEALTH).await;

    assert_eq!(meanwhile.status, StatusCode::SERVICE_UNAVAILABLE, "{}", meanwhile.text);
    assert_eq!(still["is_suspended"], true, "{still}");
    assert_eq!(still["state"]["failure_count"], 0, "{still}");
    assert_eq!(afterwards.status, StatusCode::OK, "{}", afterwards.text);
    served.system.settle().await;
    let events = served.get(&served.operator(), "/api/v1/operator/events").await.json();
    let events = events["items"].as_array().expect("events are listed");
    let requested = |operation: &str| {
        events.iter().any(|event| {
            event["event_type"] == "action_requested" && event["data"]["operation"] == operation
        })
    };
    assert!(requested("suspend_process") && requested("resume_process"), "{events:?}");
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_process_can_be_watched_for_a_while() {
    let served = serve().await;
    let trace = json!({"path": HEALTH, "events_max": 2, "within_ms": 10_000});
    let asking = async {
        loop {
            served.get(&served.operator(), ASK_HEALTH).await;
        }
    };

    let trace = tokio::select! {
        trace = act(&served, "trace_process", trace) => trace,
        () = asking => unreachable!("it asks for ever"),
    };

    let kinds = [&trace["items"][0]["kind"], &trace["items"][1]["kind"]];
    assert!(kinds.contains(&&json!("in")) || kinds.contains(&&json!("handled")), "{trace}");
    assert_eq!(trace["items"].as_array().map(Vec::len), Some(2));
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_operator_sees_nothing_of_it() {
    let served = serve().await;
    let target = format!("/api/v1/operator/process?path={HEALTH}");

    let refused = served.get(&served.recruiter(), &target).await;
    let unknown = served.get(&served.operator(), "/api/v1/operator/process?path=root/x").await;
    let loop_path = "root/store/sealer";
    let no_mailbox = json!({"path": loop_path, "reason": "not possible"});
    let conflict =
        served.post(&served.operator(), "/api/v1/operator/suspend_process", no_mailbox).await;

    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{}", unknown.text);
    assert_eq!(conflict.status, StatusCode::CONFLICT, "{}", conflict.text);
    served.system.stop().await;
}
