//! The store's stories, against a real Postgres.

mod append;
mod archive;
mod boundaries;
mod consumer;
mod database;
mod effects;
mod export;
mod import;
mod lanes;
mod migration;
mod read;
mod replay;
mod sealer;
mod stall;
mod takeover;
mod verify;
mod wake;
