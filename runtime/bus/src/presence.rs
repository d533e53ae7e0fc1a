//! Presence: who is connected to a topic now, on any node, and with how many devices.
//!
//! Whoever joins is an entry with a reference of its own, `phx_ref`, for as long as its [`Tracked`]
//! lives. Its node tells the others, on the connection on which nodes talk anyway; the platform
//! carries what [`Presence::telling`] says there and gives it to [`Presence::hear`] elsewhere. A
//! node that is silent for half a minute takes everybody present there along, one that stops says
//! so.
//!
//! Presence is a picture of how things are, and no fact: none of it is kept in the log, and nothing
//! may be decided by it.
//!
//! The process below can be killed at any moment. Entries belong to connections, so they stay; its
//! successor begins a new life of the node, says all there is and asks the others for the same.

mod members;
mod replicas;
mod word;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otp::{ChildSpec, ExitReason, Nudge, Process, RunContext, StartError};
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use members::Members;
use replicas::{Moved, Replicas};
use word::{Entry, Word};

/// The most bytes of a meta, as JSON text.
pub const META_BYTES_MAX: usize = 1_024;
/// The most entries of one key on one topic: devices and browser tabs of a person.
pub const OF_KEY_MAX: usize = 32;
/// The most entries on one topic; all of them are told to whoever joins.
pub const ON_TOPIC_MAX: usize = 2_000;
/// The most entries of one node.
const ON_NODE_MAX: usize = 100_000;

/// How often a node says that it is there.
const HERE_INTERVAL: Duration = Duration::from_millis(1_500);
/// What happens within that time is told to clients at once, so that a thousand who come together
/// are no thousand diffs for each of a thousand.
const GATHER: Duration = Duration::from_millis(20);
/// How long a node that stops waits until its goodbye is carried.
const GOODBYE_WITHIN: Duration = Duration::from_millis(500);

/// Why somebody cannot be present, or not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The meta has more than [`META_BYTES_MAX`] bytes.
    #[error("a meta has at most {META_BYTES_MAX} bytes")]
    MetaTooLarge,
    /// There are [`OF_KEY_MAX`] of this key already.
    #[error("nobody is present more than {OF_KEY_MAX} times on one topic")]
    TooManyOfKey,
    /// There are [`ON_TOPIC_MAX`] on this topic already, or too many on this node.
    #[error("too many are present already")]
    TooMany,
}

/// A handle on who is present; cheap to clone.
#[derive(Debug, Clone)]
pub struct Presence(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Clients are to be told something.
    changed: Nudge,
    /// Other nodes are to be told something.
    unsaid: Nudge,
    /// Something was carried to other nodes.
    carried: Nudge,
    has_carrier: AtomicBool,
}

#[derive(Debug)]
struct State {
    replicas: Replicas,
    members: Members,
}

impl Presence {
    /// Nobody yet, on the node of this name, which no other has.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State { replicas: Replicas::new(node), members: Members::default() }),
            changed: Nudge::new(),
            unsaid: Nudge::new(),
            carried: Nudge::new(),
            has_carrier: AtomicBool::new(false),
        }))
    }

    /// The process that tells clients what changes, and keeps in touch with other nodes.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        let presence = self.clone();
        ChildSpec::process("presence", move || Keeper { presence: presence.clone() })
            .label("Who is connected, here and elsewhere")
    }

    /// Lets somebody be present on a topic until the answer is dropped.
    ///
    /// # Errors
    /// [`PresenceError`].
    pub fn track(
        &self,
        topic: &str,
        key: &str,
        meta: Map<String, Value>,
    ) -> Result<Tracked, PresenceError> {
        let id = Uuid::now_v7();
        let meta = meta_of(meta, id, None)?;
        let mut state = self.0.state();
        let (on_topic, of_key) = state.members.count(topic, key);
        if of_key >= OF_KEY_MAX {
            return Err(PresenceError::TooManyOfKey);
        }
        if on_topic >= ON_TOPIC_MAX || state.replicas.own_count() >= ON_NODE_MAX {
            return Err(PresenceError::TooMany);
        }
        state.enter(Entry { id, topic: topic.into(), key: key.into(), meta });
        drop(state);
        self.0.nudge();
        Ok(Tracked { shared: self.0.clone(), id: Mutex::new(id) })
    }

    /// Listens to who is present on a topic: first everybody, then who comes and goes.
    #[must_use]
    pub fn watch(&self, topic: &str) -> Watching {
        Watching { shared: self.0.clone(), topic: topic.into(), diffs: None }
    }

    /// Waits for what other nodes are to [hear](Presence::hear): one line of 7,000 bytes at most,
    /// in a format that nobody else should read.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn telling(&self) -> String {
        self.0.has_carrier.store(true, Ordering::Relaxed);
        loop {
            if let Some(word) = self.0.state().replicas.next_word() {
                self.0.carried.nudge();
                return word.text();
            }
            self.0.unsaid.nudged().await;
        }
    }

    /// Hears what another node tells.
    pub fn hear(&self, telling: &str) {
        let Some(word) = Word::parse(telling) else { return };
        let mut state = self.0.state();
        let moved = state.replicas.hear(word, Instant::now());
        state.members.apply(moved);
        drop(state);
        self.0.nudge();
    }

    /// How many are present, over all topics and nodes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.state().members.total()
    }
}

impl Shared {
    /// Whole after every call: each of them changes it in one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nudge(&self) {
        self.changed.nudge();
        self.unsaid.nudge();
    }
}

impl State {
    fn enter(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        self.replicas.put(&entry);
        self.members.apply(Moved { joined: vec![entry], left: Vec::new() });
    }

    fn leave(&mut self, id: Uuid) {
        let left = self.replicas.remove(id).into_iter().collect();
        self.members.apply(Moved { joined: Vec::new(), left });
    }
}

/// The text of a meta with its references.
fn meta_of(
    mut meta: Map<String, Value>,
    id: Uuid,
    previous: Option<Uuid>,
) -> Result<Box<str>, PresenceError> {
    meta.remove("phx_ref");
    meta.remove("phx_ref_prev");
    // The references come on top of what the client may say.
    if serde_json::to_string(&meta).is_ok_and(|text| text.len() > META_BYTES_MAX) {
        return Err(PresenceError::MetaTooLarge);
    }
    meta.insert("phx_ref".to_owned(), id.simple().to_string().into());
    if let Some(previous) = previous {
        meta.insert("phx_ref_prev".to_owned(), previous.simple().to_string().into());
    }
    Ok(Value::Object(meta).to_string().into())
}

/// Somebody is present for as long as this lives.
#[derive(Debug)]
pub struct Tracked {
    shared: Arc<Shared>,
    id: Mutex<Uuid>,
}

impl Tracked {
    /// Says something else of itself.
    ///
    /// # Errors
    /// [`PresenceError::MetaTooLarge`].
    pub fn update(&self, meta: Map<String, Value>) -> Result<(), PresenceError> {
        let mut current = self.id();
        let id = Uuid::now_v7();
        let meta = meta_of(meta, id, Some(*current))?;
        let mut state = self.shared.state();
        if let Some(before) = state.replicas.own(*current).cloned() {
            // The new one first: nobody shall think that it was gone in between.
            state.enter(Entry { id, meta, ..Entry::clone(&before) });
            state.leave(before.id);
            *current = id;
        }
        drop(state);
        self.shared.nudge();
        Ok(())
    }

    fn id(&self) -> MutexGuard<'_, Uuid> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let id = *self.id();
        self.shared.state().leave(id);
        self.shared.nudge();
    }
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Who is present: `{key: {metas: [meta…]}}`.
    State(String),
    /// Who came and who went since: `{joins: {…}, leaves: {…}}`, each as above.
    Diff(Arc<str>),
}

/// An ear for who is present on one topic.
#[derive(Debug)]
pub struct Watching {
    shared: Arc<Shared>,
    topic: Box<str>,
    diffs: Option<broadcast::Receiver<Arc<str>>>,
}

impl Watching {
    /// Waits for the next thing to know. It begins with the state; whoever is too slow for the
    /// diffs is told the state anew.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Seen {
        let Some(diffs) = &mut self.diffs else {
            return self.state();
        };
        match diffs.recv().await {
            Ok(diff) => Seen::Diff(diff),
            Err(RecvError::Lagged(_) | RecvError::Closed) => self.state(),
        }
    }

    fn state(&mut self) -> Seen {
        let (state, diffs) = self.shared.state().members.watch(&self.topic);
        self.diffs = Some(diffs);
        Seen::State(state)
    }
}

struct Keeper {
    presence: Presence,
}

impl Process for Keeper {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        self.presence.0.state().replicas.begin(Uuid::now_v7());
        self.presence.0.nudge();
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let shared = &self.presence.0;
        let mut ticks = tokio::time::interval(HERE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !context.is_stopping() {
            tokio::select! {
                () = context.stopping() => {}
                () = shared.changed.nudged() => {
                    if shared.state().members.has_changed() {
                        tokio::time::sleep(GATHER).await;
                        shared.state().members.tell();
                    }
                }
                now = ticks.tick() => {
                    let mut state = shared.state();
                    let moved = state.replicas.tick(now);
                    state.members.apply(moved);
                    state.members.tell();
                    state.members.sweep();
                    context.report_backlog(state.replicas.own_count() as u64);
                    drop(state);
                    shared.unsaid.nudge();
                }
            }
        }
        self.say_goodbye().await;
        Ok(())
    }
}

impl Keeper {
    async fn say_goodbye(&self) {
        let shared = &self.presence.0;
        shared.state().replicas.leave();
        shared.unsaid.nudge();
        if !shared.has_carrier.load(Ordering::Relaxed) {
            return;
        }
        let said = async {
            while !shared.state().replicas.is_silent() {
                shared.carried.nudged().await;
            }
        };
        // Without it the others find out by themselves, half a minute later.
        let _ = tokio::time::timeout(GOODBYE_WITHIN, said).await;
    }
}

#[cfg(test)]
mod tests;
