//! The MCP surface over a real system.

mod door;
mod fixture;
mod talk;
mod tools;
