//! MCP: the operations of each domain as tools for agents, over streamable HTTP.
//!
//! A fold over the catalog, as every surface: it knows no domain by name.

use axum::Router;
use platform::System;

/// The MCP servers of a system: one per domain at `/mcp/<domain>`, and all of them at `/mcp`.
pub fn router(_system: System) -> Router {
    Router::new()
}
