//! MCP: the operations of each domain as tools for agents, over streamable HTTP.
//!
//! A fold over the catalog, as every surface. A request comes in through the `door`, which knows
//! our own names (`hosts`), the caller (`caller`) and what a body may be (`body`); `server` is what
//! rmcp asks for lists and calls, `tool` the fold, `document` the queries that are read by address,
//! `prompt` what a domain would ask, `outcome` the table from answers to results, `content` what
//! answers hold that is no words, `progress` what long calls tell, and `audit` what is recorded of
//! every call.
//!
//! **Invariant:** the organisation comes from the credential and from nowhere else; no request
//! leaves a session behind, so any node answers the next one.

mod audit;
mod body;
mod caller;
mod content;
mod document;
mod door;
mod hosts;
mod metadata;
mod outcome;
mod progress;
mod prompt;
mod server;
mod tool;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{any, get};
use platform::System;

pub use hosts::{BadHost, PublicHosts};

use crate::door::{Door, Places};
use crate::metadata::{Server as Place, WELL_KNOWN};

/// The MCP servers of a system: one per domain at `/mcp/<domain>`, and all of them at `/mcp`, each
/// with its metadata for whoever has no credential yet. Requests under other names than `hosts` are
/// refused.
pub fn router(system: &System, hosts: &PublicHosts) -> Router {
    let places = Places::new();
    let domains = system.catalog().domains().iter().map(|domain| Some(domain.name()));
    let mut router = Router::new();
    for domain in domains.chain([None]) {
        let place = Place::new(domain);
        let path = place.path();
        let metadata = format!("{WELL_KNOWN}{path}");
        let known = hosts.clone();
        let tell = move |request: Request| async move { metadata::tell(place, &known, request) };
        let door = Arc::new(Door::new(system, hosts, place, &places));
        let serve = move |request: Request| async move { door.serve(request).await };
        router = router.route(&path, any(serve)).route(&metadata, get(tell));
    }
    router
}
