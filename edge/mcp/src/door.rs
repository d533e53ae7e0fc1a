//! The door: what happens to a request before and after rmcp sees it.
//!
//! In this order: is it for us, who asks, may they ask this server, is there a place, is there one
//! readable message. What is refused here says so over HTTP; what is refused later is the result
//! of a tool or an error of JSON-RPC.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use platform::{Kind, System};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{self, BODY_BYTES_MAX, INVALID_REQUEST};
use crate::caller::{CORRELATION_ID, Caller, Ids};
use crate::hosts::PublicHosts;
use crate::metadata;
use crate::server::Server;

/// The most requests all servers of a node answer at once.
const REQUESTS_MAX: usize = 512;
/// When to come back to a server that is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The places for requests at once, shared by all servers of a node.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(REQUESTS_MAX)))
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, Refused> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            let message = format!("{REQUESTS_MAX} requests are already being answered");
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", &message)
                .retry_after(Some(RETRY_AFTER))
        })
    }
}

/// The way into one server.
pub(crate) struct Door {
    system: System,
    hosts: PublicHosts,
    server: metadata::Server,
    places: Places,
    service: StreamableHttpService<Server, NeverSessionManager>,
}

impl Door {
    pub(crate) fn new(
        system: &System,
        hosts: &PublicHosts,
        server: metadata::Server,
        places: &Places,
    ) -> Self {
        let handler = Server::new(system, server);
        // Names and origins are checked before anything else, here and not by rmcp.
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(BODY_BYTES_MAX)
            .disable_allowed_hosts()
            .disable_allowed_origins();
        let service =
            StreamableHttpService::new(move || Ok(handler.clone()), Arc::default(), config);
        let (system, hosts, places) = (system.clone(), hosts.clone(), places.clone());
        Self { system, hosts, server, places, service }
    }

    /// Answers a request.
    pub(crate) async fn serve(&self, request: Request) -> Response {
        let ids = Ids::of(request.headers());
        let (parts, body) = request.into_parts();
        let mut response = match self.hosts.admit(&parts) {
            Err(refused) => refused.answer(None),
            Ok(base) => {
                let request = Request::from_parts(parts, body);
                let metadata = self.server.metadata_at(&base);
                self.answer(request, ids)
                    .await
                    .unwrap_or_else(|refused| refused.answer(Some(&metadata)))
            }
        };
        let id = HeaderValue::try_from(ids.correlation_id.to_string());
        let headers = response.headers_mut();
        headers.insert(CORRELATION_ID, id.expect("a UUID is visible ASCII"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn answer(&self, request: Request, ids: Ids) -> Result<Response, Refused> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::of(&self.system, self.server, &parts, ids).await?;
        let place = self.places.enter()?;
        if parts.method != Method::POST {
            let message = "a message is sent by POST; there are no streams to follow";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Refused::new(status, "method_not_allowed", message));
        }
        let bytes = body::read(&parts.headers, body).await?;
        parts.extensions.insert(caller);
        let request = Request::from_parts(parts, Body::from(bytes));
        let response = self.service.handle(request).await;
        // It is JSON, and said so; then rmcp means that it cannot make a message of it.
        if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            let message = "the body is no message of this protocol";
            return Err(Refused::rpc(INVALID_REQUEST, &Value::Null, message));
        }
        // A call that tells how far it is has its place until it has told all.
        let held = move |frame| {
            let _place = &place;
            frame
        };
        Ok(response.map(|body| Body::new(body.map_frame(held))))
    }
}

/// A request that got no further than the door.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    body: Value,
    challenge: Option<Challenge>,
    retry_after: Option<Duration>,
}

/// How to come in: what RFC 6750 says in `WWW-Authenticate`.
#[derive(Debug)]
struct Challenge {
    error: Option<&'static str>,
    scopes: Vec<String>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &str, message: &str) -> Self {
        let body = json!({"error": code, "error_description": message});
        Self { status, body, challenge: None, retry_after: None }
    }

    /// The body is no message; said in the words of JSON-RPC.
    pub(crate) fn rpc(code: i32, id: &Value, message: &str) -> Self {
        let error = json!({"code": code, "message": message});
        let body = json!({"jsonrpc": "2.0", "id": id, "error": error});
        Self { status: StatusCode::BAD_REQUEST, body, challenge: None, retry_after: None }
    }

    /// The request came in under a wrong name, or from a wrong page.
    pub(crate) fn misdirected(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
    }

    /// Nobody is known by the token, or there is none.
    pub(crate) fn unauthenticated(error: Option<&'static str>) -> Self {
        let (code, message) = match error {
            None => ("token_missing", "send a token: Authorization: Bearer <token>"),
            Some(error) => (error, "the token is unknown, expired or revoked"),
        };
        let mut refused = Self::new(StatusCode::UNAUTHORIZED, code, message);
        refused.challenge = Some(Challenge { error, scopes: Vec::new() });
        refused
    }

    /// The token's scopes say nothing about this server.
    pub(crate) fn insufficient_scope(server: metadata::Server) -> Self {
        let scopes = server.scopes();
        let message = format!("the token needs one of the scopes {}", scopes.join(", "));
        let mut refused = Self::new(StatusCode::FORBIDDEN, "insufficient_scope", &message);
        refused.challenge = Some(Challenge { error: Some("insufficient_scope"), scopes });
        refused
    }

    fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// The answer; whoever must show a credential learns from `metadata` what it must be like.
    pub(crate) fn answer(self, metadata: Option<&str>) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge {
            challenge.write(headers, metadata);
        }
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

impl Challenge {
    fn write(&self, headers: &mut HeaderMap, metadata: Option<&str>) {
        let error = self.error.map(|error| format!("error=\"{error}\""));
        let scopes = (!self.scopes.is_empty()).then(|| self.scopes.join(" "));
        let scopes = scopes.map(|scopes| format!("scope=\"{scopes}\""));
        let metadata = metadata.map(|metadata| format!("resource_metadata=\"{metadata}\""));
        let said: Vec<String> = [error, scopes, metadata].into_iter().flatten().collect();
        let value = HeaderValue::try_from(format!("Bearer {}", said.join(", ")));
        headers.insert(header::WWW_AUTHENTICATE, value.expect("names of ours are visible ASCII"));
    }
}

impl From<platform::Error> for Refused {
    /// The credential could not be looked at.
    fn from(error: platform::Error) -> Self {
        let status = match error.kind() {
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if let platform::Error::Failure(cause) = &error {
            tracing::error!(error = &**cause, "a caller of an MCP server could not be identified");
        }
        Self::new(status, error.code(), error.message()).retry_after(error.retry_after())
    }
}
