//! What holds for every operation: tags and conditions, pages, keys, methods, headers, codings.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use platform::otp::Clock;
use platform::{Peer, Role};
use serde_json::{Value, json};
use testkit::GLOBEX;
use tower::ServiceExt as _;

use crate::edge::Edge;
use crate::shelf::{HELD, LET_GO};

const SHELVES: &str = "/api/v1/fixture/shelves";
const SIGN: &str = "/api/v1/fixture/sign";
const CRATES: &str = "/api/v1/fixture/crates";

fn said<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("nothing")
}

fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().expect("it is a header's value"));
    request
}

#[tokio::test]
async fn what_was_read_and_is_the_same_is_not_sent_again() {
    let edge = Edge::start().await;

    let (first, _) = edge.call("GET", SHELVES, "").await;
    let tag = said(first.headers(), "etag").to_owned();
    let again = edge.request("GET", SHELVES, "");
    let (again, body) = edge.send(with(again, "if-none-match", &tag)).await;
    let other = edge.request("GET", &format!("{SHELVES}?limit=3"), "");
    let (other, _) = edge.send(with(other, "if-none-match", &tag)).await;

    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    assert_eq!((again.status(), body), (StatusCode::NOT_MODIFIED, json!("")));
    assert_eq!(said(again.headers(), "etag"), tag);
    assert_eq!(other.status(), StatusCode::OK);
    assert_eq!(said(first.headers(), "cache-control"), "private, no-cache");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_change_is_for_the_version_that_was_read() {
    let edge = Edge::start().await;
    let paint = |tag: &str| {
        let request = edge.request("PUT", SIGN, r#"{"text":"closed"}"#);
        with(request, "if-match", tag)
    };

    let (read, _) = edge.call("GET", SIGN, "").await;
    let tag = said(read.headers(), "etag").to_owned();
    let (painted, _) = edge.send(paint(&tag)).await;
    let (stale, problem) = edge.send(paint("\"6\"")).await;
    let (unnamed, required) = edge.call("PUT", SIGN, r#"{"text":"closed"}"#).await;
    let (weak, _) = edge.send(paint("W/\"7\"")).await;
    let field = r#"{"text":"closed","expected_version":7}"#;
    let (by_field, _) = edge.call("PUT", SIGN, field).await;

    assert_eq!((tag.as_str(), painted.status()), ("\"7\"", StatusCode::OK));
    assert_eq!(said(painted.headers(), "etag"), "\"8\"");
    assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED, "{problem}");
    assert_eq!(problem["code"], "repainted");
    assert_eq!(unnamed.status(), StatusCode::PRECONDITION_REQUIRED);
    assert_eq!(required["code"], "precondition_required");
    assert_eq!(weak.status(), StatusCode::BAD_REQUEST);
    assert_eq!(by_field.status(), StatusCode::OK);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_list_is_read_page_by_page_along_its_links() {
    let edge = Edge::start().await;

    let (mut at, mut seen) = (format!("{SHELVES}?limit=20"), Vec::new());
    loop {
        let (answer, page) = edge.call("GET", &at, "").await;
        assert_eq!(answer.status(), StatusCode::OK, "{page}");
        seen.extend(page["items"].as_array().expect("a page has items").clone());
        let Some(next) = said(answer.headers(), "link").strip_prefix('<') else { break };
        let (address, relation) = next.split_once('>').expect("a link ends");
        assert_eq!(relation, "; rel=\"next\"");
        address.clone_into(&mut at);
    }

    let all: Vec<Value> = (1..=45).map(Value::from).collect();
    assert_eq!(seen, all);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_cursor_of_ones_own_making_or_of_another_list_is_refused_by_name() {
    let mut edge = Edge::start().await;
    let (_, page) = edge.call("GET", SHELVES, "").await;
    let good = page["next"].as_str().expect("there is more").to_owned();
    let turned = if good.starts_with('0') { "1" } else { "0" };
    let forged = format!("{turned}{}", &good[1..]);

    let mut asked = Vec::new();
    for path in [
        format!("{SHELVES}?cursor={good}"),
        format!("{SHELVES}?cursor={forged}"),
        format!("{SHELVES}?cursor=3230"),
        format!("{SHELVES}?cursor="),
        format!("/api/v1/fixture/boards?cursor={good}"),
    ] {
        asked.push(edge.call("GET", &path, "").await);
    }
    edge.token = edge.system.member(GLOBEX, Role::Staff).token().to_owned();
    asked.push(edge.call("GET", &format!("{SHELVES}?cursor={good}"), "").await);

    let (first, rest) = asked.split_first().expect("several were asked");
    assert_eq!(first.0.status(), StatusCode::OK);
    for (answer, problem) in rest {
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], "/cursor", "{problem}");
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn a_request_whose_first_sending_is_under_way_is_told_to_come_back() {
    let edge = Edge::start().await;
    let send = || {
        let request = edge.request("POST", "/api/v1/fixture/door/hold", "{}");
        edge.send(with(request, "idempotency-key", "monday"))
    };

    let again = async {
        HELD.notified().await;
        let answer = send().await;
        LET_GO.notify_one();
        answer
    };
    let ((first, _), (busy, problem)) = tokio::join!(send(), again);
    let (remembered, _) = send().await;

    assert_eq!(busy.status(), StatusCode::CONFLICT, "{problem}");
    assert_eq!(problem["code"], "idempotency_key_in_use");
    assert_eq!(said(busy.headers(), "retry-after"), "1");
    assert_eq!((first.status(), remembered.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(said(remembered.headers(), "idempotent-replayed"), "true");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_key_is_new_again_after_a_day() {
    let clock = Clock::manual(Clock::system().now());
    let edge = Edge::start_at(clock.clone()).await;
    let send = async |label: &str| {
        let request = edge.request("POST", CRATES, json!({ "label": label }).to_string());
        edge.send(with(request, "idempotency-key", "monday")).await.0
    };

    let first = send("nails").await.status();
    clock.advance(Duration::from_hours(23));
    let remembered = send("nails").await;
    clock.advance(Duration::from_hours(2));
    let other = send("screws").await;

    assert_eq!(first, StatusCode::CREATED);
    assert_eq!(said(remembered.headers(), "idempotent-replayed"), "true");
    assert_eq!(other.status(), StatusCode::CREATED);
    assert_eq!(said(other.headers(), "idempotent-replayed"), "nothing");
    edge.system.stop().await;
}

#[tokio::test]
async fn what_is_deprecated_says_since_when_until_when_and_what_else() {
    let edge = Edge::start().await;

    let (boards, _) = edge.call("GET", "/api/v1/fixture/boards", "").await;
    let (shelves, _) = edge.call("GET", SHELVES, "").await;
    let (_, document) = edge.call("GET", "/api/openapi.json", "").await;

    let links = boards.headers().get_all(header::LINK).iter();
    let links: Vec<_> = links.filter_map(|link| link.to_str().ok()).collect();
    assert_eq!(said(boards.headers(), "deprecation"), "@1795219200");
    assert_eq!(said(boards.headers(), "sunset"), "Sat, 01 May 2027 00:00:00 GMT");
    assert!(links.contains(&"</api/v1/fixture/shelves>; rel=\"successor-version\""), "{links:?}");
    assert_eq!(said(shelves.headers(), "deprecation"), "nothing");
    assert_eq!(document["paths"]["/api/v1/fixture/boards"]["get"]["deprecated"], true);
    edge.system.stop().await;
}

#[tokio::test]
async fn addresses_tell_their_methods_and_answer_to_head() {
    let edge = Edge::start().await;

    let (options, _) = edge.call("OPTIONS", CRATES, "").await;
    let (refused, _) = edge.call("PATCH", CRATES, "{}").await;
    let (head, body) = edge.call("HEAD", SHELVES, "").await;

    for answer in [&options, &refused] {
        assert_eq!(said(answer.headers(), "allow"), "POST,GET,HEAD");
    }
    assert_eq!(options.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!((head.status(), body), (StatusCode::OK, json!("")));
    assert!(head.headers().contains_key(header::ETAG));
    edge.system.stop().await;
}

#[tokio::test]
async fn an_address_that_is_too_long_is_refused() {
    let edge = Edge::start().await;

    let (answer, problem) =
        edge.call("GET", &format!("{SHELVES}?x={}", "y".repeat(9_000)), "").await;

    assert_eq!(answer.status(), StatusCode::URI_TOO_LONG);
    assert_eq!(problem["code"], "address_too_long");
    edge.system.stop().await;
}

/// An answer whose bytes are not decoded.
async fn raw(edge: &Edge, request: Request<Body>) -> (HeaderMap, Vec<u8>) {
    let guarded = rest::guarded(edge.router.clone());
    let answer = guarded.oneshot(request).await.expect("a router answers");
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.expect("the body is in memory").to_bytes();
    (parts.headers, bytes.to_vec())
}

#[tokio::test]
async fn large_answers_are_encoded_as_the_caller_likes_and_small_ones_are_not() {
    let edge = Edge::start().await;
    let ask = async |path: &str, coding: &str| {
        let request = edge.request("GET", path, "");
        raw(&edge, with(request, "accept-encoding", coding)).await
    };

    let (plain, bytes) = ask("/api/openapi.json", "identity").await;
    let mut sizes = vec![bytes.len()];
    for coding in ["gzip", "br", "zstd"] {
        let (headers, bytes) = ask("/api/openapi.json", coding).await;
        assert_eq!(said(&headers, "content-encoding"), coding);
        assert!(said(&headers, "vary").contains("accept-encoding"), "{headers:?}");
        sizes.push(bytes.len());
    }
    let (small, _) = ask(SIGN, "gzip").await;
    let (_, long) = ask(&format!("{SHELVES}?limit=45"), "gzip").await;

    assert_eq!(said(&plain, "content-encoding"), "nothing");
    assert!(sizes[1..].iter().all(|size| *size < sizes[0] / 3), "{sizes:?}");
    assert_eq!(said(&small, "content-encoding"), "nothing");
    assert!(long.starts_with(b"{"), "it is under a kilobyte");
    edge.system.stop().await;
}

#[tokio::test]
async fn whoever_refuses_plain_answers_is_answered_and_not_told_no_after_the_work() {
    let edge = Edge::start().await;

    for wish in ["gzip;q=0, *;q=0", "identity;q=0", "identity; q=0.0, x", "*;q=0"] {
        let request = with(edge.request("GET", SIGN, ""), "accept-encoding", wish);
        let answer = rest::guarded(edge.router.clone()).oneshot(request).await;
        assert_eq!(answer.expect("a router answers").status(), 200, "{wish}");
    }
    let request = edge.request("GET", "/api/openapi.json", "");
    let (coded, _) = raw(&edge, with(request, "accept-encoding", "identity;q=0, gzip")).await;

    assert_eq!(said(&coded, "content-encoding"), "gzip");
    edge.system.stop().await;
}

#[tokio::test]
async fn every_answer_forbids_what_browsers_could_do_with_it() {
    let edge = Edge::start().await;
    let mut encrypted = edge.request("GET", "/health", "");
    let peer = Peer { address: [192, 0, 2, 1].into(), is_encrypted: true };
    encrypted.extensions_mut().insert(peer);

    for (path, status) in [(SIGN, 200), ("/api/nowhere", 404), ("/health", 200)] {
        let mut request = edge.request("GET", path, "");
        request = with(request, "origin", "https://elsewhere.test");
        let (headers, _) = raw(&edge, request).await;
        assert_eq!(said(&headers, "x-content-type-options"), "nosniff", "{path} {status}");
        assert_eq!(said(&headers, "referrer-policy"), "same-origin", "{path}");
        assert_eq!(said(&headers, "cross-origin-resource-policy"), "same-origin", "{path}");
        assert!(said(&headers, "content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(said(&headers, "strict-transport-security"), "nothing", "{path}");
        assert_eq!(said(&headers, "access-control-allow-origin"), "nothing", "{path}");
    }
    let (headers, _) = raw(&edge, encrypted).await;

    assert!(said(&headers, "strict-transport-security").starts_with("max-age=63072000"));
    edge.system.stop().await;
}
