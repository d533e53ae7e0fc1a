//! Limits: how large a request may be, how long it may take, and how many are served at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// The largest body, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long an operation may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The most requests served at once; what a domain serves at once is limited separately.
const REQUESTS_MAX: usize = 1024;
/// When to come back to a server that is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The places for requests at once.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(REQUESTS_MAX)))
    }

    /// Takes a place until the answer is dropped. Nobody queues here: a queue before a full server
    /// only makes every answer late.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            let detail = format!("{REQUESTS_MAX} requests are already being served");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
                .retry_after(Some(RETRY_AFTER))
        })
    }
}

/// Reads a JSON body. An empty one needs no media type.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced
        .and_then(|text| text.parse().ok())
        .is_some_and(|length: u64| length > BODY_BYTES_MAX as u64)
    {
        return Err(too_large());
    }
    let reading = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(read) = tokio::time::timeout(BODY_WITHIN, reading).await else {
        let detail = format!("the body did not arrive within {} s", BODY_WITHIN.as_secs());
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail));
    };
    let bytes = match read {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(error) => {
            let detail = format!("the body cannot be read: {error}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", detail));
        }
    };
    let unsupported = |detail| {
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
    };
    if !bytes.is_empty() && !is_plain(headers) {
        // What a few bytes unfold to has no limit, so nothing is unfolded.
        return unsupported("send the body as it is, without Content-Encoding");
    }
    if !bytes.is_empty() && !is_json(headers) {
        return unsupported("send the body as Content-Type: application/json");
    }
    Ok(bytes)
}

fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.all(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    })
}

fn too_large() -> Problem {
    let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| {
        let essence = essence.to_ascii_lowercase();
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// The problem of an operation that took too long. What it did is rolled back.
pub(crate) fn too_slow() -> Problem {
    let detail = format!("the operation did not end within {} s", ANSWER_WITHIN.as_secs());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", detail).retry_after(Some(RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(media_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))])
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_read() {
        let body = Body::from(vec![b' '; BODY_BYTES_MAX]);

        let read = read(&headers("application/json; charset=utf-8"), body).await;

        assert_eq!(read.map(|bytes| bytes.len()), Ok(BODY_BYTES_MAX));
    }

    #[tokio::test]
    async fn an_encoded_body_is_refused_in_words_and_not_unfolded() {
        let coded = |coding: &'static str| {
            let mut headers = headers("application/json");
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            headers
        };

        for (coding, is_read) in [("gzip", false), ("identity, br", false), ("Identity", true)] {
            let read = read(&coded(coding), Body::from("{}")).await;
            assert_eq!(read.is_ok(), is_read, "{coding}");
        }
        assert!(read(&coded("gzip"), Body::empty()).await.is_ok(), "there is nothing to unfold");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_announced_or_not() {
        let announced =
            HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(BODY_BYTES_MAX + 1))]);
        let long = Body::from(vec![b' '; BODY_BYTES_MAX + 1]);

        let by_header = read(&announced, Body::empty()).await;
        let by_reading = read(&headers("application/json"), long).await;

        assert_eq!(by_header, Err(too_large()));
        assert_eq!(by_reading, Err(too_large()));
    }

    #[tokio::test]
    async fn only_json_is_taken_but_nothing_needs_no_type() {
        for (media_type, expected) in [
            ("application/json", None),
            ("Application/JSON", None),
            ("application/merge-patch+json", None),
            ("text/plain", Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
            ("application/x-www-form-urlencoded", Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ] {
            let read = read(&headers(media_type), Body::from("{}")).await;
            assert_eq!(read.err().map(|problem| problem.status), expected, "{media_type}");
        }
        assert_eq!(read(&HeaderMap::new(), Body::empty()).await, Ok(Bytes::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());

        let read = read(&headers("application/json"), never).await;

        assert_eq!(read.err().map(|problem| problem.status), Some(StatusCode::REQUEST_TIMEOUT));
    }

    #[test]
    fn a_full_server_refuses_and_takes_again_when_a_place_is_free() {
        let places = Places::new();
        let taken: Vec<_> = (0..REQUESTS_MAX).map_while(|_| places.enter().ok()).collect();

        let refused = places.enter().err().map(|problem| problem.status);
        drop(taken);

        assert_eq!(refused, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(places.enter().is_ok());
    }
}
