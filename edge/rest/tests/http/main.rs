//! The REST surface over a real system: every kind of answer, as a client sees it.

mod conventions;
mod docs;
mod edge;
mod fixture;
mod limits;
mod shelf;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use platform::Role;
use serde_json::json;
use testkit::ACME;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::edge::Edge;

#[tokio::test]
async fn what_is_created_is_answered_with_its_address() {
    let edge = Edge::start().await;

    let (answer, crate_) =
        edge.call("POST", "/api/v1/fixture/crates", r#"{"label":"nails"}"#).await;

    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(crate_["label"], "nails");
    let id = crate_["crate_id"].as_str().expect("a crate has an id");
    let expected = format!("/api/v1/fixture/crates/{id}");
    assert_eq!(answer.headers()[header::LOCATION], expected.as_str());
    edge.system.stop().await;
}

#[tokio::test]
async fn the_correlation_id_of_a_request_is_that_of_its_events() {
    let edge = Edge::start().await;
    let correlation_id = Uuid::now_v7().to_string();
    let mut listening = edge.system.system().bus().subscribe(platform::bus::TopicFilter::All);
    let mut request = edge.request("POST", "/api/v1/fixture/crates", r#"{"label":"nails"}"#);
    let value = correlation_id.parse().expect("a UUID is a header value");
    request.headers_mut().insert("x-correlation-id", value);

    let (answer, _) = edge.send(request).await;

    assert_eq!(answer.headers()["x-correlation-id"], correlation_id.as_str());
    let heard = tokio::time::timeout(Duration::from_secs(10), listening.recv()).await;
    let event = heard.expect("the event is sealed soon").expect("the event is told");
    assert_eq!(event.correlation_id.to_string(), correlation_id);
    edge.system.stop().await;
}

#[tokio::test]
async fn the_callers_trace_is_that_of_the_events_and_a_malformed_one_is_ignored() {
    let edge = Edge::start().await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    for given in [traceparent, "00-nonsense"] {
        let mut request = edge.request("POST", "/api/v1/fixture/crates", r#"{"label":"nails"}"#);
        let value = given.parse().expect("it is visible ASCII");
        request.headers_mut().insert("traceparent", value);
        let (answer, _) = edge.send(request).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{given}");
    }
    edge.system.settle().await;

    let mut reading = platform::store::begin_reading(edge.system.system().log().pool())
        .await
        .expect("the runtime may read");
    let events = platform::store::read::after(&mut reading, platform::Position::ORIGIN, 10).await;
    let traces: Vec<Option<String>> = events
        .expect("the log can be read")
        .iter()
        .map(|event| event.scope.traceparent.map(|traceparent| traceparent.to_string()))
        .collect();
    assert_eq!(traces, [Some(traceparent.to_owned()), None]);
    reading.rollback().await.expect("nothing is in the way");
    edge.system.stop().await;
}

/// A request that is refused: method, path and body; then status, code and the fields to blame.
type Refused =
    (&'static str, &'static str, &'static str, u16, &'static str, &'static [&'static str]);

const CRATES: &str = "/api/v1/fixture/crates";

const REFUSED: [Refused; 16] = [
    ("GET", "/api/v1/fixture/nothing", "", 404, "no_such_route", &[]),
    ("GET", "/api/v2", "", 404, "no_such_route", &[]),
    ("PUT", CRATES, "{}", 405, "method_not_allowed", &[]),
    (
        "GET",
        "/api/v1/fixture/crates/0190a000-0000-7000-8000-000000000001",
        "",
        404,
        "no_crate",
        &[],
    ),
    ("POST", CRATES, "{", 400, "malformed_json", &[]),
    ("POST", CRATES, "[]", 422, "malformed_input", &[""]),
    ("POST", CRATES, "{}", 422, "malformed_input", &["/label"]),
    ("POST", CRATES, r#"{"label":"a\u0000b"}"#, 422, "malformed_input", &["/label"]),
    ("POST", CRATES, r#"{"label":"a","label":"b"}"#, 422, "duplicate_field", &["/label"]),
    ("POST", CRATES, r#"{"label":7}"#, 422, "malformed_input", &["/label"]),
    ("POST", CRATES, r#"{"label":"joke"}"#, 422, "joke", &["/label"]),
    ("POST", CRATES, r#"{"label":"panic"}"#, 500, "failure", &[]),
    ("GET", "/api/v1/fixture/crates?limit=1&limit=2", "", 422, "duplicate_field", &["/limit"]),
    ("GET", "/api/v1/fixture/crates?limit=many", "", 422, "malformed_input", &["/limit"]),
    ("GET", "/api/v1/fixture/crates/not-a-uuid", "", 422, "malformed_input", &["/crate_id"]),
    ("GET", "/api/v1/fixture/crates/%ff", "", 400, "malformed_path", &[]),
];

#[tokio::test]
async fn every_error_is_a_problem_with_its_code() {
    let edge = Edge::start().await;

    for (method, path, body, status, code, blamed) in REFUSED {
        let (answer, problem) = edge.call(method, path, body).await;

        let errors = problem["errors"].as_array().into_iter().flatten();
        let pointers: Vec<_> = errors.map(|error| error["pointer"].clone()).collect();
        let context = format!("{method} {path} {body}: {problem}");
        assert_eq!(answer.status(), status, "{context}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json", "{context}");
        assert_eq!(problem["code"], code, "{context}");
        assert_eq!(pointers, blamed, "{context}");
        let request_id = answer.headers()["x-request-id"].to_str().expect("a UUID is text");
        assert_eq!(problem["instance"], format!("urn:uuid:{request_id}"), "{context}");
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_its_name() {
    let edge = Edge::start().await;

    for (method, path, body) in [
        ("POST", "/api/v1/fixture/crates", r#"{"label":"a","colour":"red"}"#),
        ("GET", "/api/v1/fixture/crates?colour=red", ""),
    ] {
        let (answer, problem) = edge.call(method, path, body).await;

        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(problem["detail"].to_string().contains("colour"), "{problem}");
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn a_conflict_and_a_removal_have_their_statuses() {
    let edge = Edge::start().await;
    let id = Uuid::now_v7();

    let (conflict, problem) =
        edge.call("POST", &format!("/api/v1/fixture/crates/{id}/reopen"), "").await;
    let (removed, nothing) = edge.call("DELETE", &format!("/api/v1/fixture/crates/{id}"), "").await;

    assert_eq!((conflict.status(), &problem["code"]), (StatusCode::CONFLICT, &json!("sealed")));
    assert_eq!((removed.status(), nothing), (StatusCode::NO_CONTENT, json!("")));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_query_string_becomes_typed_input() {
    let edge = Edge::start().await;

    let (answer, crates) =
        edge.call("GET", "/api/v1/fixture/crates?limit=20&labels=a&labels=b%20c", "").await;

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(crates, json!({ "limit": 20, "labels": ["a", "b c"] }));
    edge.system.stop().await;
}

#[tokio::test]
async fn without_a_known_token_nothing_is_told() {
    let edge = Edge::start().await;
    let mut nobody = edge.request("GET", "/api/v1/fixture/crates", "");
    nobody.headers_mut().remove(header::AUTHORIZATION);
    let mut stranger = edge.request("GET", "/api/v1/fixture/crates", "");
    let token = "Bearer stolen".parse().expect("it is text");
    stranger.headers_mut().insert(header::AUTHORIZATION, token);

    let (nobody, missing) = edge.send(nobody).await;
    let (stranger, unknown) = edge.send(stranger).await;

    assert_eq!(
        (nobody.status(), &missing["code"]),
        (StatusCode::UNAUTHORIZED, &json!("token_missing"))
    );
    assert_eq!(nobody.headers()[header::WWW_AUTHENTICATE], r#"Bearer realm="finnest""#);
    assert_eq!(
        (stranger.status(), &unknown["code"]),
        (StatusCode::UNAUTHORIZED, &json!("token_unknown"))
    );
    let challenge = stranger.headers()[header::WWW_AUTHENTICATE].to_str().expect("it is text");
    assert!(challenge.contains("invalid_token"));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_role_without_access_is_forbidden() {
    let mut edge = Edge::start().await;
    edge.token = edge.system.member(ACME, Role::Worker).token().to_owned();

    let (answer, problem) = edge.call("POST", "/api/v1/fixture/crates", r#"{"label":"a"}"#).await;

    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem["code"], "access_denied");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_body_of_another_type_or_size_is_refused() {
    let edge = Edge::start().await;
    let mut text = edge.request("POST", "/api/v1/fixture/crates", "label=a");
    let media_type = "text/plain".parse().expect("it is text");
    text.headers_mut().insert(header::CONTENT_TYPE, media_type);
    let long = edge.request("POST", "/api/v1/fixture/crates", vec![b' '; 1024 * 1024 + 1]);

    let (text, _) = edge.send(text).await;
    let (long, _) = edge.send(long).await;

    assert_eq!(text.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(long.status(), StatusCode::PAYLOAD_TOO_LARGE);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_request_with_a_key_is_done_once() {
    let edge = Edge::start().await;
    let request = |body: &'static str| {
        let mut request = edge.request("POST", "/api/v1/fixture/crates", body);
        let key = "key-1".parse().expect("it is text");
        request.headers_mut().insert("idempotency-key", key);
        request
    };

    let (first, packed) = edge.send(request(r#"{"label":"nails"}"#)).await;
    let (again, same) = edge.send(request(r#"{"label":"nails"}"#)).await;
    let (other, problem) = edge.send(request(r#"{"label":"screws"}"#)).await;

    assert_eq!((first.status(), again.status()), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(packed, same);
    assert!(!first.headers().contains_key("idempotent-replayed"));
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert!(other.status().is_client_error(), "{problem}");
    edge.system.stop().await;
}

#[tokio::test]
async fn monitors_get_plain_answers() {
    let edge = Edge::start().await;
    edge.call("GET", "/api/v1/fixture/crates", "").await;

    let (health, alive) = edge.call("GET", "/health", "").await;
    let (ready, _) = edge.call("GET", "/ready", "").await;
    let (metrics, text) = edge.call("GET", "/metrics", "").await;

    assert_eq!((health.status(), &alive["status"]), (StatusCode::OK, &json!("ok")));
    assert_eq!(ready.status(), StatusCode::OK);
    let media_type = metrics.headers()[header::CONTENT_TYPE].to_str().expect("it is text");
    assert!(media_type.starts_with("text/plain; version=0.0.4"));
    let text = text.as_str().expect("measurements are text");
    let counted = r#"finnest_http_requests_total{method="GET",route="/api/v1/fixture/crates",status="200"} 1"#;
    assert!(text.contains(counted), "{text}");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_stopped_system_is_alive_but_not_ready() {
    let edge = Edge::start().await;
    edge.system.system().stop().await;

    let (health, _) = edge.call("GET", "/health", "").await;
    let (ready, problem) = edge.call("GET", "/ready", "").await;

    assert_eq!(health.status(), StatusCode::OK);
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert!(ready.headers().contains_key(header::RETRY_AFTER));
    edge.system.stop().await;
}

#[tokio::test]
async fn the_document_describes_every_operation() {
    let edge = Edge::start().await;

    let (answer, document) = edge.call("GET", "/api/openapi.json", "").await;

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(document["openapi"], "3.1.0");
    let pack = &document["paths"]["/api/v1/fixture/crates"]["post"];
    assert_eq!(pack["summary"], "Pack a crate.");
    let schema = &pack["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(schema["properties"]["label"]["description"], "What is written on it.");
    assert_eq!(schema["required"], json!(["label"]));
    edge.system.stop().await;
}

#[tokio::test]
async fn it_can_be_merged_with_another_surface_that_has_a_fallback() {
    let mut edge = Edge::start().await;
    let other = Router::new()
        .route("/", axum::routing::get(|| async { "the console" }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "a page") });
    edge.router = edge.router.merge(other);

    let (_, page) = edge.call("GET", "/nowhere", "").await;
    let (_, problem) = edge.call("GET", "/api/nowhere", "").await;

    assert_eq!(page, json!("a page"));
    assert_eq!(problem["code"], "no_such_route");
    edge.system.stop().await;
}

#[tokio::test]
async fn an_address_that_no_surface_has_is_told_as_a_problem() {
    let surfaces = Router::new().route("/other", axum::routing::get(|| async {}));
    let request = Request::get("/nowhere").body(Body::empty()).expect("it is well-formed");

    let answer = surfaces.fallback(rest::nowhere).oneshot(request).await.expect("it answers");

    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
}
