//! The door of the MCP surface: whoever is not let in learns why, and how to come in.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use platform::Role;
use serde_json::{Value, json};

use crate::talk::{self, Agent};

const METADATA: &str = "/.well-known/oauth-protected-resource";

#[tokio::test]
async fn a_token_is_asked_for_and_where_to_read_more_is_said() {
    let mut agent = Agent::start(Role::Staff).await;
    let ticket = agent.with_credential(Role::Staff, "ticket", None).await;

    let mut bare = agent.request("POST", "/mcp/depot", &talk::list());
    bare.headers_mut().remove(header::AUTHORIZATION);
    let (missing, _) = agent.send(bare).await;
    let (used, _) = ticket.post("/mcp", &talk::list()).await;
    agent.token = "nobody's".to_owned();
    let (unknown, told) = agent.post("/mcp", &talk::list()).await;

    assert_eq!(missing.status(), StatusCode::UNAUTHORIZED);
    let metadata = format!("http://localhost:4000{METADATA}");
    assert_eq!(
        missing.headers()[header::WWW_AUTHENTICATE],
        format!("Bearer resource_metadata=\"{metadata}/mcp/depot\"").as_str()
    );
    assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        unknown.headers()[header::WWW_AUTHENTICATE],
        format!("Bearer error=\"invalid_token\", resource_metadata=\"{metadata}/mcp\"").as_str()
    );
    assert_eq!(told["error"], "invalid_token");
    assert_eq!(used.status(), StatusCode::UNAUTHORIZED, "a ticket opens sockets only");
    drop(ticket);
    agent.stop().await;
}

#[tokio::test]
async fn anybody_may_read_what_a_credential_must_be_like() {
    let agent = Agent::start(Role::Staff).await;
    let ask = |host: &str, path: &str| {
        let request = Request::builder().uri(format!("{METADATA}{path}")).header("host", host);
        agent.send(request.body(Body::empty()).expect("the request is well-formed"))
    };

    let (_, depot) = ask("finnest.example.com", "/mcp/depot").await;
    let (_, all) = ask("localhost:4000", "/mcp").await;
    let (nowhere, _) = ask("localhost:4000", "/mcp/nowhere").await;
    let (foreign, _) = ask("evil.example.com", "/mcp").await;

    let expected = json!({
        "resource": "https://finnest.example.com/mcp/depot",
        "resource_name": "Finnest, depot",
        "scopes_supported": ["mcp:depot:read", "mcp:depot:write"],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(depot, expected);
    assert_eq!(all["resource"], "http://localhost:4000/mcp");
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    agent.stop().await;
}

#[tokio::test]
async fn who_asks_under_a_name_that_is_not_ours_is_not_answered() {
    let agent = Agent::start(Role::Staff).await;

    for (name, value, expected) in [
        ("host", "evil.example.com", StatusCode::FORBIDDEN),
        ("host", "finnest.example.com", StatusCode::OK),
        ("origin", "https://evil.example.com", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://localhost:3000", StatusCode::OK),
    ] {
        let (answer, _) = agent.post_with("/mcp", &talk::list(), &[(name, value)]).await;
        assert_eq!(answer.status(), expected, "{name}: {value}");
    }
    agent.stop().await;
}

/// A body that is refused, and the code of JSON-RPC that says why.
fn bad_bodies() -> Vec<(String, i32)> {
    let list = r#""method":"tools/list""#;
    vec![
        (String::new(), -32700),
        ("{".to_owned(), -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#.to_owned(), -32700),
        (format!(r#"{{"jsonrpc":"2.0","id":1,{list},"params":{{"x":{}"#, "[".repeat(1000)), -32700),
        ("\u{0}".to_owned(), -32700),
        ("7".to_owned(), -32600),
        ("null".to_owned(), -32600),
        (format!(r#"[{{"jsonrpc":"2.0","id":1,{list}}}]"#), -32600),
        (format!(r#"{{"jsonrpc":"1.0","id":1,{list}}}"#), -32600),
        (format!(r#"{{"jsonrpc":"2.0","id":{{}},{list}}}"#), -32600),
        (format!(r#"{{"jsonrpc":"2.0","id":1.5,{list}}}"#), -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.to_owned(), -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["a"]}}"#.to_owned(),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call",
                "params":{"name":"depot_list_labels","arguments":[]}}"#
                .to_owned(),
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"nothing/known"}"#.to_owned(), -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":7}"#.to_owned(), -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":7}"#.to_owned(),
            -32600,
        ),
    ]
}

#[tokio::test]
async fn a_body_that_is_no_message_is_told_what_it_is() {
    let agent = Agent::start(Role::Staff).await;

    for (body, code) in bad_bodies() {
        let (answer, told) = agent.post("/mcp", &body).await;
        let told_code = &told["error"]["code"];
        assert_eq!(*told_code, code, "{body:.200}: {} {told}", answer.status());
        assert_eq!(told["jsonrpc"], "2.0", "{body:.200}");
    }
    let (after, _) = agent.post("/mcp", &talk::list()).await;
    assert_eq!(after.status(), StatusCode::OK);
    agent.stop().await;
}

#[tokio::test]
async fn a_request_of_the_wrong_form_is_refused_over_http() {
    let agent = Agent::start(Role::Staff).await;
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));

    let (get, _) = agent.send(agent.request("GET", "/mcp", "")).await;
    let (delete, _) = agent.send(agent.request("DELETE", "/mcp", "")).await;
    let (text, _) = agent.post_with("/mcp", &talk::list(), &[("content-type", "text/plain")]).await;
    let (html, _) = agent.post_with("/mcp", &talk::list(), &[("accept", "text/html")]).await;
    let (large, _) = agent.post("/mcp", &long).await;
    let (version, _) =
        agent.post_with("/mcp", &talk::list(), &[("mcp-protocol-version", "1999-01-01")]).await;

    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get.headers()[header::ALLOW], "POST");
    assert_eq!(delete.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(text.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(html.status(), StatusCode::NOT_ACCEPTABLE);
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(version.status(), StatusCode::BAD_REQUEST);
    agent.stop().await;
}

#[tokio::test]
async fn no_request_leaves_a_session_behind() {
    let agent = Agent::start(Role::Staff).await;
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}}});
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});

    let (answer, told) = agent.post("/mcp/depot", &initialize.to_string()).await;
    let (noted, nothing) = agent.post("/mcp/depot", &initialized.to_string()).await;

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers().get("mcp-session-id"), None);
    assert_eq!(told["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(told["result"]["serverInfo"]["name"], "finnest-depot");
    let instructions = told["result"]["instructions"].as_str().unwrap_or_default();
    assert!(instructions.contains("request_id"), "{instructions}");
    assert_eq!((noted.status(), nothing), (StatusCode::ACCEPTED, Value::from("")));
    agent.stop().await;
}
