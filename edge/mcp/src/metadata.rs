//! Metadata: what a client without a credential is told about a server (RFC 9728).

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use platform::DomainName;
use serde_json::json;

use crate::hosts::PublicHosts;

/// Where the metadata of a server begin; its path follows.
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// One of the servers: a domain's, or that of all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    domain: Option<DomainName>,
}

impl Server {
    pub(crate) const fn new(domain: Option<DomainName>) -> Self {
        Self { domain }
    }

    pub(crate) const fn domain(self) -> Option<DomainName> {
        self.domain
    }

    /// Its address below the installation's own.
    pub(crate) fn path(self) -> String {
        self.domain.map_or_else(|| "/mcp".to_owned(), |domain| format!("/mcp/{domain}"))
    }

    /// Its name, as in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self.domain {
            Some(domain) => domain.as_str(),
            None => "*",
        }
    }

    /// The scopes that open it. Nobody writes in the operator's domain: who acts there operates.
    pub(crate) fn scopes(self) -> Vec<String> {
        let rights: &[&str] = match self.domain {
            Some(domain) if domain == platform::operator::OPERATOR => &["operate"],
            Some(_) => &["read", "write"],
            None => &["read", "write", "operate"],
        };
        rights.iter().map(|right| format!("mcp:{}:{right}", self.name())).collect()
    }

    /// Where its metadata are, for an installation with that address.
    pub(crate) fn metadata_at(self, base: &str) -> String {
        format!("{base}{WELL_KNOWN}{}", self.path())
    }
}

/// Answers a request for the metadata of a server. There is nothing secret in them.
pub(crate) fn tell(server: Server, hosts: &PublicHosts, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let base = match hosts.admit(&parts) {
        Ok(base) => base,
        Err(refused) => return refused.answer(None),
    };
    let whose = server.domain.map_or("all domains", |domain| domain.as_str());
    Json(json!({
        "resource": format!("{base}{}", server.path()),
        "resource_name": format!("Finnest, {whose}"),
        "scopes_supported": server.scopes(),
        "bearer_methods_supported": ["header"],
    }))
    .into_response()
}
