//! An operator kills a process: it comes back, its neighbours do not notice, and the log tells who
//! did it and why.

use hyper::StatusCode;
use serde_json::json;

use crate::support::serve;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_recorded_pushed_and_healed() {
    let served = serve().await;
    let operator = served.operator();
    let path = "root/domains/recruit/children/scoring_engine";
    let mut supervision = served.join(&operator, "system:supervision").await;

    let input = json!({"path": path, "reason": "to see it come back"});
    let killed = served.post(&operator, "/api/v1/operator/kill", input).await;

    assert_eq!(killed.status, StatusCode::OK, "{}", killed.text);
    loop {
        let event = supervision.next("supervision").await;
        if event["path"] == path && event.to_string().contains("restarted") {
            break;
        }
    }
    served.system.settle().await;
    let events = served.get(&operator, "/api/v1/operator/events").await.json();
    let requested = events["items"]
        .as_array()
        .expect("events are listed")
        .iter()
        .find(|event| event["event_type"] == "action_requested")
        .expect("the request is recorded");
    assert_eq!(requested["data"]["input"]["reason"], "to see it come back");
    assert_eq!(requested["scope"]["principal"]["role"], "operator");
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_exist_is_not_killed_and_the_nearest_is_named() {
    let served = serve().await;

    let input = json!({"path": "root/domains/recruit/children/scoring_engin", "reason": "a typo"});
    let refused = served.post(&served.operator(), "/api/v1/operator/kill", input).await;

    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert!(refused.text.contains("scoring_engine"), "{}", refused.text);
    served.system.stop().await;
}
