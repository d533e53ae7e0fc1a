//! An agent in a test: one credential, and the words of the protocol as they go over the wire.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt as _;
use mcp::PublicHosts;
use platform::otp::Clock;
use platform::{Digest, Role, Scope, SecondFactor, UserId};
use serde_json::{Value, json};
use testkit::{ACME, TestSystem};
use tower::ServiceExt as _;

use crate::fixture;

/// A system, its servers, and somebody who asks them.
pub(crate) struct Agent {
    pub(crate) system: Arc<TestSystem>,
    pub(crate) router: Router,
    pub(crate) token: String,
    role: Role,
}

/// A request for the tools.
pub(crate) fn list() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string()
}

/// A call of a tool.
pub(crate) fn call(name: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
           "params": {"name": name, "arguments": arguments}})
}

impl Agent {
    /// Starts a system and acts with a token of that role.
    pub(crate) async fn start(role: Role) -> Self {
        Self::start_tuned(role, "").await
    }

    /// The same with further lines of supervision.toml.
    pub(crate) async fn start_tuned(role: Role, tuning: &str) -> Self {
        let edge: platform::MakeEdge = Box::new(|_| Vec::new());
        let domains = [fixture::domain()];
        let system = testkit::start_with(domains, Clock::system(), tuning, edge).await;
        let hosts = PublicHosts::parse(["finnest.example.com"]).expect("it is a name");
        let router = mcp::router(system.system(), &hosts);
        let token = system.member(ACME, role).token().to_owned();
        Self { system: Arc::new(system), router, token, role }
    }

    fn with_token(&self, role: Role, token: String) -> Self {
        let (system, router) = (Arc::clone(&self.system), self.router.clone());
        Self { system, router, token, role }
    }

    /// The same system with somebody else's token.
    pub(crate) fn acting(&self, role: Role) -> Self {
        self.with_token(role, self.system.member(ACME, role).token().to_owned())
    }

    /// The same system with a token that carries these scopes.
    pub(crate) async fn with_scopes(&self, role: Role, scopes: &[&str]) -> Self {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        self.with_credential(role, "api", Some(scopes)).await
    }

    /// The same system with a session that still owes a second factor.
    pub(crate) async fn asked_for_second_factor(&self, role: Role) -> Self {
        let mut owner = self.system.owner().await;
        let asked = sqlx::query("update platform.users set has_second_factor = true where id = $1");
        let user_id = self.system.member(ACME, role).scope().user_id().expect("it is a user");
        asked.bind(user_id.uuid()).execute(&mut owner).await.expect("the owner may write");
        self.with_credential(role, "session", None).await
    }

    /// The same system with a credential of that kind.
    pub(crate) async fn with_credential(
        &self,
        role: Role,
        kind: &str,
        scopes: Option<Vec<String>>,
    ) -> Self {
        let token = platform::new_secret("test");
        let user_id = self.system.member(ACME, role).scope().user_id().expect("it is a user");
        sqlx::query(
            "insert into platform.tokens
                (token_hash, user_id, org_id, label, created_at, kind, scopes)
             values ($1, $2, $3, 'test', $4, $5, $6)",
        )
        .bind(Digest::of(token.as_bytes()).as_bytes().as_slice())
        .bind(user_id.uuid())
        .bind(ACME.uuid())
        .bind(self.system.system().now())
        .bind(kind)
        .bind(scopes)
        .execute(&mut self.system.owner().await)
        .await
        .expect("the owner may write");
        self.with_token(role, token)
    }

    /// What the token says of a second factor.
    pub(crate) async fn second_factor(&self) -> SecondFactor {
        let identity = self.system.system().authenticate(&self.token).await;
        identity.expect("the database answers").expect("the token is good").credential.second_factor
    }

    pub(crate) fn user_id(&self) -> UserId {
        self.system.member(ACME, self.role).scope().user_id().expect("it is a user")
    }

    /// A request as a client makes it.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:4000")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .body(body.to_owned().into())
            .expect("the request is well-formed")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (Response<()>, Value) {
        let answer = self.router.clone().oneshot(request).await.expect("a router answers");
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("the body is in memory").to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        (Response::from_parts(parts, ()), body)
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (Response<()>, Value) {
        self.send(self.request("POST", path, body)).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        body: &str,
        headers: &[(&'static str, &str)],
    ) -> (Response<()>, Value) {
        let mut request = self.request("POST", path, body);
        for (name, value) in headers {
            let value = value.parse().expect("it is a header value");
            request.headers_mut().insert(*name, value);
        }
        self.send(request).await
    }

    /// The message that answers a message of that method, at the server of all domains.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.post("/mcp", &message.to_string()).await.1
    }

    /// The tools that one server lists.
    pub(crate) async fn tools(&self, path: &str) -> Vec<Value> {
        let (_, answer) = self.post(path, &list()).await;
        answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    pub(crate) async fn names(&self, path: &str) -> Vec<String> {
        let tools = self.tools(path).await;
        tools.iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned).collect()
    }

    /// The message that answers a call, at the server of all domains.
    pub(crate) async fn rpc_call(&self, name: &str, arguments: Value) -> Value {
        self.post("/mcp", &call(name, &arguments).to_string()).await.1
    }

    /// The result of a call that is no error of the protocol.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Value {
        let answer = self.rpc_call(name, arguments).await;
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].clone()
    }

    /// The events of that name: who acted, and what is told.
    pub(crate) async fn recorded(&self, name: &str) -> Vec<(UserId, Value)> {
        let events = self.events(name).await;
        let told =
            |(scope, payload): (Scope, Value)| (scope.user_id().expect("a user acted"), payload);
        events.into_iter().map(told).collect()
    }

    /// The scopes of the events of that name.
    pub(crate) async fn scopes_of(&self, name: &str) -> Vec<Scope> {
        self.events(name).await.into_iter().map(|(scope, _)| scope).collect()
    }

    async fn events(&self, name: &str) -> Vec<(Scope, Value)> {
        self.system.settle().await;
        let pool = self.system.system().log().pool();
        let mut reading = platform::store::begin_reading(pool).await.expect("the runtime may read");
        let from = platform::Position::ORIGIN;
        let events = platform::store::read::after(&mut reading, from, 1000).await;
        reading.rollback().await.expect("nothing is in the way");
        let events = events.expect("the log can be read").into_iter();
        let named = events.filter(|event| event.event_type == name);
        let told = |payload: &[u8]| serde_json::from_slice(payload).expect("a payload is JSON");
        named.map(|event| (event.scope, told(&event.payload))).collect()
    }

    /// Ends the test; others that act on the same system are gone by then.
    pub(crate) async fn stop(self) {
        drop(self.router);
        if let Some(system) = Arc::into_inner(self.system) {
            system.stop().await;
        }
    }
}
