//! The store's stories, against a real Postgres.

mod append;
mod boundaries;
mod consumer;
mod database;
mod export;
mod migration;
mod read;
mod sealer;
mod verify;
mod wake;
