//! The pages of this surface: the reference, and what problems mean.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::fixture;

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

async fn get(router: &Router, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty());
    let request = request.expect("the request is well-formed");
    let answer = router.clone().oneshot(request).await.expect("a router answers");
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.expect("the body is in memory").to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn the_reference_tells_of_every_operation_and_loads_nothing_from_elsewhere() {
    let system = testkit::start([fixture::domain()]).await;
    let router = rest::router(system.system().clone());

    let (status, headers, index) = get(&router, "/api/docs", BROWSER).await;
    let (_, _, page) = get(&router, "/api/docs/fixture", BROWSER).await;
    let (_, style, _) = get(&router, "/api/docs/style.css", "text/css").await;
    let (nothing, _, _) = get(&router, "/api/docs/nothing", BROWSER).await;

    assert_eq!((status, nothing), (StatusCode::OK, StatusCode::NOT_FOUND));
    for name in ["pack_crate", "get_crate", "list_crates", "reopen_crate", "drop_crate"] {
        assert!(index.contains(&format!("/api/docs/fixture#{name}")), "{name}");
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
    }
    assert!(page.contains("What is written on it."), "a field says what it means");
    assert!(page.contains("curl -X POST &quot;$FINNEST_URL/api/v1/fixture/crates&quot;"), "{page}");
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("it is text");
    assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{policy}");
    for text in [&index, &page] {
        assert!(!text.contains("<script") && !text.contains("style=") && !text.contains("http:"));
    }
    assert_eq!(style[header::CONTENT_TYPE], "text/css; charset=utf-8");
    system.stop().await;
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_its_meaning() {
    let system = testkit::start([fixture::domain()]).await;
    let router = rest::router(system.system().clone());

    let (_, _, problem) = get(&router, "/api/v1/fixture/crates", "*/*").await;
    let problem: Value = serde_json::from_str(&problem).expect("a problem is JSON");
    let address = problem["type"].as_str().expect("a problem has a type");
    let (status, _, told) = get(&router, address, "*/*").await;
    let (_, headers, page) = get(&router, address, BROWSER).await;
    let (_, _, all) = get(&router, "/problems", "application/json").await;
    let (unknown, _, _) = get(&router, "/problems/nothing", "*/*").await;

    let told: Value = serde_json::from_str(&told).expect("a meaning is JSON");
    let all: Vec<Value> = serde_json::from_str(&all).expect("all meanings are JSON");
    assert_eq!((status, unknown), (StatusCode::OK, StatusCode::NOT_FOUND));
    assert_eq!((&told["code"], &told["status"]), (&"token_missing".into(), &"401".into()));
    assert!(all.contains(&told));
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(page.contains(told["meaning"].as_str().expect("it has words")), "{page}");
    system.stop().await;
}
