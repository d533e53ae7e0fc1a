//! The faults the event log and the queue survive, each provoked under load and judged from
//! outside.
//!
//! Every test of the log runs a Postgres server of its own with real durability, 32 clients that
//! write down which of their commands were acknowledged, and a projection that shows every
//! delivery. Then it does harm. At the end a judge that shares no code with the log compares what
//! was promised with what is there: no acknowledged event lost, none delivered twice, positions
//! gapless, chain intact. For the queue see `queue.rs`.
//!
//! `cargo nextest run -p faults` does less harm and takes a minute or two; `make faults` does all
//! of it and writes the tables of `docs/reliability.md`. Both tell their seed, and
//! `FINNEST_FAULTS_SEED` repeats it.

mod amount;
mod cluster;
mod judge;
mod node;
mod program;
mod proxy;
mod random;
mod report;
mod trial;
mod writers;

mod clock;
mod disk;
mod line;
mod neighbours;
mod nodes;
mod platform;
mod queue;
mod sealer;
mod server;
mod subscribers;
