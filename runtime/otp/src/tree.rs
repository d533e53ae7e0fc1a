//! The tree as others see it: a snapshot of its nodes and the stream of what happens to them.
//!
//! Every process writes its start and its end here, and supervisors write what they decide. Nobody
//! has to be asked to draw the tree, so it can be drawn while a supervisor is busy or dead.
//!
//! **Invariant:** one tree per [`crate::Root`]; nothing is global to the operating-system process.

mod graft;
mod record;
mod report;
mod write;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::call::ActorRef;
use crate::clock::Clock;
use crate::event::SupervisionEvent;
use crate::incarnation::{Incarnation, Pid};
use crate::node::{Node, Status};
use crate::request::SupervisorRef;
use crate::watchdog::Keeper;
use record::Record;

/// How many events a tree remembers.
pub const HISTORY_MAX: usize = 1_000;

/// The path of the root supervisor.
pub const ROOT_PATH: &str = "root";

/// A handle on one tree; clones are handles on the same tree.
///
/// # Examples
///
/// ```
/// use otp::{ChildSpec, Clock, Root, Status, SupervisionEventKind, SupervisorSpec};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let job = ChildSpec::task("job", |context| async move {
///     context.stopping().await;
///     Ok(())
/// });
/// let root = Root::start(SupervisorSpec::default().child(job), Clock::system()).await?;
/// let tree = root.tree();
/// assert_eq!(tree.find("root/job").expect("it is listed").status, Status::Running);
///
/// let error = tree.kill("root/jobb").expect_err("there is no such place").to_string();
/// assert_eq!(error, "there is no process at \"root/jobb\", did you mean \"root/job\"?");
///
/// let mut everything = tree.subscribe_to_everything();
/// tree.kill("root/job")?;
/// assert!(matches!(everything.recv().await?.kind, SupervisionEventKind::Exited { .. }));
/// # root.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tree(Arc<Shared>);

struct Shared {
    clock: Clock,
    book: Mutex<Book>,
    events: broadcast::Sender<Arc<SupervisionEvent>>,
    everything: broadcast::Sender<Arc<SupervisionEvent>>,
    version: watch::Sender<u64>,
    keeper: Keeper,
}

#[derive(Default)]
struct Book {
    /// Each in a box of its own: the table is half empty, and moves when it grows.
    nodes: HashMap<Arc<str>, Box<Record>>,
    told: Told,
}

/// What was told so far.
#[derive(Default)]
struct Told {
    history: VecDeque<Arc<SupervisionEvent>>,
    sequence: u64,
}

/// A process that has been told to die.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    /// Where it lived.
    pub path: String,
    /// Which life that was.
    pub incarnation: u64,
}

impl fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tree").finish_non_exhaustive()
    }
}

/// Why a place in the tree cannot be acted upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// There is no such place.
    #[error("there is no process at {path:?}{}", did_you_mean(nearest.as_deref()))]
    UnknownPath {
        /// What was asked for.
        path: String,
        /// The most similar path there is.
        nearest: Option<String>,
    },
    /// Nothing runs there at the moment.
    #[error("nothing runs at {path:?}")]
    NotRunning {
        /// What was asked for.
        path: String,
    },
    /// It is not in quarantine.
    #[error("{path:?} is not in quarantine")]
    NotQuarantined {
        /// What was asked for.
        path: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|near| format!(", did you mean {near:?}?")).unwrap_or_default()
}

/// What [`Tree::kill`] says about a path that is none.
pub type UnknownPath = TreeError;

impl Tree {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            book: Mutex::default(),
            events: broadcast::Sender::new(HISTORY_MAX),
            everything: broadcast::Sender::new(HISTORY_MAX),
            version: watch::Sender::new(0),
            keeper: Keeper::default(),
        }))
    }

    /// The wall clock of the tree.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The whole tree as it is now.
    ///
    /// # Panics
    ///
    /// Never: a handle exists only once the root is listed.
    #[must_use]
    pub fn snapshot(&self) -> Node {
        self.find(ROOT_PATH).expect("the root is listed before anybody has a handle")
    }

    /// One place of the tree as it is now, with everything below it.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Node> {
        let book = self.book();
        let own = book.nodes.get(path).map(|record| record.draw(&book.nodes));
        drop(book);
        own.or_else(|| self.grafted(path).map(|(node, _)| node))
    }

    /// What happens from now on, without the ordinary life of temporary children (see
    /// [`SupervisionEvent`]). A reader that lags behind is told how much it missed.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<SupervisionEvent>> {
        self.0.events.subscribe()
    }

    /// Everything that happens from now on, with the ordinary life of temporary children, which is
    /// a lot. A reader that lags behind is told how much it missed.
    #[must_use]
    pub fn subscribe_to_everything(&self) -> broadcast::Receiver<Arc<SupervisionEvent>> {
        self.0.everything.subscribe()
    }

    /// The last [`HISTORY_MAX`] things that happened, oldest first, without the ordinary life of
    /// temporary children (see [`SupervisionEvent`]).
    #[must_use]
    pub fn history(&self) -> Vec<Arc<SupervisionEvent>> {
        self.book().told.history.iter().cloned().collect()
    }

    /// A counter that moves whenever a snapshot would look different.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The actor that lives at `path`, if it is up and understands messages of type `M`.
    #[must_use]
    pub fn whereis<M: Send + 'static>(&self, path: &str) -> Option<ActorRef<M>> {
        let book = self.book();
        let reference = book.nodes.get(path)?.reference.as_ref()?;
        reference.downcast_ref::<ActorRef<M>>().cloned()
    }

    /// The process that lives at `path`, if it is up.
    #[must_use]
    pub fn pid(&self, path: &str) -> Option<Pid> {
        self.live(path).map(Pid)
    }

    /// The process that lives at `path`, or why there is none.
    pub fn process(&self, path: &str) -> Result<Pid, TreeError> {
        self.pid(path).ok_or_else(|| self.unknown(path))
    }

    /// The supervisor that lives at `path`, if it is up.
    #[must_use]
    pub fn supervisor(&self, path: &str) -> Option<SupervisorRef> {
        let book = self.book();
        let reference = book.nodes.get(path)?.reference.as_ref()?;
        reference.downcast_ref::<SupervisorRef>().cloned()
    }

    /// Kills what lives at `path`: it ends at its next await, without any code of its own.
    pub fn kill(&self, path: &str) -> Result<Killed, UnknownPath> {
        let Some(incarnation) = self.live(path) else {
            return self.kill_grafted(path).ok_or_else(|| self.unknown(path));
        };
        incarnation.kill();
        Ok(Killed { path: path.to_owned(), incarnation: incarnation.number() })
    }

    /// When the quarantine of `path` ends; `None` when it is in none.
    #[must_use]
    pub fn quarantined_until(&self, path: &str) -> Option<chrono::DateTime<chrono::Utc>> {
        self.book().nodes.get(path)?.quarantined_until
    }

    /// Starts what is quarantined at `path` at once, instead of when its time comes.
    pub fn lift_quarantine(&self, path: &str) -> Result<(), TreeError> {
        let status = self.book().nodes.get(path).map(|record| record.status);
        if status != Some(Status::Quarantined) {
            return Err(match self.unknown(path) {
                TreeError::NotRunning { path } => TreeError::NotQuarantined { path },
                other => other,
            });
        }
        let gone = || TreeError::NotQuarantined { path: path.to_owned() };
        let (above, id) = path.rsplit_once('/').ok_or_else(gone)?;
        self.supervisor(above).ok_or_else(gone)?.lift(id).map_err(|_| gone())
    }

    /// When a process came up; `None` when it is no longer up.
    pub(crate) fn started_at(
        &self,
        incarnation: &Arc<Incarnation>,
    ) -> Option<chrono::DateTime<chrono::Utc>> {
        let book = self.book();
        let record = book.nodes.get(&incarnation.path)?;
        record
            .started_at
            .filter(|_| record.live.as_ref().is_some_and(|live| Arc::ptr_eq(live, incarnation)))
    }

    fn unknown(&self, path: &str) -> TreeError {
        let book = self.book();
        if book.nodes.contains_key(path) {
            return TreeError::NotRunning { path: path.to_owned() };
        }
        let nearest = book
            .nodes
            .keys()
            .max_by(|one, other| {
                let likeness = |key: &str| strsim::jaro_winkler(key, path);
                likeness(one).total_cmp(&likeness(other)).then_with(|| other.cmp(one))
            })
            .map(ToString::to_string);
        TreeError::UnknownPath { path: path.to_owned(), nearest }
    }

    fn live(&self, path: &str) -> Option<Arc<Incarnation>> {
        self.book().nodes.get(path)?.live.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic while the book was held cannot have left it half-written: it holds plain values.
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record at `path`, if there is one, and lets the watchers know.
    fn change(&self, path: &str, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.book().nodes.get_mut(path) {
            change(record);
        }
        self.moved();
    }

    /// The watchdog of the tree.
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.0.keeper
    }

    /// Tells the watchers, if there are any, that a snapshot would look different. Called after the
    /// book was changed: whoever begins to watch later sees the change in the book.
    pub(crate) fn moved(&self) {
        if self.0.version.receiver_count() > 0 {
            self.0.version.send_modify(|version| *version += 1);
        }
    }
}
