//! OTP supervision on ractor: ordered starts and stops, restarts with limits, a tree to look at.
//!
//! A [`SupervisorSpec`] lists children. A child is an [`Actor`] with a mailbox, a [`Process`] with
//! a loop of its own, or another supervisor. [`Root::start`] brings all of them up in order, each
//! awaited; a child that dies is restarted as its specification and the [`Strategy`] of its
//! supervisor say, until the [`Intensity`] is exceeded and the failure moves one level up.
//! [`Tree`] shows what is there and tells what happens.
//!
//! The rules are those of Erlang/OTP's `supervisor`, compared with recorded traces of the
//! original. Two things are ours, explicit and off by default: quarantine
//! ([`SupervisorSpec::quarantine`]) and a limit on the time of a start
//! ([`ChildSpec::start_within`]). One is stricter: after a supervisor was killed, its successor
//! starts only when everything below its predecessor is gone.
//!
//! Nothing here knows of databases, domains or HTTP; the crate stands alone.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps nothing has failed"))]

mod actor;
mod application;
mod bulkhead;
mod call;
mod changes;
mod child;
mod children;
mod clock;
pub mod config;
pub mod dynamic;
mod event;
mod exit;
mod group;
mod here;
mod incarnation;
mod inside;
mod intensity;
mod mailbox;
mod monitor;
mod node;
mod nudge;
mod partition;
mod periodic;
mod pid;
pub mod process;
mod quarantine;
mod registry;
mod request;
mod root;
mod run;
mod specification;
mod strategy;
mod supervisor;
pub mod sys;
mod task;
mod timer;
mod tree;
mod watch;
mod watchdog;

pub use actor::{Actor, Context};
pub use application::{
    Application, ApplicationEntry, ApplicationError, ApplicationStatus, Applications, Ended,
    Environment, EnvironmentChange, EnvironmentError, StartType,
};
pub use bulkhead::{Bulkhead, BulkheadError};
pub use call::{ActorRef, CALL_TIMEOUT, CallError, CastError, NoProc, Reply};
pub use changes::{Changes, Flags, Replaced};
pub use child::{ChildKind, ChildSpec, Restart, Shutdown, WORKER_PATIENCE};
pub use clock::Clock;
pub use dynamic::{DynamicSupervisor, Starter};
pub use event::{SupervisionEvent, SupervisionEventKind};
pub use exit::{ExitReason, StartError};
pub use futures_util::future::BoxFuture;
pub use group::{GroupEvent, GroupMonitor, Groups, Member};
pub use intensity::{Intensity, Verdict, Window};
pub use mailbox::{Mailbox, MailboxReport, Overflow};
pub use monitor::{Down, DownReason, Monitor, MonitorId, MonitorRef};
pub use node::{Node, RuntimeKind, Status};
pub use nudge::Nudge;
pub use partition::{PartitionKey, PartitionSupervisor, Partitions};
pub use periodic::PeriodicContext;
pub use pid::Pid;
pub use process::OsExit;
pub use quarantine::QuarantineSchedule;
pub use registry::{LISTENER_BACKLOG, Listener, RegisterError, Registry, RegistryEvent, Via};
pub use request::{
    ChildCounts, ChildDescription, ChildEntry, ChildName, ChildState, RequestError, SupervisorRef,
    Suspended,
};
pub use root::Root;
pub use run::{Process, RunContext};
pub use specification::{AutoShutdown, SpecError, SupervisorSpec};
pub use strategy::Strategy;
pub use task::{OnTimeout, Task, TaskError, TaskStream, TaskStreamBuilder, TaskSupervisor};
pub use timer::{PERIOD_MIN, Timer};
pub use tree::{HISTORY_MAX, Killed, ROOT_PATH, Tree, TreeError, UnknownPath};
pub use watchdog::Watchdog;
