//! Style sheet, script and icon, built by `assets/` and kept in the binary.
//!
//! Addresses carry a part of the content's digest, so a browser may keep a file for ever and still
//! gets the new one with the next release.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "assets/dist/"]
struct Dist;

/// The entity tags by name; digests are taken once.
static TAGS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    Dist::iter()
        .filter_map(|name| Some((name.to_string(), tag(Dist::get(&name)?.metadata.sha256_hash()))))
        .collect()
});

/// Half of a digest tells any two releases apart.
fn tag(digest: [u8; 32]) -> String {
    use std::fmt::Write;

    digest[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Where the page finds an asset.
pub(crate) fn address(name: &str) -> String {
    let tag = TAGS.get(name).map_or("", String::as_str);
    format!("/assets/{name}?v={tag}")
}

/// Answers with an asset, or with nothing if the browser has it.
pub(crate) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let (Some(file), Some(tag)) = (Dist::get(&name), TAGS.get(&name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = format!("\"{tag}\"");
    let cached = [
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (header::ETAG, HeaderValue::from_str(&tag).expect("a tag is hexadecimal")),
    ];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
        return (StatusCode::NOT_MODIFIED, cached).into_response();
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&name)))];
    (cached, kind, file.data.into_owned()).into_response()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
