//! What a supervised process, its neighbours and an onlooker can rely on.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod application;
mod bulkhead;
mod call;
mod dynamic;
mod environment;
mod group;
mod halt;
mod holding;
mod lifecycle;
mod mailbox;
mod monitor;
mod panics;
mod partition;
mod periodic;
mod quarantine;
mod reconfigure;
mod registry;
mod report;
mod request;
mod stage;
mod sys;
mod task;
mod timer;
mod tree;
mod watchdog;
