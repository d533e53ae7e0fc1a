//! Problems: every error this surface answers, in the one form of RFC 9457.
//!
//! A problem names its kind for people (`title`), its rule for programs (`code`, and `type` as a
//! stable address of it), the fields to blame as JSON Pointers (`errors`), and the request
//! (`instance`), by which the log finds it.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use platform::FieldError;
use serde::Serialize;
use uuid::Uuid;

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// An error, before it is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) challenge: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            challenge: None,
        }
    }

    /// Blames fields.
    pub(crate) fn blaming(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to ask again.
    pub(crate) fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// The problem of an answer that has a status and nothing else.
    pub(crate) fn bare(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("no_such_route", "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method_not_allowed",
                "this address does not take this method; see the Allow header",
            ),
            StatusCode::INTERNAL_SERVER_ERROR => ("failure", FAILURE),
            other => ("refused", other.canonical_reason().unwrap_or("the request is refused")),
        };
        Self::new(status, code, detail)
    }

    /// The answer; `request_id` once it is known.
    pub(crate) fn answer(&self, request_id: Option<Uuid>) -> Response {
        let body = Body {
            problem_type: format!("/problems/{}", self.code),
            title: title(self.status),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: request_id.map(|id| format!("urn:uuid:{id}")),
            code: &self.code,
            errors: &self.errors,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// What a caller may know of a fault of ours.
pub(crate) const FAILURE: &str =
    "something went wrong on our side; the request id finds it in the log";

/// A client that waits a little too long loses nothing; one that comes too early is refused again.
pub(crate) fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    /// The problem travels along, so that the outermost layer can add the request to it.
    fn into_response(self) -> Response {
        let mut response = self.answer(None);
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    problem_type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    code: &'a str,
    errors: &'a [FieldError],
}

/// The same for every problem of a status, as the standard wants it.
pub(crate) const fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "The request cannot be read",
        401 => "Nobody is known by these credentials",
        403 => "This is not allowed",
        404 => "There is no such thing",
        405 => "The address does not take this method",
        408 => "The request took too long to arrive",
        409 => "The state of things does not allow this now",
        412 => "The thing has changed since it was read",
        413 => "The request is too large",
        414 => "The address is too long",
        415 => "The body is of the wrong type",
        422 => "The input breaks a rule",
        428 => "The version must be named",
        429 => "There are too many requests",
        503 => "This is not available just now",
        _ => "Something went wrong",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;

    /// Headers and body, as one value to look at.
    async fn told(problem: Problem) -> Value {
        let (parts, body) = problem.answer(Some(Uuid::nil())).into_parts();
        let bytes = body.collect().await.expect("a problem's body is in memory").to_bytes();
        let header = |(name, value): (&header::HeaderName, &HeaderValue)| {
            (name.to_string(), json!(value.to_str().expect("headers of ours are text")))
        };
        let headers: serde_json::Map<_, _> = parts.headers.iter().map(header).collect();
        let body: Value = serde_json::from_slice(&bytes).expect("a problem is JSON");
        json!({ "headers": headers, "body": body })
    }

    #[tokio::test]
    async fn a_refusal_names_its_rule_and_its_fields() {
        let blamed = FieldError { pointer: "/headcount".into(), message: "at least one".into() };
        let refused =
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_headcount", "at least one")
                .blaming(vec![blamed]);

        insta::assert_json_snapshot!(told(refused).await);
    }

    #[tokio::test]
    async fn what_is_not_available_says_when_to_ask_again() {
        let down = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "in quarantine")
            .retry_after(Some(Duration::from_millis(1_200)));

        insta::assert_json_snapshot!(told(down).await);
    }

    #[tokio::test]
    async fn a_missing_token_is_asked_for() {
        let mut unknown = Problem::new(StatusCode::UNAUTHORIZED, "token_missing", "send a token");
        unknown.challenge = Some("Bearer");

        insta::assert_json_snapshot!(told(unknown).await);
    }

    #[tokio::test]
    async fn a_bare_status_becomes_a_problem() {
        insta::assert_json_snapshot!(told(Problem::bare(StatusCode::NOT_FOUND)).await);
    }
}
