//! `supervision.toml`: the operator's page, parsed and checked against the tree it tunes.
//!
//! The shape of the tree is code; its tuning is data. A page that names something the tree does not
//! have, or forgets a domain, is refused as a whole: an operator who misspells `max_restarts` must
//! learn it at boot, not from a tree that quietly kept its default. Every mistake is reported at
//! once, with its line and the nearest name that would have been right.
//!
//! **Invariant:** this module reads no file; the caller passes the text.

mod application;
mod difference;
mod draining;
mod problem;
mod queue;
mod rates;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    Bulkhead, ChildKind, ChildSpec, Intensity, QuarantineSchedule, Restart, Shutdown, Strategy,
    Watchdog,
};

pub use application::ApplicationTuning;
pub use difference::Difference;
pub use draining::DrainTuning;
pub use problem::{ConfigError, ConfigErrors};
pub use queue::QueueTuning;
pub use rates::{Rate, RateTuning};

/// What the tree has, so that the page can be checked against it.
#[derive(Debug, Clone, Default)]
pub struct Known {
    sections: BTreeMap<String, Vec<String>>,
    domains: BTreeMap<String, Vec<String>>,
    applications: BTreeMap<String, application::Keys>,
    at_home: Vec<String>,
}

impl Known {
    /// A tree with nothing to tune yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part of the runtime, such as `store`, with the children that may be tuned.
    ///
    /// Its table may be left out of the page; then the defaults hold.
    #[must_use]
    pub fn section<C: Into<String>>(
        mut self,
        name: impl Into<String>,
        children: impl IntoIterator<Item = C>,
    ) -> Self {
        self.sections.insert(name.into(), children.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a domain with the children that may be tuned. The page must have a table for it.
    #[must_use]
    pub fn domain<C: Into<String>>(
        mut self,
        name: impl Into<String>,
        children: impl IntoIterator<Item = C>,
    ) -> Self {
        self.domains.insert(name.into(), children.into_iter().map(Into::into).collect());
        self
    }

    /// Says that a domain works on the tree itself, so that it cannot be in another process.
    #[must_use]
    pub fn at_home(mut self, domain: impl Into<String>) -> Self {
        self.at_home.push(domain.into());
        self
    }
}

/// Where the processes of a domain live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Placement {
    /// In the platform's own process, with the other domains.
    #[default]
    Platform,
    /// In a process of the operating system that is the domain's own.
    Process,
}

/// A checked page. Whoever asks it gets an answer: what the page leaves out, the defaults say.
///
/// # Examples
///
/// ```
/// use otp::config::{Known, Tuning};
///
/// let known = Known::new().section("store", ["sealer"]).domain("payroll", ["clerk"]);
/// let page = "[store]\nmax_restarts = 7\n[domain.payroll]\n";
/// let tuning = Tuning::parse(page, "supervision.toml", &known)?;
/// assert_eq!(tuning.section("store").intensity.max_restarts, 7);
/// assert_eq!(tuning.domain("payroll").intensity.max_restarts, 3);
///
/// // Broken on purpose: a page that says what nobody understands is refused as a whole.
/// let page = "[store]\nmax_restart = 7\n[domain.payroll]\n";
/// let errors = Tuning::parse(page, "supervision.toml", &known).expect_err("it is misspelt");
/// assert_eq!(
///     errors.to_string(),
///     "supervision.toml:2: unknown key `max_restart`; did you mean `max_restarts`?\n    \
///      max_restart = 7"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    defaults: Settings,
    sections: BTreeMap<String, Settings>,
    domains: BTreeMap<String, Settings>,
    applications: BTreeMap<String, ApplicationTuning>,
}

/// One table as written: only what the page says.
#[derive(Debug, Clone, Default)]
struct Settings {
    strategy: Option<Strategy>,
    max_restarts: Option<u32>,
    within: Option<Duration>,
    shutdown: Option<Duration>,
    queue_limit: Option<u32>,
    queue: QueueTuning,
    rates: RateTuning,
    draining: DrainTuning,
    in_flight_max: Option<u32>,
    statement_timeout: Option<Duration>,
    escalate: Option<bool>,
    quarantine: Option<Vec<Duration>>,
    restart: Option<Restart>,
    pool: Option<u32>,
    interval: Option<Duration>,
    is_dedicated: Option<bool>,
    threads: Option<u32>,
    report_after: Option<Duration>,
    replace_after: Option<Duration>,
    placement: Option<Placement>,
    memory_max_mb: Option<u32>,
    children: BTreeMap<String, Settings>,
}

/// What holds for one supervisor after the defaults were filled in.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Which siblings a failure takes along.
    pub strategy: Strategy,
    /// How many restarts it tolerates before it gives up.
    pub intensity: Intensity,
    /// How long each of its children may take to stop, unless the child says otherwise.
    pub shutdown: Shutdown,
    /// Jobs of this domain that run at once.
    pub queue_limit: u32,
    /// What limits the queue of this domain over all nodes.
    pub queue: QueueTuning,
    /// Operations of this domain that run at once; the rest are told to wait.
    pub in_flight_max: u32,
    /// How long one SQL statement of this domain may take.
    pub statement_timeout: Duration,
    /// How many threads of its own a domain has; `None` is the shared runtime.
    pub threads: Option<usize>,
    /// When what holds a thread is reported and replaced; `None` is never.
    pub watchdog: Option<Watchdog>,
    /// What the table itself says about patience, without the defaults.
    own_shutdown: Option<Duration>,
    /// Where the processes of this domain live.
    pub placement: Placement,
    /// How many bytes of memory of its own a process of this domain may have; `None` is no bound.
    pub memory_max: Option<u64>,
    children: BTreeMap<String, Settings>,
}

/// What holds for one child.
#[derive(Debug, Clone)]
pub struct ChildTuning {
    /// How long it may take to stop.
    pub shutdown: Shutdown,
    /// When it is restarted; `None` leaves it as the code says.
    pub restart: Option<Restart>,
    /// How many of it there are; `None` leaves it as the code says.
    pub pool: Option<u32>,
    /// How often it acts, if it acts on its own clock; `None` leaves it as the code says.
    pub interval: Option<Duration>,
}

/// What the supervisor of all domains does when one domain exceeded its intensity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveUp {
    /// Leave the domain down and try again after each of these waits; the last one repeats.
    Quarantine(QuarantineSchedule),
    /// Count it as a failure of its own, as OTP does.
    Escalate,
}

const MAX_RESTARTS: u32 = 3;
const WITHIN: Duration = Duration::from_secs(5);
const SHUTDOWN: Duration = Duration::from_secs(5);
const QUEUE_LIMIT: u32 = 10;
const IN_FLIGHT_MAX: u32 = 64;
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Two, so that one that is held is not the last.
const THREADS: u32 = 2;
const QUARANTINE: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(5),
];

impl Tuning {
    /// Parses a page and checks it against the tree; every mistake is reported.
    pub fn parse(text: &str, file_name: &str, known: &Known) -> Result<Self, ConfigErrors> {
        read::page(text, file_name, known)
    }

    /// What holds for a part of the runtime: `root`, `store`, `domains`, `edge` and the like.
    #[must_use]
    pub fn section(&self, name: &str) -> Resolved {
        self.resolve(self.sections.get(name))
    }

    /// What holds for a domain.
    #[must_use]
    pub fn domain(&self, name: &str) -> Resolved {
        self.resolve(self.domains.get(name))
    }

    /// How often callers may ask at the edge.
    #[must_use]
    pub fn rates(&self) -> RateTuning {
        self.sections.get("edge").map(|table| table.rates).unwrap_or_default()
    }

    /// How lasting connections are told to go when the server stops.
    #[must_use]
    pub fn draining(&self) -> DrainTuning {
        self.sections.get("edge").map(|table| table.draining).unwrap_or_default()
    }

    /// What happens when a domain exceeds its intensity.
    #[must_use]
    pub fn give_up(&self) -> GiveUp {
        let domains = self.sections.get("domains");
        if domains.and_then(|table| table.escalate) == Some(true) {
            return GiveUp::Escalate;
        }
        let waits = domains.and_then(|table| table.quarantine.clone());
        GiveUp::Quarantine(QuarantineSchedule::new(waits.unwrap_or_else(|| QUARANTINE.to_vec())))
    }

    fn resolve(&self, table: Option<&Settings>) -> Resolved {
        let empty = Settings::default();
        let own = table.unwrap_or(&empty);
        let default = &self.defaults;
        let within = own.within.or(default.within).unwrap_or(WITHIN);
        let max_restarts = own.max_restarts.or(default.max_restarts).unwrap_or(MAX_RESTARTS);
        Resolved {
            strategy: own.strategy.or(default.strategy).unwrap_or(Strategy::OneForOne),
            intensity: Intensity { max_restarts, within },
            shutdown: patience(own.shutdown.or(default.shutdown).unwrap_or(SHUTDOWN)),
            queue_limit: own.queue_limit.or(default.queue_limit).unwrap_or(QUEUE_LIMIT),
            queue: own.queue.clone(),
            in_flight_max: own.in_flight_max.or(default.in_flight_max).unwrap_or(IN_FLIGHT_MAX),
            statement_timeout: own
                .statement_timeout
                .or(default.statement_timeout)
                .unwrap_or(STATEMENT_TIMEOUT),
            threads: own.threads_of_its_own(),
            watchdog: own.watchdog(),
            own_shutdown: own.shutdown,
            placement: own.placement.unwrap_or_default(),
            memory_max: own.memory_max_mb.map(|megabytes| u64::from(megabytes) << 20),
            children: own.children.clone(),
        }
    }
}

impl Settings {
    fn threads_of_its_own(&self) -> Option<usize> {
        let is_dedicated = self.is_dedicated == Some(true);
        is_dedicated.then(|| self.threads.unwrap_or(THREADS) as usize)
    }

    /// On threads of its own a domain is always watched; on shared ones if the page says so, and
    /// replaced only if the page says that too.
    fn watchdog(&self) -> Option<Watchdog> {
        let is_dedicated = self.is_dedicated == Some(true);
        if !is_dedicated && self.report_after.is_none() && self.replace_after.is_none() {
            return None;
        }
        let watchdog = match self.replace_after {
            Some(Duration::ZERO) => Watchdog::report_only(),
            Some(limit) => Watchdog::default().replace_after(limit),
            None if is_dedicated => Watchdog::default(),
            None => Watchdog::report_only(),
        };
        Some(self.report_after.map_or(watchdog, |limit| watchdog.report_after(limit)))
    }
}

impl Resolved {
    /// The threads of a domain called `name`, if it has any of its own.
    #[must_use]
    pub fn bulkhead(&self, name: &str) -> Option<Bulkhead> {
        self.threads.map(|threads| Bulkhead::new(name, threads))
    }

    /// What holds for one child of this supervisor.
    #[must_use]
    pub fn child(&self, id: &str) -> ChildTuning {
        let own = self.children.get(id);
        ChildTuning {
            shutdown: own.and_then(|table| table.shutdown).map_or_else(|| self.shutdown, patience),
            restart: own.and_then(|table| table.restart),
            pool: own.and_then(|table| table.pool),
            interval: own.and_then(|table| table.interval),
        }
    }

    /// A child of the runtime itself as this page wants it.
    ///
    /// Its code knows how long it takes to stop, so the defaults of the page do not count: only
    /// what the tables of its supervisor and its own say.
    #[must_use]
    pub fn tune_part(&self, child: ChildSpec) -> ChildSpec {
        let own = self.children.get(&*child.id);
        let inherited = self.own_shutdown.filter(|_| child.kind == ChildKind::Worker);
        let shutdown = own.and_then(|own| own.shutdown).or(inherited);
        let child = match shutdown {
            Some(shutdown) => child.shutdown(patience(shutdown)),
            None => child,
        };
        match own.and_then(|own| own.restart) {
            Some(restart) => child.restart(restart),
            None => child,
        }
    }

    /// A child as this page wants it.
    ///
    /// A supervisor is waited for as long as its own children need, unless the page says otherwise.
    #[must_use]
    pub fn tune(&self, child: ChildSpec) -> ChildSpec {
        let own = self.child(&child.id);
        let is_named = self.children.get(&*child.id).is_some_and(|own| own.shutdown.is_some());
        let is_worker = child.kind == ChildKind::Worker;
        let child = if is_named || is_worker { child.shutdown(own.shutdown) } else { child };
        match own.restart {
            Some(restart) => child.restart(restart),
            None => child,
        }
    }
}

/// No patience at all means that the child is killed without being asked.
fn patience(patience: Duration) -> Shutdown {
    if patience.is_zero() { Shutdown::BrutalKill } else { Shutdown::Timeout(patience) }
}

#[cfg(test)]
mod tests;
