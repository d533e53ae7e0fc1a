//! The queue on a real Postgres: the life of jobs, and what faults may not do to it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod batches;
mod boundaries;
mod bulks;
mod chains;
mod control;
mod cron;
mod database;
mod faults;
mod leader;
mod life;
mod lifeline;
mod limits;
mod listing;
mod observing;
mod operators;
mod pruner;
mod recorder;
mod reindexer;
mod schedules;
mod stager;
mod unique;
mod workflows;
mod world;
