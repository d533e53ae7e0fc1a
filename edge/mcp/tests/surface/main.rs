//! The MCP surface over a real system.

mod documents;
mod door;
mod fixture;
mod talk;
mod tools;
