//! The founding story, from outside: one request, its consequences in four other domains, and their
//! news over a WebSocket.

use hyper::StatusCode;
use serde_json::json;
use testkit::ACME;

use crate::support::serve;

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_job_order_drafts_checks_writes_and_bills() {
    let served = serve().await;
    let recruiter = served.recruiter();
    let candidate = json!({
        "full_name": "Mia Nguyen", "mobile": "0491 570 006",
        "suburb": "Truganina", "postcode": "3029",
        "credentials": [{"code": "forklift_licence"}],
    });
    let registered = served.post(&recruiter, "/api/v1/recruit/candidates", candidate).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
    served.system.settle().await;
    let mut news = served.join(&recruiter, &format!("org:{ACME}:recruit")).await;
    let mut bills = served.join(&recruiter, &format!("org:{ACME}:payroll")).await;

    let input = json!({
        "title": "Forklift driver", "headcount": 3, "credentials_required": ["forklift_licence"],
    });
    let opened = served.post(&recruiter, "/api/v1/recruit/job_orders", input).await;
    assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.text);
    let job_order_id = opened.json()["job_order_id"].clone();

    let pushed = news.next("job_order_opened").await;
    assert_eq!(pushed["data"]["job_order_id"], job_order_id);
    assert_eq!(pushed["data"]["headcount"], 3);
    let billed = bills.next("billing_record_created").await;
    assert_eq!(billed["data"]["job_order_id"], job_order_id);
    served.system.settle().await;
    for path in [
        "/api/v1/pulse/roster_templates",
        "/api/v1/payroll/billing_records",
        "/api/v1/onboard/credential_checks",
        "/api/v1/reach/messages",
    ] {
        let list = served.get(&recruiter, path).await;
        assert_eq!(list.status, StatusCode::OK, "{path}: {}", list.text);
        let items = list.json()["items"].clone();
        assert_eq!(items.as_array().map(Vec::len), Some(1), "{path}: {items}");
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_one_key_happens_once() {
    let served = serve().await;
    let recruiter = served.recruiter();
    let scope = recruiter.scope();
    let system = served.system.system();

    let input = crate::support::job_order;
    let call =
        |key: &'static str| system.call_once(&scope, "recruit", "open_job_order", input(), key);
    let first = call("order-1").await.expect("the first call is answered");
    let again = call("order-1").await.expect("the second call is answered");
    let other = call("order-2").await.expect("another key is another call");

    assert_eq!(first.value, again.value);
    assert!(again.is_replayed && !first.is_replayed && !other.is_replayed);
    assert_ne!(first.value, other.value);
    served.system.settle().await;
    let orders = served.get(&recruiter, "/api/v1/recruit/job_orders").await.json();
    assert_eq!(orders["items"].as_array().map(Vec::len), Some(2));
    served.system.stop().await;
}
