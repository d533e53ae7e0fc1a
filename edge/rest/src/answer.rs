//! Answers: from what an operation said to what goes over the wire. The only table of statuses.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use platform::{Answer, Budget, Error, FieldError, Kind, Verb};

use crate::input::InputError;
use crate::json::JsonError;
use crate::problem::{Problem, whole_seconds};
use crate::route::Route;

/// Says that an answer was remembered from an earlier request with the same key.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Which limit a caller comes nearest to: its quota, and the seconds in which that comes back.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How much of that quota is left, and the seconds until all of it is back.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

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

/// The answer to a call that succeeded.
pub(crate) fn success(route: &Route, answer: Answer) -> Response {
    let status = status_of_success(route.verb);
    let location = route.location(&answer.value).and_then(|path| HeaderValue::try_from(path).ok());
    let mut response = if status == StatusCode::NO_CONTENT {
        status.into_response()
    } else {
        (status, Json(answer.value)).into_response()
    };
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if answer.is_replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
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
        Self::new(status_of(error.kind()), error.code().to_owned(), error.message())
            .blaming(error.fields().to_vec())
            .retry_after(error.retry_after())
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
