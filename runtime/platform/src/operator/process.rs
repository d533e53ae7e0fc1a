//! Looking inside one process of the tree, and holding it still to look closer.

use std::time::Duration;

use kernel::Timestamp;
use otp::Pid;
use otp::sys::{self, Counts, SysError, SystemEvent, SystemEventKind, Traced};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// How long a process may take to show its state, before the rest is shown without.
const STATE_WITHIN: Duration = Duration::from_secs(1);
/// When to ask a process again that did not come to it.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How many events a second a trace takes at most; what is more is counted as skipped.
const TRACED_PER_SECOND_MAX: u32 = 1_000;

/// Why nothing is seen or done inside a process.
#[derive(Debug, thiserror::Error)]
enum NotSeen {
    #[error("{0}")]
    NoSuchProcess(String),
    #[error("{0}")]
    NotPossible(SysError),
}

impl Refusal for NotSeen {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchProcess(_) => Reason::not_found("no_such_process").at("/path"),
            Self::NotPossible(_) => Reason::conflict("not_possible_with_this_process").at("/path"),
        }
    }
}

fn not_seen(error: SysError) -> Error {
    match error {
        SysError::NoProc | SysError::Exited(_) => NotSeen::NoSuchProcess(error.to_string()).into(),
        SysError::Timeout { .. } => Error::unavailable(error.to_string(), RETRY_AFTER),
        other => NotSeen::NotPossible(other).into(),
    }
}

fn process(system: &System, path: &str) -> Result<Pid> {
    let found = system.tree().process(path);
    found.map_err(|unknown| NotSeen::NoSuchProcess(unknown.to_string()).into())
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Look inside one process: its state, its mailbox, and what it does with its messages.
///
/// The state is what the process chooses to show, and supervisors show their children. What is
/// counted and remembered of its messages has to be asked for first, with `observe_process`. A
/// process that is too busy to show its state is shown without.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetProcess {
    /// Place in the tree, for example `root/domains/onboard/children/budget_guard`.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
}

/// One process, from within.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProcessView {
    /// Place in the tree.
    pub path: String,
    /// How many times it has been started.
    pub incarnation: u64,
    /// How many of these were restarts.
    pub restarts: u64,
    /// When the present incarnation was started.
    pub started_at: Timestamp,
    /// Whether it handles no messages until it is resumed.
    pub is_suspended: bool,
    /// What waits for it.
    pub mailbox: MailboxView,
    /// What it shows of its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
    /// Why there is no state to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_state: Option<String>,
    /// What was counted; absent unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<ProcessStatistics>,
    /// What it did with its messages lately, oldest first; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<ProcessEvent>,
}

/// What waits for a process.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MailboxView {
    /// Messages or work that wait, with the one at hand.
    pub length: u64,
    /// How many may wait; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// How long the oldest has waited, in milliseconds; known of mailboxes with a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// How many were refused or dropped because too many waited.
    pub lost: u64,
}

/// What a process did with its messages, in numbers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProcessStatistics {
    /// Since when it is counted.
    pub since: Timestamp,
    /// How many messages it began to handle.
    pub messages_in: u64,
    /// How many messages and answers it sent while it handled others.
    pub messages_out: u64,
    /// For how long it kept a thread busy, in microseconds.
    pub busy_us: u64,
    /// The longest that one message kept it, waiting included, in microseconds.
    pub longest_us: u64,
}

impl From<Counts> for ProcessStatistics {
    fn from(counts: Counts) -> Self {
        Self {
            since: counts.since,
            messages_in: counts.messages_in,
            messages_out: counts.messages_out,
            busy_us: us(counts.busy),
            longest_us: us(counts.longest),
        }
    }
}

/// One thing that a process did with a message.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProcessEvent {
    /// Its number among the events of the process.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// `in`, `handled`, `out` or `reply`.
    pub kind: String,
    /// What the message is called. What it says is not shown.
    pub message: String,
    /// Where a message that was sent went, as a place in the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How long it was handled, waiting included, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// For how much of it the process kept a thread busy, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_us: Option<u64>,
}

impl From<SystemEvent> for ProcessEvent {
    fn from(event: SystemEvent) -> Self {
        let (kind, message, to, times) = match event.kind {
            SystemEventKind::In { message } => ("in", message, None, None),
            SystemEventKind::Handled { message, took, busy } => {
                ("handled", message, None, Some((us(took), us(busy))))
            }
            SystemEventKind::Out { message, to } => ("out", message, Some(to), None),
            SystemEventKind::Reply { message } => ("reply", message, None, None),
        };
        Self {
            number: event.number,
            at: event.at,
            kind: kind.to_owned(),
            message: message.into_owned(),
            to,
            took_us: times.map(|(took, _)| took),
            busy_us: times.map(|(_, busy)| busy),
        }
    }
}

impl Action for GetProcess {
    const SPEC: Spec = Spec::read("get_process", "/process").needs(Access::Operate);
    type Output = ProcessView;
    async fn act(self, system: &System) -> Result<ProcessView> {
        let pid = process(system, &self.path)?;
        let state = match timeout(STATE_WITHIN, sys::get_state(&pid)).await {
            Ok(state) => state.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it is busy and did not come to it within {STATE_WITHIN:?}")),
        };
        let known = sys::statistics(&pid).map_err(not_seen)?;
        let mailbox = MailboxView {
            length: known.mailbox.length,
            capacity: known.mailbox.capacity.and_then(|capacity| u64::try_from(capacity).ok()),
            oldest_ms: known.mailbox.oldest.map(ms),
            lost: known.mailbox.lost,
        };
        let (state, no_state) = match state {
            Ok(state) => (Some(state), None),
            Err(why) => (None, Some(why)),
        };
        Ok(ProcessView {
            incarnation: pid.incarnation(),
            restarts: known.restarts,
            started_at: known.started_at,
            is_suspended: known.is_suspended,
            mailbox,
            state,
            no_state,
            statistics: known.counts.map(Into::into),
            // One without a mailbox has none.
            log: sys::log(&pid).unwrap_or_default().into_iter().map(Into::into).collect(),
            path: self.path,
        })
    }
}

/// Suspend a process, to look at it while it stands still.
///
/// It handles no messages until it is resumed; they wait. It can still be looked at, stopped and
/// killed, and its successor is not suspended. A supervisor that is suspended restarts nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendProcess {
    /// Place in the tree, for example `root/domains/onboard/children/budget_guard`.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

/// Resume a process that was suspended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeProcess {
    /// Place in the tree, for example `root/domains/onboard/children/budget_guard`.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
}

/// The process that was acted on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProcessActedOn {
    /// Place in the tree.
    pub path: String,
    /// Which incarnation it is.
    pub incarnation: u64,
}

impl ProcessActedOn {
    fn new(path: String, pid: &Pid) -> Self {
        Self { path, incarnation: pid.incarnation() }
    }
}

impl Action for SuspendProcess {
    const SPEC: Spec =
        Spec::invoke("suspend_process", "/suspend_process").needs(Access::Operate).destroys();
    type Output = ProcessActedOn;
    async fn act(self, system: &System) -> Result<ProcessActedOn> {
        let pid = process(system, &self.path)?;
        sys::suspend(&pid).await.map_err(not_seen)?;
        tracing::warn!(path = self.path, reason = self.reason, "an operator suspends a process");
        Ok(ProcessActedOn::new(self.path, &pid))
    }
}

impl Action for ResumeProcess {
    const SPEC: Spec = Spec::invoke("resume_process", "/resume_process").needs(Access::Operate);
    type Output = ProcessActedOn;
    async fn act(self, system: &System) -> Result<ProcessActedOn> {
        let pid = process(system, &self.path)?;
        sys::resume(&pid).await.map_err(not_seen)?;
        Ok(ProcessActedOn::new(self.path, &pid))
    }
}

/// Say what is to be counted and remembered of the messages of a process.
///
/// `get_process` shows it then. Both end with the process. Counting begins anew every time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObserveProcess {
    /// Place in the tree, for example `root/domains/onboard/children/budget_guard`.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
    /// Whether its messages are counted and timed.
    pub statistics: bool,
    /// How many of the last events are remembered; none unless told.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub log_max: u32,
}

impl Action for ObserveProcess {
    const SPEC: Spec = Spec::invoke("observe_process", "/observe_process").needs(Access::Operate);
    type Output = ProcessActedOn;
    async fn act(self, system: &System) -> Result<ProcessActedOn> {
        let pid = process(system, &self.path)?;
        sys::set_statistics(&pid, self.statistics).map_err(not_seen)?;
        sys::set_log(&pid, self.log_max as usize).map_err(not_seen)?;
        Ok(ProcessActedOn::new(self.path, &pid))
    }
}

/// Watch the messages of a process for a while.
///
/// Answers when enough has been seen, when the time is over, or when the process ends. At most
/// 1,000 events a second are taken; what is more is counted as skipped.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceProcess {
    /// Place in the tree, for example `root/domains/onboard/children/budget_guard`.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
    /// How many events are enough; 100 unless told.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    pub events_max: u32,
    /// How long to watch, in milliseconds; a second unless told.
    #[serde(default = "second_ms")]
    #[schemars(range(min = 1, max = 10_000))]
    pub within_ms: u64,
}

const fn hundred() -> u32 {
    100
}

const fn second_ms() -> u64 {
    1_000
}

/// What a process did with its messages while it was watched.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProcessTrace {
    /// The events, oldest first.
    pub items: Vec<ProcessEvent>,
    /// How many were left out between them, because there were too many.
    pub skipped: u64,
    /// Whether the process has ended meanwhile.
    pub has_ended: bool,
}

impl Action for TraceProcess {
    const SPEC: Spec = Spec::invoke("trace_process", "/trace_process").needs(Access::Operate);
    type Output = ProcessTrace;
    async fn act(self, system: &System) -> Result<ProcessTrace> {
        let pid = process(system, &self.path)?;
        let mut trace = sys::trace(&pid, TRACED_PER_SECOND_MAX).map_err(not_seen)?;
        let end = Instant::now() + Duration::from_millis(self.within_ms);
        let mut seen = ProcessTrace { items: Vec::new(), skipped: 0, has_ended: false };
        while seen.items.len() < self.events_max as usize {
            match timeout_at(end, trace.next()).await {
                Ok(Some(Traced { event, skipped })) => {
                    seen.skipped += skipped;
                    seen.items.push(event.into());
                }
                Ok(None) => {
                    seen.has_ended = true;
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(seen)
    }
}
