//! The store's stories, against a real Postgres.

mod append;
mod archive;
mod auditor;
mod batch;
mod boundaries;
mod checkpoint;
mod consumer;
mod database;
mod effects;
mod export;
mod import;
mod lanes;
mod migration;
mod once;
mod plans;
mod read;
mod replay;
mod sealer;
mod sessions;
mod silent;
mod stall;
mod storm;
mod takeover;
mod verify;
mod version;
mod wake;
