//! Answers: from what an operation said to what goes over the wire. The only table of statuses.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use platform::json::JsonError;
use platform::{Answer, Budget, Error, FieldError, Kind, Verb};
use serde_json::Value;

use crate::condition;
use crate::input::InputError;
use crate::problem::{Problem, whole_seconds};
use crate::route::Route;

/// Says that an answer was remembered from an earlier request with the same key.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Which limit a caller comes nearest to: its quota, and the seconds in which that comes back.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How much of that quota is left, and the seconds until all of it is back.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Since when an operation is deprecated (RFC 9745).
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// When a deprecated operation ends (RFC 8594).
const SUNSET: HeaderName = HeaderName::from_static("sunset");
/// The media type of answers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// When to send a request again whose first sending is still being answered.
const KEY_IN_USE_FOR: Duration = Duration::from_secs(1);

/// The status of a refusal or a failure.
const fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Stale => StatusCode::PRECONDITION_FAILED,
        Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Failure => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a success.
pub(crate) const fn status_of_success(verb: Verb) -> StatusCode {
    match verb {
        Verb::Create => StatusCode::CREATED,
        Verb::Remove => StatusCode::NO_CONTENT,
        Verb::Read | Verb::Replace | Verb::Invoke | Verb::Internal => StatusCode::OK,
    }
}

/// The answer to a call that succeeded, for a request with these headers at this address.
pub(crate) fn success(route: &Route, answer: &Answer, asked: &HeaderMap, uri: &Uri) -> Response {
    let mut status = status_of_success(route.verb);
    let body = if status == StatusCode::NO_CONTENT {
        Vec::new()
    } else {
        serde_json::to_vec(&answer.value).expect("a JSON value can be written")
    };
    let is_read = route.verb == Verb::Read;
    let tag = condition::tag_of_version(&answer.value)
        .or_else(|| is_read.then(|| condition::tag_of_bytes(&body)));
    let is_known = tag.as_deref().is_some_and(|tag| is_read && condition::is_known(asked, tag));
    let mut response = if is_known {
        status = StatusCode::NOT_MODIFIED;
        status.into_response()
    } else if status == StatusCode::NO_CONTENT {
        status.into_response()
    } else {
        (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
    };
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: Option<String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    };
    say(header::LOCATION, route.location(&answer.value));
    if is_read {
        // Kept by the caller alone, which asks each time whether it is still the same.
        say(header::CACHE_CONTROL, Some("private, no-cache".to_owned()));
        say(header::VARY, Some("authorization".to_owned()));
        say(header::LINK, next_page(&answer.value, uri));
    }
    say(header::ETAG, tag);
    if answer.is_replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Where the next page of a list is: the same address with another cursor.
fn next_page(answer: &Value, uri: &Uri) -> Option<String> {
    let next = answer.get("next")?.as_str()?;
    // Cursors are digits, letters and dashes; anything else would need an encoding.
    if next.is_empty() || !next.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return None;
    }
    let kept = uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    let kept = kept.filter(|pair| pair.split('=').next() != Some("cursor"));
    let cursor = format!("cursor={next}");
    let query: Vec<&str> = kept.chain([cursor.as_str()]).collect();
    Some(format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&")))
}

/// Tells that nobody should begin to use an operation.
pub(crate) fn deprecated(headers: &mut HeaderMap, route: &Route) {
    let Some(deprecation) = route.deprecation else { return };
    let successor = route.successor.as_ref();
    let said = [
        (DEPRECATION, Some(format!("@{}", deprecation.since_s()))),
        (SUNSET, deprecation.sunset()),
        (header::LINK, successor.map(|at| format!("<{at}>; rel=\"successor-version\""))),
    ];
    for (name, value) in said {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.append(name, value);
        }
    }
}

/// Tells what the caller may still ask for, as structured fields of the IETF's draft.
pub(crate) fn budgeted(headers: &mut HeaderMap, budget: Budget) {
    let Budget { policy, burst, remaining, .. } = budget;
    let (window, full) = (whole_seconds(budget.window), whole_seconds(budget.full_after));
    let said = [
        (RATE_LIMIT_POLICY, format!("\"{policy}\";q={burst};w={window}")),
        (RATE_LIMIT, format!("\"{policy}\";r={remaining};t={full}")),
    ];
    for (name, value) in said {
        let value = HeaderValue::try_from(value).expect("a policy and numbers are visible ASCII");
        headers.insert(name, value);
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let in_use = (error.code() == "idempotency_key_in_use").then_some(KEY_IN_USE_FOR);
        Self::new(status_of(error.kind()), error.code().to_owned(), error.message())
            .blaming(error.fields().to_vec())
            .retry_after(error.retry_after().or(in_use))
    }
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        let (status, code) = match &error {
            InputError::Json(JsonError::Syntax(_)) => (StatusCode::BAD_REQUEST, "malformed_json"),
            InputError::Json(JsonError::Duplicate { .. }) | InputError::Duplicate(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "duplicate_field")
            }
            InputError::NoObject(_) => (StatusCode::UNPROCESSABLE_ENTITY, "malformed_input"),
            InputError::QueryWithBody(_) => (StatusCode::UNPROCESSABLE_ENTITY, "misplaced_field"),
        };
        let problem = Self::new(status, code, error.to_string());
        if status == StatusCode::BAD_REQUEST {
            return problem;
        }
        problem.blaming(vec![FieldError { pointer: error.pointer(), message: error.to_string() }])
    }
}
