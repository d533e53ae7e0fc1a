//! The running platform as the tree page watches it: the only file that knows both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use platform::bus::{Interrupted, Subscription, TopicFilter};
use platform::otp::{self, ChildKind, Node, Shutdown, SupervisionEvent, SupervisionEventKind, sys};
use platform::store::{self, SealedEvent};
use platform::{Identity, Position, Principal, System, Topic, UserId};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::process::{Counts, Happening, Inside, Kill, Process, Status};
use crate::tree_page::Watched;

/// What moves without the tree telling, such as a mailbox, is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a process may take to show its state; one that is busy is asked again a moment later.
const STATE_WITHIN: Duration = Duration::from_millis(200);

/// How much of a state is shown, in characters.
const STATE_MAX: usize = 4_000;

/// How far back operators' kills are looked for, in positions of the log.
const KILLS_WITHIN: i64 = 20_000;

/// How many of the operators' actions are read at once.
const ACTIONS_MAX: u32 = 1_000;

/// The names of those who have signed in since the start; scopes know users by id only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<UserId, String>>>);

impl Names {
    /// Remembers the name of a user.
    pub(crate) fn learn(&self, identity: &Identity) {
        let mut names = self.0.lock().expect("no holder of this lock panics");
        names.entry(identity.user_id).or_insert_with(|| identity.name.clone());
    }

    fn of(&self, principal: &Principal) -> String {
        match principal {
            Principal::System { name } => name.clone(),
            Principal::Anonymous => "nobody".to_owned(),
            Principal::User { user_id, role } => {
                let names = self.0.lock().expect("no holder of this lock panics");
                names.get(user_id).cloned().unwrap_or_else(|| role.name().to_owned())
            }
        }
    }
}

/// The platform, watched by one viewer.
pub(crate) struct Watching {
    system: System,
    identity: Identity,
    token: String,
    names: Names,
    changes: watch::Receiver<u64>,
    look: Interval,
    actions: Option<Subscription>,
    kills: Vec<Kill>,
    kills_until: Position,
    is_behind: bool,
    /// The process that the viewer has selected, and what it last showed of its state.
    selected: Option<String>,
    state: Option<String>,
    /// The selected process was not looked at since something changed.
    is_stale: bool,
}

impl Watching {
    /// Begins to watch for the viewer with this identity, who came with this token.
    pub(crate) async fn begin(
        system: System,
        identity: Identity,
        token: String,
        names: Names,
    ) -> Self {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        look.reset();
        let topic = Topic::domain(identity.org_id, "operator");
        // Listening begins before reading, so that nothing falls between the two.
        let actions = system.bus().subscribe(TopicFilter::Topic(topic));
        let head = *system.log().head().borrow();
        let mut watching = Self {
            changes: system.tree().changes(),
            system,
            identity,
            token,
            names,
            look,
            actions: Some(actions),
            kills: Vec::new(),
            kills_until: Position((head.0 - KILLS_WITHIN).max(0)),
            is_behind: true,
            selected: None,
            state: None,
            is_stale: false,
        };
        watching.catch_up().await;
        watching
    }

    /// Reads the kills that were recorded since the last time.
    async fn catch_up(&mut self) {
        match self.read_actions().await {
            Ok(events) => {
                for event in &events {
                    self.kills.extend(kill(event, &self.names));
                    self.kills_until = event.position;
                }
                self.is_behind = false;
            }
            // The page is useful without, above all while the database is away.
            Err(error) => {
                tracing::debug!(%error, "operators' actions cannot be read now");
                self.is_behind = false;
            }
        }
    }

    async fn read_actions(&self) -> Result<Vec<SealedEvent>, store::ReadError> {
        let topic = Topic::domain(self.identity.org_id, "operator");
        let mut reading = store::begin_reading(self.system.log().pool()).await?;
        store::read::of_topic(&mut reading, &topic, self.kills_until, ACTIONS_MAX).await
    }

    /// Looks at the state of the selected process. What a supervisor would tell is drawn already.
    async fn look_inside(&mut self) {
        let tree = self.system.tree();
        let worker = self.selected.as_deref().filter(|path| tree.supervisor(path).is_none());
        let Some(pid) = worker.and_then(|path| tree.pid(path)) else {
            self.state = None;
            return;
        };
        match tokio::time::timeout(STATE_WITHIN, sys::get_state(&pid)).await {
            Ok(Ok(state)) => {
                self.state = Some(clean(&state).chars().take(STATE_MAX).collect());
            }
            Ok(Err(_)) => self.state = None,
            // What it showed last is better than nothing while it is busy.
            Err(_) => {}
        }
    }

    async fn operate_as_viewer(&self, operation: &'static str, input: Value) -> Result<(), String> {
        // A page may stay open for days, so who the viewer is is asked again for every action.
        let identity = self.system.authenticate(&self.token).await;
        let identity = identity.map_err(|error| error.message().to_owned())?;
        let identity = identity.ok_or("Your session has ended. Sign in again.")?;
        let scope = identity.scope(Uuid::now_v7());
        let called = self.system.call(&scope, "operator", operation, input).await;
        called.map(drop).map_err(|error| sentence(error.message()))
    }
}

impl Watched for Watching {
    fn tree(&self) -> Process {
        process(&self.system.tree().snapshot())
    }

    fn happenings(&self) -> Vec<Happening> {
        self.system.tree().history().iter().map(|event| happening(event)).collect()
    }

    fn kills(&self) -> Vec<Kill> {
        self.kills.clone()
    }

    fn now(&self) -> i64 {
        self.system.clock().now().timestamp_millis()
    }

    fn inside(&self, path: &str) -> Option<Inside> {
        let known = sys::statistics(&self.system.tree().pid(path)?).ok()?;
        Some(Inside {
            is_suspended: known.is_suspended,
            capacity: known.mailbox.capacity,
            oldest_us: known.mailbox.oldest.map(us),
            lost: known.mailbox.lost,
            counts: known.counts.map(|counts| Counts {
                messages_in: counts.messages_in,
                messages_out: counts.messages_out,
                busy_us: us(counts.busy),
                longest_us: us(counts.longest),
            }),
            state: self.state.clone().filter(|_| self.selected.as_deref() == Some(path)),
        })
    }

    fn look_at(&mut self, path: Option<&str>) {
        if self.selected.as_deref() != path {
            self.selected = path.map(str::to_owned);
            self.state = None;
            self.is_stale = path.is_some();
        }
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.is_behind && !self.is_stale {
                tokio::select! {
                    _ = self.changes.changed() => {}
                    _ = self.look.tick() => {}
                    is_open = heard(&mut self.actions) => {
                        self.is_behind = true;
                        if !is_open {
                            self.actions = None;
                        }
                    }
                }
                self.is_stale = self.selected.is_some();
            }
            if self.is_behind {
                self.catch_up().await;
            }
            if self.is_stale {
                self.look_inside().await;
                self.is_stale = false;
            }
        })
    }

    fn operate(&self, operation: &'static str, input: Value) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.operate_as_viewer(operation, input))
    }
}

/// Waits for an event; tells whether there may be more.
pub(crate) async fn heard(subscription: &mut Option<Subscription>) -> bool {
    match subscription {
        Some(subscription) => !matches!(subscription.recv().await, Err(Interrupted::Closed)),
        None => std::future::pending().await,
    }
}

/// A message of the platform as a sentence on a page.
pub(crate) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let Some(first) = characters.next() else { return String::new() };
    let end = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), characters.as_str())
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis()
}

/// An exit reason as people write it.
fn reason(reason: &impl ToString) -> String {
    let text = clean(reason);
    match text.strip_prefix("error:") {
        Some(error) => format!("error: {error}"),
        None => text,
    }
}

/// NUL is the one character that no page may contain.
fn clean(text: &impl ToString) -> String {
    text.to_string().replace('\0', "")
}

fn process(node: &Node) -> Process {
    Process {
        id: node.id.clone(),
        path: node.path.clone(),
        label: clean(&node.label),
        is_supervisor: node.kind == ChildKind::Supervisor,
        status: status(node.status),
        strategy: node.strategy.map(|strategy| name(&strategy)),
        restart: name(&node.restart),
        shutdown: patience(node.shutdown),
        max_restarts: node.max_restarts,
        within_ms: node.within_ms,
        restarts_in_window: node.restarts_in_window.unwrap_or_default(),
        incarnation: node.incarnation,
        restarts: node.restarts,
        started_at: node.started_at.map(millis),
        last_exit: node.last_exit.as_ref().map(reason),
        last_exit_at: node.last_exit_at.map(millis),
        mailbox: node.mailbox,
        quarantined_until: node.quarantined_until.map(millis),
        children: node.children.iter().map(process).collect(),
    }
}

fn status(status: otp::Status) -> Status {
    match status {
        otp::Status::Running => Status::Running,
        otp::Status::Starting => Status::Starting,
        otp::Status::Restarting => Status::Restarting,
        otp::Status::Stopping => Status::Stopping,
        otp::Status::Stopped => Status::Stopped,
        otp::Status::Quarantined => Status::Quarantined,
    }
}

/// The name that a plain variant has on the wire.
fn name(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn patience(shutdown: Shutdown) -> String {
    match shutdown {
        Shutdown::BrutalKill => "killed at once".to_owned(),
        Shutdown::Infinity => "as long as it takes".to_owned(),
        Shutdown::Timeout(patience) => crate::words::short_span(us(patience)),
    }
}

fn happening(event: &SupervisionEvent) -> Happening {
    let (kind, reason) = match &event.kind {
        SupervisionEventKind::Started => ("started", None),
        SupervisionEventKind::Exited { reason: why } => ("exited", Some(reason(why))),
        SupervisionEventKind::Terminated { reason: why } => ("terminated", Some(reason(why))),
        SupervisionEventKind::Restarted => ("restarted", None),
        SupervisionEventKind::StartFailed { error } => ("start_failed", Some(clean(error))),
        SupervisionEventKind::Ignored => ("ignored", None),
        SupervisionEventKind::GaveUp => ("gave_up", None),
        SupervisionEventKind::Quarantined { .. } => ("quarantined", None),
        SupervisionEventKind::QuarantineLifted => ("quarantine_lifted", None),
        SupervisionEventKind::Overstayed { message, for_ms, .. } => {
            ("overstayed", Some(clean(&format!("{message} for {for_ms} ms"))))
        }
        SupervisionEventKind::NotReplaced { why } => ("not_replaced", Some(clean(why))),
    };
    Happening {
        sequence: event.sequence,
        at: millis(event.at),
        path: event.path.clone(),
        kind,
        reason,
        cause: event.cause,
        touched: event.touched.clone(),
        recovery_us: event.recovery_us,
    }
}

/// The kill that an operator's action was, if it was one.
fn kill(event: &SealedEvent, names: &Names) -> Option<Kill> {
    if event.event_type != "action_requested" {
        return None;
    }
    let requested: Value = serde_json::from_slice(&event.payload).ok()?;
    if requested["operation"] != "kill_process" {
        return None;
    }
    let field = |name: &str| requested["input"][name].as_str().map(|text| clean(&text));
    Some(Kill {
        at: millis(event.recorded_at),
        path: field("path")?,
        who: clean(&names.of(&event.scope.principal)),
        why: field("reason").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_platform_becomes_a_sentence() {
        assert_eq!(sentence("there is no queue `x`"), "There is no queue `x`.");
        assert_eq!(sentence("Done."), "Done.");
        assert_eq!(sentence(""), "");
    }
}
