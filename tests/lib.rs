//! The workspace suites; see `main.rs`.
