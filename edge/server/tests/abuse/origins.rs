//! Pages of other origins: what a browser is told about whose may use this, and whose may not.

use testkit::ACME;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::{Answer, JOB_ORDERS, Served, check, serve, serve_open_to};

const APP: &str = "https://app.example";
/// Origins that look like the one that may, and are not.
const STRANGERS: [&str; 5] = [
    "https://app.example.evil",
    "https://evil-app.example",
    "http://app.example",
    "https://app.example:8443",
    "null",
];
const ALLOWED: &str = "access-control-allow-origin";

impl Served {
    /// What a page of that origin is answered; `more` are further lines.
    async fn of_page(&self, line: &str, origin: &str, more: &str) -> Answer {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\norigin: {origin}\r\n\
             {more}\r\n"
        );
        self.raw(head.as_bytes()).await
    }

    /// What a browser is answered that asks for permission first.
    async fn preflight(&self, path: &str, origin: &str) -> Answer {
        let asked = "access-control-request-method: PUT\r\n\
                     access-control-request-headers: authorization,content-type,if-match\r\n";
        self.of_page(&format!("OPTIONS {path}"), origin, asked).await
    }

    fn shown(&self) -> String {
        format!("authorization: Bearer {}\r\n", self.token)
    }
}

fn has(answer: &Answer, name: &str, word: &str) -> bool {
    let said = answer.header(name).unwrap_or_default().to_ascii_lowercase();
    said.split(',').any(|said| said.trim() == word)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_named_origin_may_use_the_api() {
    let served = serve_open_to(&["https://other.example", APP]).await;

    let asked = served.preflight(JOB_ORDERS, APP).await;
    let listed = served.of_page(&format!("GET {JOB_ORDERS}"), APP, &served.shown()).await;
    let refused = served.of_page(&format!("GET {JOB_ORDERS}"), APP, "").await;
    let nowhere = served.of_page("GET /api/v1/nowhere", APP, &served.shown()).await;

    assert_eq!(asked.status, 200, "{}", asked.text);
    for method in ["get", "post", "put", "delete"] {
        assert!(has(&asked, "access-control-allow-methods", method), "{}", asked.text);
    }
    for header in ["authorization", "content-type", "if-match", "idempotency-key", "traceparent"] {
        assert!(has(&asked, "access-control-allow-headers", header), "{}", asked.text);
    }
    assert_eq!(asked.header("access-control-max-age").as_deref(), Some("3600"));
    assert_eq!(listed.status, 200, "{}", listed.text);
    check("without a token", &refused, 401, "token_missing");
    check("nowhere", &nowhere, 404, "no_such_route");
    for answer in [&asked, &listed, &refused, &nowhere] {
        assert_eq!(answer.header(ALLOWED).as_deref(), Some(APP), "{}", answer.text);
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{}", answer.text);
        assert!(has(answer, "vary", "origin"), "{}", answer.text);
    }
    for header in ["etag", "link", "retry-after", "ratelimit", "x-correlation-id"] {
        assert!(has(&listed, "access-control-expose-headers", header), "{}", listed.text);
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_are_told_nothing_even_where_one_may() {
    let served = serve_open_to(&[APP]).await;

    for origin in STRANGERS {
        let asked = served.preflight(JOB_ORDERS, origin).await;
        let listed = served.of_page(&format!("GET {JOB_ORDERS}"), origin, &served.shown()).await;
        for answer in [&asked, &listed] {
            assert_eq!(answer.header(ALLOWED), None, "{origin}: {}", answer.text);
            // Or else a cache would give one page what another was answered.
            assert!(has(answer, "vary", "origin"), "{origin}: {}", answer.text);
        }
    }
    for path in ["/", "/sign-in", "/account", "/health", "/metrics", "/apis"] {
        let page = served.of_page(&format!("GET {path}"), APP, &served.shown()).await;
        let asked = served.preflight(path, APP).await;
        assert_eq!((page.header(ALLOWED), asked.header(ALLOWED)), (None, None), "{path}");
        assert!([404, 405].contains(&asked.status), "{path}: {}", asked.text);
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_of_the_browser_says_nothing_to_the_api() {
    let served = serve_open_to(&[APP]).await;
    let cookie = format!("cookie: finnest_token={}\r\n", served.token);

    let answer = served.of_page(&format!("GET {JOB_ORDERS}"), APP, &cookie).await;

    check("with a cookie only", &answer, 401, "token_missing");
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_named_origin_may_use_tools_and_sockets_and_another_may_not() {
    let served = serve_open_to(&[APP]).await;
    let topic = format!("org:{ACME}:recruit");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let post = async |origin: &str| {
        let (token, length) = (&served.token, body.len());
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\norigin: {origin}\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        served.raw(head.as_bytes()).await
    };
    let connect = async |origin: &str| {
        let url = format!(
            "ws://{}/socket/websocket?vsn=2.0.0&token={}&topic={topic}",
            served.address, served.token
        );
        let mut request = url.into_client_request().expect("the address is one");
        let origin = HeaderValue::try_from(origin).expect("it is visible ASCII");
        request.headers_mut().insert("origin", origin);
        connect_async(request).await.is_ok()
    };

    let tools = post(APP).await;
    assert_ne!(tools.status, 403, "{}", tools.text);
    assert_eq!(tools.header(ALLOWED).as_deref(), Some(APP), "{}", tools.text);
    assert!(connect(APP).await);
    for origin in STRANGERS {
        let tools = post(origin).await;
        assert_eq!((tools.status, tools.header(ALLOWED)), (403, None), "{origin}: {}", tools.text);
        assert!(!connect(origin).await, "{origin}");
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_named_origin_nothing_is_open() {
    let served = serve().await;

    let asked = served.preflight(JOB_ORDERS, APP).await;
    let listed = served.of_page(&format!("GET {JOB_ORDERS}"), APP, &served.shown()).await;

    check("asked first", &asked, 405, "method_not_allowed");
    assert!(asked.header("allow").is_some(), "{}", asked.text);
    assert_eq!(listed.status, 200, "{}", listed.text);
    for answer in [&asked, &listed] {
        assert_eq!(answer.header(ALLOWED), None, "{}", answer.text);
        assert!(!has(answer, "vary", "origin"), "{}", answer.text);
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_options_that_asks_for_no_permission_is_answered_as_ever() {
    let served = serve_open_to(&[APP]).await;

    let answer = served.of_page(&format!("OPTIONS {JOB_ORDERS}"), APP, "").await;

    check("OPTIONS", &answer, 405, "method_not_allowed");
    served.system.stop().await;
}
