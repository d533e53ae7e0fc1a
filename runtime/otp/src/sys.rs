//! Looking inside a running process, as OTP's `sys` does.
//!
//! Everything here takes a [`Pid`], such as [`crate::Tree::pid`] gives for a path, and needs to
//! know nothing of the messages that the process understands.
//!
//! | OTP | here | answered by |
//! |---|---|---|
//! | `sys:get_state` | [`get_state`] | the process, between two messages |
//! | `sys:suspend`, `sys:resume` | [`suspend`], [`resume`] | the process, between two messages |
//! | `sys:statistics` | [`statistics`], [`set_statistics`] | us, even while the process is busy |
//! | `sys:log` | [`log`], [`set_log`] | us, even while the process is busy |
//! | `sys:trace` | [`trace`], a stream with a limit | us, even while the process is busy |
//!
//! What a process itself has to answer waits behind the messages it has, as in OTP, and is given up
//! after [`crate::CALL_TIMEOUT`]. What was given up is not done later.
//!
//! While nobody looks, a message costs its actor one look at an empty cell and its sender one at a
//! thread-local one: no clock is read and nothing is locked or counted.
//!
//! # Examples
//!
//! ```
//! use otp::{Actor, ChildSpec, Clock, Context, ExitReason, Root, Strategy, SupervisorSpec, sys};
//!
//! struct Counter(u64);
//!
//! impl Actor for Counter {
//!     type Message = u64;
//!
//!     async fn handle(&mut self, more: u64, _: &Context<u64>) -> Result<(), ExitReason> {
//!         self.0 += more;
//!         Ok(())
//!     }
//!
//!     fn state(&self) -> Option<serde_json::Value> {
//!         Some(self.0.into())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let counter = ChildSpec::worker("counter", || Counter(0));
//! let spec = SupervisorSpec::new(Strategy::OneForOne).child(counter);
//! let root = Root::start(spec, Clock::system()).await?;
//! let pid = root.tree().pid("root/counter").expect("it is up");
//!
//! sys::set_statistics(&pid, true)?;
//! root.tree().whereis::<u64>("root/counter").expect("it is up").cast(7)?;
//!
//! assert_eq!(sys::get_state(&pid).await?, 7);
//! assert_eq!(sys::statistics(&pid)?.counts.expect("on").messages_in, 1);
//! # Ok(())
//! # }
//! ```

mod event;
mod observed;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::call::{CALL_TIMEOUT, CallError, Question, Reply};
use crate::exit::ExitReason;
use crate::incarnation::Pid;
use crate::inside::{Inside, System};
use crate::mailbox::MailboxReport;

pub(crate) use event::short_name;
pub use event::{SystemEvent, SystemEventKind};
pub use observed::{Counts, Traced};
pub(crate) use observed::{Observed, answered, observed, sent};

/// How many events a process remembers at most.
pub const LOG_MAX: usize = 1_000;

/// How many events wait at most for whoever traces; what comes meanwhile is skipped.
pub const TRACE_BACKLOG_MAX: usize = 1_000;

/// Why nothing can be seen or done inside a process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SysError {
    /// It is dead.
    #[error("no such process")]
    NoProc,
    /// It died before it answered.
    #[error("the process ended before it answered: {0}")]
    Exited(ExitReason),
    /// It did not come to it in time, and will not do it later.
    #[error("the process did not come to it within {ms} ms")]
    Timeout {
        /// How long it had.
        ms: u64,
    },
    /// It asked itself, and could never answer while it waits.
    #[error("a process cannot wait for itself")]
    CallingSelf,
    /// It is of a kind that cannot do this.
    #[error("not possible with this process: {why}")]
    Unsupported {
        /// What it lacks.
        why: &'static str,
    },
    /// It panicked while it described its state, and goes on.
    #[error("the process could not describe its state: {0}")]
    StateFailed(String),
}

/// What is known of the life of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// When it came up.
    pub started_at: DateTime<Utc>,
    /// How many lives there have been at its path before this one.
    pub restarts: u64,
    /// What waits for it.
    pub mailbox: MailboxReport,
    /// Whether it handles nothing until [`resume`].
    pub is_suspended: bool,
    /// What was counted; `None` unless [`set_statistics`] is on.
    pub counts: Option<Counts>,
}

const NO_MAILBOX: SysError = SysError::Unsupported { why: "it has no mailbox" };

/// The state of a process: what [`crate::Actor::state`] says, or the children of a supervisor, or
/// what a process with a loop of its own last gave to [`crate::RunContext::publish_state`].
///
/// # Errors
///
/// [`SysError::Unsupported`] when the process offers none.
pub async fn get_state(pid: &Pid) -> Result<Value, SysError> {
    let none = SysError::Unsupported { why: "it offers no state" };
    if !pid.is_alive() {
        return Err(SysError::NoProc);
    }
    if !pid.0.has_mailbox() {
        return pid.0.inside().and_then(Inside::published).ok_or(none);
    }
    let state = ask(pid, System::State).await?.map_err(SysError::StateFailed)?;
    state.ok_or(none)
}

/// Lets a process handle nothing but what is asked of it here, until [`resume`] or its end. Its
/// messages wait. It still obeys the stop of its supervisor, and a kill. Twice is once.
pub async fn suspend(pid: &Pid) -> Result<(), SysError> {
    ask(pid, System::Suspend).await
}

/// Lets a process go on. One that was not suspended does not mind.
pub async fn resume(pid: &Pid) -> Result<(), SysError> {
    ask(pid, System::Resume).await
}

/// What is known of the life of a process, without asking it.
pub fn statistics(pid: &Pid) -> Result<Statistics, SysError> {
    let incarnation = &pid.0;
    let started_at = incarnation.tree.started_at(incarnation).ok_or(SysError::NoProc)?;
    let inside = incarnation.inside();
    Ok(Statistics {
        started_at,
        restarts: incarnation.number().saturating_sub(1),
        mailbox: incarnation.mailbox(),
        is_suspended: inside.is_some_and(Inside::is_suspended),
        counts: inside.and_then(|inside| inside.observed(|observed| observed.counts())),
    })
}

/// Counts the messages of a process from now on, from zero, or no longer.
pub fn set_statistics(pid: &Pid, is_on: bool) -> Result<(), SysError> {
    observe(pid, |observed| observed.count(is_on.then(|| pid.0.tree.clock().now())))
}

/// The events that a process remembers, oldest first. They can be read after its end.
pub fn log(pid: &Pid) -> Result<Vec<SystemEvent>, SysError> {
    if !pid.0.has_mailbox() {
        return Err(NO_MAILBOX);
    }
    Ok(pid.0.inside().map(|inside| inside.observed(|observed| observed.log())).unwrap_or_default())
}

/// Lets a process remember its last `events_max` events, at most [`LOG_MAX`]; none with 0.
pub fn set_log(pid: &Pid, events_max: usize) -> Result<(), SysError> {
    observe(pid, |observed| observed.keep(events_max.min(LOG_MAX)))
}

/// Shows what a process does with its messages from now on, at most `per_second` events a second.
/// What is too much is skipped and counted; the process never waits for whoever looks.
pub fn trace(pid: &Pid, per_second: u32) -> Result<Trace, SysError> {
    let (sender, events) = mpsc::channel(TRACE_BACKLOG_MAX);
    let id = observe(pid, |observed| observed.trace(sender, per_second))?;
    if !pid.is_alive() {
        // It ended meanwhile, and nobody else would end the trace.
        pid.0.open().observed(Observed::end);
    }
    Ok(Trace { events, id, pid: pid.clone() })
}

/// What a process does with its messages, as it happens; dropping it ends that.
#[must_use = "dropping it ends the trace"]
#[derive(Debug)]
pub struct Trace {
    events: mpsc::Receiver<Traced>,
    id: u64,
    pid: Pid,
}

impl Trace {
    /// The next event; `None` when the process is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Traced> {
        self.events.recv().await
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Who is dead has no tracers any more.
        let _ = observe(&self.pid, |observed| observed.untrace(self.id));
    }
}

fn observe<T>(pid: &Pid, change: impl FnOnce(&mut Observed) -> T) -> Result<T, SysError> {
    if !pid.is_alive() {
        return Err(SysError::NoProc);
    }
    if !pid.0.has_mailbox() {
        return Err(NO_MAILBOX);
    }
    Ok(pid.0.open().observed(change))
}

async fn ask<T>(pid: &Pid, system: impl FnOnce(Reply<T>) -> System) -> Result<T, SysError> {
    let incarnation = &pid.0;
    if !pid.is_alive() {
        return Err(SysError::NoProc);
    }
    if !incarnation.has_mailbox() {
        return Err(NO_MAILBOX);
    }
    if incarnation.is_running_here() {
        return Err(SysError::CallingSelf);
    }
    let (reply, question) = Question::to(incarnation);
    if !incarnation.want(system(reply)) {
        return Err(SysError::NoProc);
    }
    match tokio::time::timeout(CALL_TIMEOUT, question.answer()).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(CallError::Exited(reason))) => Err(SysError::Exited(reason)),
        // Nothing that is wanted here is refused or dropped while the process lives.
        Ok(Err(_)) => Err(SysError::NoProc),
        Err(_) => Err(SysError::Timeout {
            ms: u64::try_from(CALL_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}
