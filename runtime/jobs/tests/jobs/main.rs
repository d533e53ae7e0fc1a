//! The queue on a real Postgres: the life of jobs, and what faults may not do to it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod boundaries;
mod database;
mod duties;
mod faults;
mod life;
mod operators;
mod recorder;
mod unique;
mod world;
