//! Child specifications: how a supervisor starts, restarts and stops one child.
//!
//! A specification is a value; the process is made from it anew at every start, so a restarted
//! child begins from its arguments and nothing else.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::{self, Actor};
use crate::bulkhead::Bulkhead;
use crate::exit::{ExitReason, StartError};
use crate::incarnation::{Incarnation, Surroundings};
use crate::mailbox::Mailbox;
use crate::nudge::Nudge;
use crate::periodic::{self, PeriodicContext};
use crate::run::{self, Process, RunContext};
use crate::specification::SupervisorSpec;
use crate::supervisor;
use crate::watchdog::Watchdog;

/// How long a worker may take to stop, unless its specification says otherwise.
pub const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// After which exits a child is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// After every exit, however mild.
    #[default]
    Permanent,
    /// After an abnormal exit only.
    Transient,
    /// Never; its specification is forgotten with it.
    Temporary,
}

impl Restart {
    /// Whether a child that ended for `reason` is started again.
    #[must_use]
    pub const fn applies_to(self, reason: &ExitReason) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => !reason.is_mild(),
            Self::Temporary => false,
        }
    }
}

/// How a child is told to stop.
///
/// Written as `brutal_kill`, a number of milliseconds, or `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// Not at all: it is killed.
    BrutalKill,
    /// It is told, has this long, and is killed then.
    Timeout(Duration),
    /// It is told and may take as long as it needs.
    Infinity,
}

impl Serialize for Shutdown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::BrutalKill => serializer.serialize_str("brutal_kill"),
            Self::Timeout(patience) => {
                serializer.serialize_u64(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
            }
            Self::Infinity => serializer.serialize_str("infinity"),
        }
    }
}

impl<'de> Deserialize<'de> for Shutdown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Milliseconds(u64),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Milliseconds(patience) => Ok(Self::Timeout(Duration::from_millis(patience))),
            Written::Word(word) if word == "brutal_kill" => Ok(Self::BrutalKill),
            Written::Word(word) if word == "infinity" => Ok(Self::Infinity),
            Written::Word(word) => Err(serde::de::Error::custom(format!(
                "{word:?} is neither brutal_kill, infinity nor a number of milliseconds"
            ))),
        }
    }
}

/// Whether a child supervises others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// It does the work itself.
    Worker,
    /// It starts, watches and stops children of its own.
    Supervisor,
}

/// How a supervisor starts, restarts and stops one child.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::{ChildSpec, Restart, Shutdown};
///
/// let listener = ChildSpec::task("listener", |context| async move {
///     context.stopping().await;
///     Ok(())
/// });
/// let listener = listener
///     .restart(Restart::Temporary)
///     .shutdown(Shutdown::Timeout(Duration::from_millis(200)))
///     .label("takes connections until told to stop");
///
/// assert_eq!(listener.id(), "listener");
/// ```
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    pub(crate) kind: ChildKind,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) significant: bool,
    pub(crate) label: Arc<str>,
    pub(crate) start_within: Option<Duration>,
    pub(crate) bulkhead: Option<Bulkhead>,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) launch: Launch,
}

/// Brings one process up; the future is done when its initialisation is.
pub(crate) type Launch =
    Arc<dyn Fn(Birth) -> BoxFuture<'static, Result<(), StartError>> + Send + Sync>;

/// What a process is born with.
pub(crate) struct Birth {
    pub(crate) incarnation: Arc<Incarnation>,
    /// The exit that made this start necessary.
    pub(crate) cause: Option<u64>,
}

impl ChildSpec {
    /// A process with a mailbox, made by `make` at every start.
    #[track_caller]
    pub fn worker<A: Actor>(
        id: impl Into<Arc<str>>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        Self::new(id, ChildKind::Worker, actor::launch(make))
    }

    /// A process that runs its own loop, made by `make` at every start.
    #[track_caller]
    pub fn process<P: Process>(
        id: impl Into<Arc<str>>,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Self {
        Self::new(id, ChildKind::Worker, run::launch(make))
    }

    /// A temporary process that does `work` once, for work that exists only once, as a connection.
    ///
    /// The work is told to stop through [`RunContext::stopping`].
    #[track_caller]
    pub fn task<W>(
        id: impl Into<Arc<str>>,
        work: impl FnOnce(RunContext) -> W + Send + 'static,
    ) -> Self
    where
        W: Future<Output = Result<(), ExitReason>> + Send + 'static,
    {
        let work = Arc::new(Mutex::new(Some(work)));
        let take = move || work.lock().unwrap_or_else(PoisonError::into_inner).take();
        Self::process(id, move || run::Task::new(take())).restart(Restart::Temporary)
    }

    /// A supervisor with children of its own.
    #[track_caller]
    pub fn supervisor(id: impl Into<Arc<str>>, spec: SupervisorSpec) -> Self {
        Self::supervisor_from(id, move || Ok(spec.clone()))
    }

    /// A supervisor whose specification is made anew at every start, which may refuse.
    #[track_caller]
    pub fn supervisor_from(
        id: impl Into<Arc<str>>,
        make: impl Fn() -> Result<SupervisorSpec, StartError> + Send + Sync + 'static,
    ) -> Self {
        Self::new(id, ChildKind::Supervisor, supervisor::launch(make))
    }

    /// A process that acts at its start and then every `interval`, delayed by a random part of
    /// `jitter`; a `nudge` makes it act sooner.
    #[track_caller]
    pub fn periodic(
        id: impl Into<Arc<str>>,
        interval: Duration,
        jitter: Duration,
        nudge: Option<Nudge>,
        act: impl Fn(PeriodicContext) -> BoxFuture<'static, Result<(), ExitReason>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let act: periodic::Act = Arc::new(act);
        Self::process(id, move || {
            periodic::Periodic::new(interval, jitter, nudge.clone(), act.clone())
        })
    }

    #[track_caller]
    fn new(id: impl Into<Arc<str>>, kind: ChildKind, launch: Launch) -> Self {
        Self {
            id: id.into(),
            kind,
            restart: Restart::default(),
            shutdown: match kind {
                ChildKind::Worker => Shutdown::Timeout(WORKER_PATIENCE),
                ChildKind::Supervisor => Shutdown::Infinity,
            },
            significant: false,
            label: Arc::from(""),
            start_within: None,
            bulkhead: None,
            watchdog: None,
            spawned_at: Location::caller(),
            launch,
        }
    }

    /// After which exits it is started again; permanent unless said otherwise.
    #[must_use]
    pub const fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How it is told to stop: 5 s of patience for workers, no limit for supervisors by default.
    #[must_use]
    pub const fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Whether its end may end its supervisor (see [`crate::AutoShutdown`]).
    #[must_use]
    pub const fn significant(mut self, significant: bool) -> Self {
        self.significant = significant;
        self
    }

    /// What an operator should know about it, in a few words.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = Arc::from(label);
        self
    }

    /// How long its start may take; without it, as long as it needs.
    #[must_use]
    pub const fn start_within(mut self, limit: Duration) -> Self {
        self.start_within = Some(limit);
        self
    }

    /// How many messages may wait for it; as many as there are unless said otherwise.
    ///
    /// This concerns a child with a mailbox, made by [`ChildSpec::worker`]. A supervisor takes
    /// every exit and every request, and other children have no mailbox.
    #[must_use]
    pub fn mailbox(mut self, mailbox: Mailbox) -> Self {
        let launch = self.launch;
        self.launch = Arc::new(move |birth| {
            birth.incarnation.open().set_mailbox(mailbox);
            launch(birth)
        });
        self
    }

    /// Runs it, and everything below it, on threads of its own.
    #[must_use]
    pub fn bulkhead(mut self, bulkhead: Bulkhead) -> Self {
        self.bulkhead = Some(bulkhead);
        self
    }

    /// Watches it, and everything below it, for holding a thread too long.
    #[must_use]
    pub const fn watchdog(mut self, watchdog: Watchdog) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Its id, unique among its siblings.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl ChildSpec {
    /// What one life of it at `path` is surrounded by, which may be threads made for it.
    pub(crate) async fn surroundings(
        &self,
        path: &Arc<str>,
        above: &Incarnation,
    ) -> Result<Surroundings, StartError> {
        let mut watchdog = self.watchdog.map(Arc::new).or_else(|| above.watchdog().cloned());
        let mut quarters = above.quarters().cloned();
        if let Some(bulkhead) = &self.bulkhead {
            let limits = **watchdog.get_or_insert_default();
            let opening = bulkhead.open(path.clone(), &above.tree, limits, quarters);
            // In a box: it is rare, and every start would have room for it.
            quarters = Some(Box::pin(opening).await?);
        }
        Ok(Surroundings { quarters, watchdog, spawned_at: Some(self.spawned_at) })
    }

    /// Starts one life of it, on its own threads if it has any.
    pub(crate) fn bring_up(&self, birth: Birth) -> BoxFuture<'static, Result<(), StartError>> {
        match birth.incarnation.own_quarters().cloned() {
            Some(quarters) => quarters.launch(&self.launch, birth),
            None => (self.launch)(birth),
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("significant", &self.significant)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_restart_type_applies_to_its_own_exits() {
        let reasons =
            [ExitReason::Normal, ExitReason::Shutdown, ExitReason::Killed, ExitReason::failed("x")];

        let applies =
            |restart: Restart| reasons.each_ref().map(|reason| restart.applies_to(reason));

        assert_eq!(applies(Restart::Permanent), [true, true, true, true]);
        assert_eq!(applies(Restart::Transient), [false, false, true, true]);
        assert_eq!(applies(Restart::Temporary), [false, false, false, false]);
    }

    #[test]
    fn a_shutdown_reads_back_as_it_was_written() {
        let rules = [
            Shutdown::BrutalKill,
            Shutdown::Timeout(Duration::from_millis(20)),
            Shutdown::Infinity,
        ];

        let written = rules.map(|rule| serde_json::to_string(&rule).unwrap());
        let read = written.each_ref().map(|text| serde_json::from_str::<Shutdown>(text).unwrap());

        assert_eq!(written, ["\"brutal_kill\"", "20", "\"infinity\""]);
        assert_eq!(read, rules);
    }
}
