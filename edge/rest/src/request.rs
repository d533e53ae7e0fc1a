//! Every request: its id, the chain of causes it belongs to, its measurements and its one error
//! form.
//!
//! This is the outermost layer. It gives each request an id, takes over the correlation id of a
//! caller that has one, turns a panic into an answer, and gives every error the form of a problem
//! with the request's id in it, also those that no handler of ours made.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use platform::TraceParent;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::metrics::HttpMetrics;
use crate::problem::{FAILURE, Problem};

/// Names the request, in answers and in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the chain of causes: the same in the request, its events and everything they cause.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The longest path and query string, in bytes.
const ADDRESS_BYTES_MAX: usize = 8 * 1024;

/// What a request is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestIds {
    pub(crate) request_id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) traceparent: Option<TraceParent>,
}

impl RequestIds {
    /// Takes the caller's correlation id if it is a UUID; some proxies send other things there.
    fn of(headers: &HeaderMap) -> Self {
        let request_id = Uuid::now_v7();
        let given = headers.get(CORRELATION_ID).and_then(|value| value.to_str().ok());
        let given = given.and_then(|text| Uuid::try_parse(text).ok());
        let traceparent = traceparent(headers);
        Self { request_id, correlation_id: given.unwrap_or(request_id), traceparent }
    }
}

/// The caller's trace. One that is malformed or given twice is ignored, as W3C demands: a trace is
/// no reason to refuse a request.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut given = headers.get_all("traceparent").iter();
    let only = given.next().filter(|_| given.next().is_none())?;
    only.to_str().ok()?.trim().parse().ok()
}

/// The address as the caller wrote it: the router cuts off what it has followed.
#[derive(Debug, Clone)]
pub(crate) struct Asked(pub(crate) Uri);

/// The template of the route that answered, for measurements: never a path, or there would be as
/// many series as ids.
#[derive(Debug, Clone)]
pub(crate) struct Template(pub(crate) Arc<str>);

/// Serves a request within all this.
pub(crate) async fn envelope(
    State(metrics): State<HttpMetrics>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let ids = RequestIds::of(request.headers());
    let asked = Asked(request.uri().clone());
    request.extensions_mut().insert(ids);
    request.extensions_mut().insert(asked);
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let span = tracing::info_span!(
        "request",
        request_id = %ids.request_id,
        correlation_id = %ids.correlation_id,
        %method,
        path = request.uri().path(),
    );
    let serving = async {
        match refused_at_once(&request) {
            Some(problem) => problem.into_response(),
            None => next.run(request).await,
        }
    };
    let served = AssertUnwindSafe(serving).catch_unwind().instrument(span.clone()).await;
    let response = served.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("a handler panicked"));
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failure", FAILURE).into_response()
    });
    let template = response.extensions().get::<Template>().map(|template| Arc::clone(&template.0));
    let template = template.as_deref().or(matched.as_deref()).unwrap_or("unmatched");
    metrics.observe(&method, template, response.status(), began.elapsed());
    finish(response, ids)
}

/// What is refused whatever it asks for.
fn refused_at_once(request: &Request) -> Option<Problem> {
    let length = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    (length > ADDRESS_BYTES_MAX).then(|| {
        let detail = format!("an address has at most {ADDRESS_BYTES_MAX} bytes");
        Problem::new(StatusCode::URI_TOO_LONG, "address_too_long", detail)
    })
}

/// Adds the ids, and makes a problem of every error.
fn finish(response: Response, ids: RequestIds) -> Response {
    let mut response = match as_problem(&response) {
        Some(problem) => {
            let mut answer = problem.answer(Some(ids.request_id));
            keep_headers(response.headers(), answer.headers_mut());
            answer
        }
        None => response,
    };
    let headers = response.headers_mut();
    for (name, id) in [(REQUEST_ID, ids.request_id), (CORRELATION_ID, ids.correlation_id)] {
        let value = HeaderValue::try_from(id.to_string()).expect("a UUID is visible ASCII");
        headers.insert(name, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What a refusal says in its headers stays: which methods are allowed, how much more may be asked.
fn keep_headers(said: &HeaderMap, headers: &mut HeaderMap) {
    for (name, value) in said {
        let is_of_the_body = name.as_str().starts_with("content-");
        if !is_of_the_body && !headers.contains_key(name) {
            headers.insert(name, value.clone());
        }
    }
}

fn as_problem(response: &Response) -> Option<Problem> {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return Some(problem.clone());
    }
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    is_error.then(|| Problem::bare(status))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use axum::{Extension, Router, middleware};
    use http_body_util::BodyExt as _;
    use prometheus::{Registry, TextEncoder};
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;
    use crate::problem::MEDIA_TYPE;

    async fn correlation(Extension(ids): Extension<RequestIds>) -> String {
        ids.correlation_id.to_string()
    }

    async fn broken() -> &'static str {
        panic!("a bug")
    }

    fn router(registry: &Registry) -> Router {
        Router::new()
            .route("/correlation/{id}", get(correlation))
            .route("/broken", post(broken))
            .fallback(|| async { Problem::bare(StatusCode::NOT_FOUND) })
            .layer(middleware::from_fn_with_state(HttpMetrics::new(registry), envelope))
    }

    async fn ask(request: Request) -> (Response<()>, Vec<u8>) {
        let answer = router(&Registry::new()).oneshot(request).await.expect("a router answers");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("the body is in memory").to_bytes();
        (Response::from_parts(parts, ()), bytes.to_vec())
    }

    fn request(method: &str, path: &str) -> Request {
        Request::builder().method(method).uri(path).body(Body::empty()).expect("it is valid")
    }

    #[tokio::test]
    async fn every_error_is_a_problem_with_the_id_of_its_request() {
        let cases = [
            ("GET", "/nowhere", 404, "no_such_route"),
            ("GET", "/broken", 405, "method_not_allowed"),
            ("POST", "/broken", 500, "failure"),
        ];

        for (method, path, status, code) in cases {
            let (answer, body) = ask(request(method, path)).await;

            let body: Value = serde_json::from_slice(&body).expect("a problem is JSON");
            let request_id = answer.headers()[REQUEST_ID].to_str().expect("a UUID is text");
            assert_eq!(answer.status(), status, "{method} {path}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
            assert_eq!((&body["status"], &body["code"]), (&status.into(), &code.into()));
            assert_eq!(body["instance"], format!("urn:uuid:{request_id}"));
        }
    }

    #[tokio::test]
    async fn a_refused_method_tells_which_are_taken() {
        let (answer, _) = ask(request("GET", "/broken")).await;

        assert_eq!(answer.headers()[header::ALLOW], "POST");
    }

    #[tokio::test]
    async fn a_correlation_id_is_taken_over_and_given_back() {
        let id = Uuid::now_v7().to_string();
        let mut given = request("GET", "/correlation/1");
        given.headers_mut().insert(CORRELATION_ID, id.parse().expect("a UUID is a header value"));
        let mut other = request("GET", "/correlation/1");
        other.headers_mut().insert(CORRELATION_ID, HeaderValue::from_static("abc"));

        let (given, heard) = ask(given).await;
        let (other, fresh) = ask(other).await;

        assert_eq!(given.headers()[CORRELATION_ID], id.as_str());
        assert_eq!(heard, id.as_bytes());
        assert_eq!(fresh, other.headers()[REQUEST_ID].as_bytes());
    }

    #[tokio::test]
    async fn requests_are_counted_by_template_and_not_by_path() {
        let registry = Registry::new();
        let router = router(&registry);

        for path in ["/correlation/1", "/correlation/2", "/nowhere/3"] {
            let answer = router.clone().oneshot(request("GET", path)).await;
            drop(answer.expect("a router answers"));
        }

        let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("it is text");
        let counted = [
            r#"finnest_http_requests_total{method="GET",route="/correlation/{id}",status="200"} 2"#,
            r#"finnest_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        ];
        assert!(counted.iter().all(|line| text.contains(line)), "{text}");
        assert!(!text.contains("/nowhere"), "{text}");
    }
}
