//! OTP supervision on ractor: ordered starts and stops, restarts with limits, a tree to look at.
//!
//! # The mental model
//!
//! A program is a tree. The leaves do the work: an [`Actor`] handles one message at a time, a
//! [`Process`] runs a loop of its own. The branches are supervisors, and all a supervisor does is
//! to start its children in order, to stop them in reverse, and to start again what died.
//!
//! Nobody repairs a process that has failed. Its state may be what made it fail, so the state goes
//! with it, and its successor begins from its arguments, which are known to be good. That is why a
//! [`ChildSpec`] holds not a process but a function that makes one. Each such life is an
//! incarnation; a [`Pid`] and an [`ActorRef`] mean one life, a path in the [`Tree`] means the
//! place.
//!
//! Three questions decide the shape of a tree:
//!
//! - *Who must go down together?* The [`Strategy`]: with `OneForOne` nobody else, with `RestForOne`
//!   those started later, because they build upon what died, with `OneForAll` everybody.
//! - *When does a restart help?* The [`Restart`] type: always, after a failure only, or never.
//! - *When is it hopeless?* The [`Intensity`]: one restart too many, and the supervisor stops what
//!   it has and ends itself. Then its own supervisor is asked the same questions, one level up,
//!   with more to start afresh. At the top it is the end of the program, which is honest.
//!
//! So an error that nobody expected needs no code at the place where it happens. What is expected
//! is a value of a [`Result`]; all else may panic, and ends one process.
//!
//! # An example, and how to break it
//!
//! A till counts coins. Its supervisor tolerates one failure an hour.
//!
//! ```
//! use std::time::Duration;
//! use otp::{
//!     Actor, ChildSpec, Clock, Context, ExitReason, Intensity, Reply, Root, Strategy,
//!     SupervisionEventKind as Kind, SupervisorSpec,
//! };
//!
//! struct Till {
//!     coins: u64,
//! }
//!
//! enum Ask {
//!     Pay(u64),
//!     Total(Reply<u64>),
//! }
//!
//! impl Actor for Till {
//!     type Message = Ask;
//!
//!     async fn handle(&mut self, ask: Ask, _: &Context<Ask>) -> Result<(), ExitReason> {
//!         match ask {
//!             // A debug build panics when this overflows; nobody thought of it.
//!             Ask::Pay(coins) => self.coins += coins,
//!             Ask::Total(reply) => reply.send(self.coins),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shop = SupervisorSpec::new(Strategy::OneForOne)
//!     .intensity(Intensity::new(1, Duration::from_secs(3_600)))
//!     .child(ChildSpec::worker("till", || Till { coins: 0 }));
//! let street = SupervisorSpec::new(Strategy::OneForOne);
//! let street = street.child(ChildSpec::supervisor("shop", shop));
//! let root = Root::start(street, Clock::system()).await?;
//! let tree = root.tree();
//! let till = || tree.whereis::<Ask>("root/shop/till").ok_or("the till is down");
//!
//! till()?.cast(Ask::Pay(3))?;
//! assert_eq!(till()?.request(Ask::Total).await?, 3);
//! # std::panic::set_hook(Box::new(|_| {}));
//!
//! // Broken on purpose, from inside: a panic ends one life, and the next begins at zero.
//! let mut events = tree.subscribe();
//! let first = till()?;
//! first.cast(Ask::Pay(u64::MAX))?;
//! # if !cfg!(debug_assertions) { first.pid().kill(); }
//! while events.recv().await?.kind != Kind::Restarted {}
//! assert!(!first.is_alive());
//! assert_eq!(till()?.request(Ask::Total).await?, 0);
//!
//! // And again, from outside. That is once too often: the shop gives up, and the street, which has
//! // seen no failure yet, starts all of it anew.
//! tree.kill("root/shop/till")?;
//! let mut story = Vec::new();
//! while story.last() != Some(&("root/shop".to_owned(), Kind::Restarted)) {
//!     let event = events.recv().await?;
//!     story.push((event.path.clone(), event.kind.clone()));
//! }
//! assert!(story.contains(&("root/shop".to_owned(), Kind::GaveUp)));
//! assert_eq!(tree.find("root/shop").ok_or("it is listed")?.restarts, 1);
//! assert_eq!(till()?.request(Ask::Total).await?, 0);
//!
//! root.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | children that come and go | [`DynamicSupervisor`], [`TaskSupervisor`] |
//! | several copies of one child | [`PartitionSupervisor`] |
//! | messages, calls and their failures | [`ActorRef`], [`Mailbox`], [`Context`] |
//! | finding and watching processes | [`Tree`], [`Registry`], [`Groups`], [`Pid::monitor`] |
//! | looking inside while it runs | [`sys`], [`Tree::snapshot`] |
//! | parts with dependencies and an order | [`Application`], [`Applications`] |
//! | limits of blast | [`Bulkhead`], [`Watchdog`], [`process`], [`QuarantineSchedule`] |
//! | tuning without a build | [`config`], [`SupervisorRef::reconfigure`] |
//!
//! The rules are those of Erlang/OTP, compared with traces of the original: recorded ones, and
//! random ones wherever Erlang is installed. Nothing here knows of databases, domains or HTTP; the
//! crate stands alone, and nothing in it is global to the operating-system process.
//!
#![doc = include_str!("../README.md")]
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
mod signal;
mod specification;
mod strategy;
mod supervisor;
mod sync;
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
pub use specification::{AutoShutdown, SpecError, SupervisorSpec, check_childspecs};
pub use strategy::Strategy;
pub use task::{OnTimeout, Task, TaskError, TaskStream, TaskStreamBuilder, TaskSupervisor};
pub use timer::{PERIOD_MIN, Timer};
pub use tree::{HISTORY_MAX, Killed, ROOT_PATH, Tree, TreeError, UnknownPath};
pub use watchdog::Watchdog;
