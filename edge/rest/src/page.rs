//! Pages of this surface: plain HTML with one style sheet from the binary, and no script at all, so
//! that the strictest policy holds for them.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

/// Where the style sheet is.
pub(crate) const STYLE: &str = "/api/docs/style.css";

const STYLE_SHEET: &str = include_str!("../assets/style.css");

/// Nothing but our own style sheet may be loaded, and nobody may frame the page.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Whether the caller is a browser that shows pages.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A page of this title.
pub(crate) fn answer(title: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Finnest API" }
                link rel="stylesheet" href=(STYLE);
            }
            body {
                header.top {
                    a.name href="/api/docs" { "Finnest API" }
                    nav aria-label="Site" {
                        a href="/api/docs" { "Reference" }
                        a href="/problems" { "Problems" }
                        a href="/api/openapi.json" { "OpenAPI" }
                    }
                }
                main { (body) }
            }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::VARY, "accept"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    (headers, page.into_string()).into_response()
}

/// The style sheet.
pub(crate) async fn style() -> Response {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], STYLE_SHEET).into_response()
}

/// A line of a doc comment: what stands between back-ticks is code.
pub(crate) fn words(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A doc comment, paragraph by paragraph.
pub(crate) fn paragraphs(text: &str) -> Markup {
    html! {
        @for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            p { (words(paragraph)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_browser_gets_a_page() {
        let asked = |accept: &'static str| {
            let value = HeaderValue::from_static(accept);
            is_wanted(&HeaderMap::from_iter([(header::ACCEPT, value)]))
        };

        assert!(asked("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(!asked("*/*") && !asked("application/json") && !is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn words_are_escaped_and_code_is_code() {
        let shown = words("Use `a<b` & <go>").into_string();

        assert_eq!(shown, "Use <code>a&lt;b</code> &amp; &lt;go&gt;");
    }
}
