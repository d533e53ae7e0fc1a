//! Headers that every answer has, whatever surface gave it, and the coding of its bytes.
//!
//! What a surface says itself stays: a page knows better what it may load. Answers are open to
//! nobody else's pages here; whoever puts the surfaces together may open some of them.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use platform::Peer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

use crate::condition;

/// Smaller bodies are not worth the work, in bytes.
const CODED_FROM: u64 = 1024;
/// Whoever came over an encrypted way, comes over one for this long: two years.
const TRANSPORT_SECURITY: &str = "max-age=63072000; includeSubDomains";
/// What is no page loads nothing.
const POLICY_OF_DATA: &str = "default-src 'none'; frame-ancestors 'none'";
/// What a page may load that says nothing itself.
const POLICY_OF_PAGES: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; \
                               base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Puts the headers that belong to every answer around all surfaces, and encodes what is large.
///
/// Pages are not encoded: they hold a visitor's own tokens beside what others may have chosen, and
/// the length of what is encoded together tells of both. Streams of events are not, since each
/// event is to arrive at once.
pub fn guarded(router: Router) -> Router {
    let worth_it = SizeAbove::new(CODED_FROM)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("font/"))
        .and(NotForContentType::const_new("text/html"));
    router.layer(CompressionLayer::new().compress_when(worth_it)).layer(middleware::from_fn(dress))
}

/// Takes the wish away to be sent nothing that is not encoded. Small answers and pages never are,
/// and a refusal to be read would come after the work was done.
fn allow_plain(headers: &mut HeaderMap) {
    let is_plain_refused = |wish: &str| {
        let (coding, weight) = wish.split_once(';').unwrap_or((wish, ""));
        let weight = weight.trim().to_ascii_lowercase();
        let weight = weight.strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        let coding = coding.trim();
        (coding == "*" || coding.eq_ignore_ascii_case("identity")) && weight == Some(0.0)
    };
    let said: Vec<&str> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    if !said.iter().any(|wish| is_plain_refused(wish)) {
        return;
    }
    let kept: Vec<&str> = said.into_iter().filter(|wish| !is_plain_refused(wish)).collect();
    match HeaderValue::try_from(kept.join(",")) {
        Ok(kept) if !kept.is_empty() => drop(headers.insert(header::ACCEPT_ENCODING, kept)),
        _ => drop(headers.remove(header::ACCEPT_ENCODING)),
    }
}

async fn dress(mut request: Request, next: Next) -> Response {
    allow_plain(request.headers_mut());
    let is_encrypted = request.extensions().get::<Peer>().is_some_and(|peer| peer.is_encrypted);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    tag_the_coding(headers);
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_page = media_type.is_some_and(|text| text.starts_with(b"text/html"));
    let policy = if is_page { POLICY_OF_PAGES } else { POLICY_OF_DATA };
    let said = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (CORP, "same-origin"),
        (COOP, "same-origin"),
    ];
    for (name, value) in said {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_encrypted {
        let value = HeaderValue::from_static(TRANSPORT_SECURITY);
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// A strong tag is of the bytes that are sent, and encoded ones are others.
fn tag_the_coding(headers: &mut HeaderMap) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(tag), Some(coding)) = (text(header::ETAG), text(header::CONTENT_ENCODING)) else {
        return;
    };
    let coded = condition::coded(tag, coding).and_then(|tag| HeaderValue::try_from(tag).ok());
    if let Some(tag) = coded {
        headers.insert(header::ETAG, tag);
    }
}
