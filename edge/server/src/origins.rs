//! Web origins: whose pages may use this installation from a browser.
//!
//! A browser lets no page read the answers of another host, nor send it what a form could not,
//! unless that host says so (CORS). Nobody is said so unless the operator names them. What a page
//! does then it does with a credential that it has and shows itself: cookies are never taken from
//! other origins, and pages of the console stay closed to all of them.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method};
use tower::ServiceExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// What is open to pages: operations, what describes them, and the servers of tools.
const OPEN: [&str; 2] = ["/api", "/mcp"];
/// How long a browser may remember what it was answered about what it may send.
const REMEMBERED_FOR: Duration = Duration::from_hours(1);

/// What a page may send besides what any page may.
const SENT: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-session-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-correlation-id"),
];

/// What of an answer a page may read besides what any page may.
const TOLD: [HeaderName; 12] = [
    header::ETAG,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("deprecation"),
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("sunset"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("x-request-id"),
];

/// The origins of pages that may use this installation; nobody's, unless named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebOrigins(Vec<String>);

/// Text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--web-origin (FINNEST_WEB_ORIGINS): `{0}` is no origin of pages; write it as browsers do, \
     scheme, host and port if it is no usual one, as in https://app.example.com or \
     http://localhost:5173; from other machines than this one it is not http"
)]
pub struct BadOrigin(String);

impl WebOrigins {
    /// Reads origins such as `https://app.example.com`. Blank ones are passed over.
    ///
    /// # Errors
    /// [`BadOrigin`] names the first that is none, and the setting it came from.
    pub fn parse(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, BadOrigin> {
        let origins = texts.into_iter().filter(|text| !text.as_ref().trim().is_empty());
        origins.map(|text| origin(text.as_ref().trim())).collect::<Result<_, _>>().map(Self)
    }

    /// The origins, as browsers write them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Lets pages of these origins use what is open to pages.
    pub(crate) fn open(&self, router: Router) -> Router {
        let origins: Vec<HeaderValue> =
            self.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        if origins.is_empty() {
            return router;
        }
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods(methods)
            .allow_headers(SENT)
            .expose_headers(TOLD)
            .max_age(REMEMBERED_FOR);
        let opened = router.clone().layer(cors);
        let either = tower::service_fn(move |request: Request| {
            let router = if is_open(&request) { opened.clone() } else { router.clone() };
            router.oneshot(request)
        });
        Router::new().fallback_service(either)
    }
}

/// Whether pages may ask this. An OPTIONS that asks for no permission is answered as ever.
fn is_open(request: &Request) -> bool {
    let path = request.uri().path();
    let is_below = |root: &str| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    OPEN.into_iter().any(is_below) && (request.method() != Method::OPTIONS || asks)
}

/// An origin as a browser writes it: in small letters, and without the usual port.
fn origin(text: &str) -> Result<String, BadOrigin> {
    let bad = || BadOrigin(text.to_owned());
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let authority: Authority = rest.parse().map_err(|_| bad())?;
    let (host, port) = (authority.host().to_ascii_lowercase(), authority.port_u16());
    // What follows the host is a port or nothing; nobody stands before it, and none is any.
    let is_host = !host.is_empty() && !host.contains('*') && text.is_ascii();
    let written = port.map_or_else(String::new, |port| format!(":{port}"));
    if !is_scheme || !is_host || rest.len() != host.len() + written.len() {
        return Err(bad());
    }
    let scheme = scheme.to_ascii_lowercase();
    let is_here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    if scheme == "http" && !is_here {
        return Err(bad());
    }
    let is_usual = matches!((scheme.as_str(), port), ("https", Some(443)) | ("http", Some(80)));
    let port = if is_usual { "" } else { &written };
    Ok(format!("{scheme}://{host}{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let read = WebOrigins::parse([
            "https://App.Example.com",
            " https://app.example.com:8443 ",
            "https://app.example.com:443",
            "http://localhost:5173",
            "http://[::1]:80",
            "capacitor://localhost",
            "",
        ]);

        let read = read.expect("all are origins");
        let expected = [
            "https://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com",
            "http://localhost:5173",
            "http://[::1]",
            "capacitor://localhost",
        ];
        assert_eq!(read.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_name_of_the_setting() {
        for text in [
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://ada@app.example.com",
            "https://*.example.com",
            "https://app.example.com:",
            "https://app.example.com:99999",
            "https://app.example.com:0443",
            "https://b\u{fc}ro.example",
            "http://app.example.com",
            "1s://x",
            "*",
            "null",
        ] {
            let refused = WebOrigins::parse([text]).expect_err(text).to_string();
            assert!(refused.contains("--web-origin (FINNEST_WEB_ORIGINS)"), "{refused}");
            assert!(refused.contains(&format!("`{text}`")), "{refused}");
        }
    }
}
