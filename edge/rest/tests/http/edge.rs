//! A system under test and its routes, as a client without a network reaches them.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt as _;
use platform::otp::Clock;
use platform::{Role, System};
use serde_json::Value;
use testkit::{ACME, TestSystem};
use tower::ServiceExt as _;

use crate::fixture;

/// A system and its routes.
pub(crate) struct Edge {
    pub(crate) system: TestSystem,
    pub(crate) router: Router,
    pub(crate) token: String,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With further lines of supervision.toml.
    pub(crate) async fn start_with(tuning: &str) -> Self {
        Self::start_as(Clock::system(), tuning).await
    }

    /// With a clock that the test moves.
    pub(crate) async fn start_at(clock: Clock) -> Self {
        Self::start_as(clock, "").await
    }

    async fn start_as(clock: Clock, tuning: &str) -> Self {
        let edge = Box::new(|_: &System| Vec::new());
        let system = testkit::start_with([fixture::domain()], clock, tuning, edge).await;
        let router = rest::router(system.system().clone());
        let token = system.member(ACME, Role::Staff).token().to_owned();
        Self { system, router, token }
    }

    /// A request by a member of staff.
    pub(crate) fn request(&self, method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.into())
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

    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> (Response<()>, Value) {
        self.send(self.request(method, path, body.to_owned())).await
    }
}
