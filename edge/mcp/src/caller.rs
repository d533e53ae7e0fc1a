//! The caller: who makes a request, from its bearer token.
//!
//! **Invariant:** the organisation comes from the token and from nowhere else.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use platform::{Access, Caller as Asking, Domain, Identity, Peer, Scope, Surface, System};
use platform::{Error, TraceParent};
use uuid::Uuid;

use crate::door::Refused;
use crate::metadata::Server;
use crate::tool::Entry;

/// Names the chain of causes: the same in the request, its events and everything they cause.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// What a request is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) correlation_id: Uuid,
    pub(crate) traceparent: Option<TraceParent>,
}

impl Ids {
    /// Takes the caller's correlation id if it is a UUID; a malformed trace is no reason to refuse.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = only(headers, &CORRELATION_ID).and_then(|text| Uuid::try_parse(text).ok());
        let traceparent = only(headers, &HeaderName::from_static("traceparent"));
        Self {
            correlation_id: given.unwrap_or_else(Uuid::now_v7),
            traceparent: traceparent.and_then(|text| text.trim().parse().ok()),
        }
    }
}

/// Who makes a request, and in which chain of causes.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) scope: Scope,
    identity: Identity,
}

impl Caller {
    /// Whoever shows the token of a request, if it says anything about this server.
    pub(crate) async fn of(
        system: &System,
        server: Server,
        parts: &Parts,
        ids: Ids,
    ) -> Result<Self, Refused> {
        let token = bearer(&parts.headers).ok_or_else(|| Refused::unauthenticated(None))?;
        let Some(identity) = system.authenticate(token).await? else {
            // Each guess costs a question to the database, so nobody may guess without end.
            system.admit(Asking::stranger(parts.extensions.get::<Peer>()))?;
            return Err(Refused::unauthenticated(Some("invalid_token")));
        };
        let scope = identity.scope_at(Surface::Mcp, ids.correlation_id).traced(ids.traceparent);
        let caller = Self { scope, identity };
        let mut domains = system.catalog().domains().iter().map(Domain::name);
        let is_meant = match server.domain() {
            Some(domain) => caller.has_any_right_in(domain.as_str()),
            None => domains.any(|domain| caller.has_any_right_in(domain.as_str())),
        };
        if is_meant { Ok(caller) } else { Err(Refused::insufficient_scope(server)) }
    }

    /// Whether the credential says anything about a domain.
    pub(crate) fn has_any_right_in(&self, domain: &str) -> bool {
        let authority = &self.scope.authority;
        ["read", "write", "operate"].iter().any(|right| authority.allows(domain, right))
    }

    /// Lets the caller call one tool more, or tells when it may.
    pub(crate) fn admit(&self, system: &System) -> Result<(), Error> {
        system.admit(Asking::Known(&self.identity)).map(drop)
    }

    /// Whether role and credential allow a tool.
    pub(crate) fn may_use(&self, entry: &Entry) -> bool {
        let right = entry.spec.right();
        entry.access != Access::Anyone
            && platform::allows(self.identity.role, entry.access)
            && right.is_none_or(|right| self.scope.authority.allows(entry.domain.as_str(), right))
    }
}

/// The token of an `Authorization` header; the scheme's name is case-insensitive.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The value of a header that is given once. Two are none, since two readers could choose
/// differently.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}
