//! The faults the event log survives; see `main.rs`.
