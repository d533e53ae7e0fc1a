//! Bad input gets an answer that names the field, and leaves nothing behind.

use hyper::StatusCode;
use platform::Role;
use serde_json::{Value, json};
use testkit::ACME;

use crate::support::serve;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_appends_no_event_and_names_the_field() {
    let served = serve().await;
    let recruiter = served.recruiter();
    let cases = [
        (json!({"title": "Driver", "headcount": 0}), "/headcount"),
        (json!({"title": "", "headcount": 2}), "/title"),
        (json!({"title": "Driver", "headcount": "two"}), "/headcount"),
    ];

    for (input, pointer) in cases {
        let refused = served.post(&recruiter, "/api/v1/recruit/job_orders", input.clone()).await;

        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{input}: {}", refused.text);
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        let problem = refused.json();
        let pointers: Vec<&Value> = problem["errors"]
            .as_array()
            .expect("a refusal lists its fields")
            .iter()
            .map(|error| &error["pointer"])
            .collect();
        assert!(pointers.contains(&&json!(pointer)), "{input}: {problem}");
    }
    served.system.settle().await;
    let events = served.get(&served.operator(), "/api/v1/operator/events").await.json();
    assert_eq!(events["head"], 0);
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_may_not_open_a_job_order_and_nobody_without_a_token() {
    let served = serve().await;
    let worker = served.system.member(ACME, Role::Worker);

    let forbidden =
        served.post(&worker, "/api/v1/recruit/job_orders", crate::support::job_order()).await;
    let not_operator = served.get(&served.recruiter(), "/api/v1/operator/tree").await;

    assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
    assert_eq!(not_operator.status, StatusCode::FORBIDDEN);
    served.system.stop().await;
}
