//! The running system: a handle that starts, answers calls and stops. It owns no behaviour beyond
//! that list; what happens, happens in the domains and in the processes of the tree.

mod handle;
mod moving;

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bus::{Bus, Presence, Tail};
use chrono::SubsecRound as _;
use jobs::Queues;
use kernel::{DomainName, Scope, Timestamp};
use otp::config::{Known, Tuning};
use otp::{Clock, ExitReason, Root, StartError, SupervisorSpec, Tree};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use store::{Log, Sessions};
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::cell::{self, Cell};
use crate::config::{Config, Database, Relayed, Security};
use crate::dispatch::{self, Answer, RETRY_AFTER};
use crate::feed;
use crate::flags::FlagMemory;
use crate::heavy::Heavy;
use crate::home::{Homes, Rooms};
use crate::identity::Identities;
use crate::limits::Limits;
use crate::operation::{Command, Query};
use crate::progress::Listener;
use crate::projection::rebuilds::Rebuilds;
use crate::refusal::{Error, Result};
use crate::telemetry::Telemetry;
use crate::tree::{self, Live, Parts};
use crate::tuned::Tuned;
use crate::tx::Opening;

/// A running system. Cloning it is cheap, and all clones are the same system.
#[derive(Clone)]
pub struct System {
    inner: Arc<Inner>,
    /// What whoever holds this handle uses instead of what all share.
    rooms: Option<Arc<Rooms>>,
    /// Who called the action that holds this handle.
    caller: Option<Arc<Scope>>,
    /// Who hears how far that action is.
    listener: Option<Listener>,
}

struct Inner {
    pool: PgPool,
    sessions: Sessions,
    catalog: Arc<Catalog>,
    tuned: Tuned,
    clock: Clock,
    security: Security,
    log: Log,
    queues: Queues,
    bus: Bus,
    presence: Presence,
    relayed: OnceLock<watch::Receiver<Relayed>>,
    rebuilds: Rebuilds,
    telemetry: Telemetry,
    identities: Identities,
    limits: Limits,
    flags: FlagMemory,
    heavy: Heavy,
    homes: Homes,
    cells: HashMap<&'static str, Arc<Cell>>,
    tree: Tree,
    root: OnceLock<Root>,
}

/// What a process of ours knows of itself before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    pub(crate) clock: Clock,
    pub(crate) node: String,
    pub(crate) connections_max: u32,
    pub(crate) security: Security,
}

impl System {
    /// Starts the whole tree: database, log, bus, queues, domains, edge, in that order, each
    /// awaited.
    ///
    /// # Errors
    /// [`StartError`] of the first child that could not start; those before it are stopped again.
    pub async fn start(config: Config, catalog: Catalog) -> Result<Self, StartError> {
        let (owner, app, embedded) = match config.database {
            Database::Embedded(embedded) => {
                (embedded.owner_options(), embedded.app_options(), Some(embedded))
            }
            Database::External { owner, app } => (owner, app, None),
        };
        let (max, node) = (config.connections_max, config.node.as_str());
        let here = Here {
            clock: config.clock,
            node: node.to_owned(),
            connections_max: max,
            security: config.security,
        };
        let cells = cell::cells(&catalog, &config.tuning, &app, &here, config.cells.as_ref())?;
        let tuned = Tuned::new(&catalog, config.tuning, config.page);
        let system = Self::new(app, here, tuned, Arc::new(catalog), cells);
        config.shelf.into_iter().for_each(|shelf| system.log().keep_months_on(shelf));
        let edge = (config.edge)(&system);
        let relay = config.relay.map(|make| make(&system));
        let relay = relay.map(|relay| {
            system.inner.relayed.get_or_init(|| relay.relayed);
            relay.child
        });
        let live = Live { wakes: config.wakes, relay, signing: config.signing };
        let parts = Parts::new(&system, embedded.as_ref(), owner, live, edge);
        system.inner.tuned.parts.get_or_init(|| Arc::downgrade(&parts));
        let spec = tree::root(&system, &parts);
        drop(parts);
        system.start_root(spec).await?;
        Ok(system)
    }

    /// Starts a tree as that of this system.
    pub(crate) async fn start_root(&self, spec: SupervisorSpec) -> Result<(), StartError> {
        let root = Root::start_in(self.inner.tree.clone(), spec).await?;
        self.inner.root.get_or_init(|| root);
        Ok(())
    }

    pub(crate) fn new(
        app: PgConnectOptions,
        here: Here,
        tuned: Tuned,
        catalog: Arc<Catalog>,
        cells: Vec<Arc<Cell>>,
    ) -> Self {
        let Here { clock, node, connections_max, security } = here;
        // Statements here take a millisecond; compiling one first would take a hundred.
        let app = app.options([("jit", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_WITHIN)
            .connect_lazy_with(app.clone());
        let homes = Homes::new(&catalog, &tuned.now(), &app, connections_max);
        let inner = Inner {
            log: Log::new(pool.clone(), clock.clone()),
            presence: Presence::new(&node),
            queues: Queues::new(pool.clone(), clock.clone(), node),
            bus: Bus::new(BUS_CAPACITY),
            relayed: OnceLock::new(),
            rebuilds: Rebuilds::new(),
            telemetry: Telemetry::new(),
            identities: Identities::default(),
            limits: Limits::new(),
            flags: FlagMemory::default(),
            heavy: Heavy::new(),
            tuned,
            homes,
            cells: cells.into_iter().map(|cell| (cell.domain().as_str(), cell)).collect(),
            tree: Root::prepare(clock.clone()),
            root: OnceLock::new(),
            sessions: Sessions::new(pool.clone()),
            pool,
            catalog,
            clock,
            security,
        };
        Self { inner: Arc::new(inner), rooms: None, caller: None, listener: None }
    }

    /// Calls an operation by name: the door of all surfaces and of agents.
    ///
    /// # Errors
    /// [`Error`], by kind: what the rules refuse, what is unavailable, what failed.
    pub async fn call(
        &self,
        scope: &Scope,
        domain: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value> {
        dispatch::call(self, scope, domain, operation, input, None).await.map(|answer| answer.value)
    }

    /// Calls a command that is done once for each `key`, however often it is called.
    ///
    /// # Errors
    /// As [`System::call`]; and a refusal when the key was used for another request.
    pub async fn call_once(
        &self,
        scope: &Scope,
        domain: &str,
        operation: &str,
        input: Value,
        key: &str,
    ) -> Result<Answer> {
        dispatch::call(self, scope, domain, operation, input, Some(key)).await
    }

    /// Runs a typed command; for jobs, processes and tests.
    pub async fn run<C: Command>(&self, scope: &Scope, command: C) -> Result<C::Output> {
        let domain = self.domain_of::<C>()?;
        dispatch::run_command(self, domain, scope, command, None).await
    }

    /// Asks a typed query; for jobs, processes and tests.
    pub async fn ask<Q: Query>(&self, scope: &Scope, query: Q) -> Result<Q::Output> {
        let domain = self.domain_of::<Q>()?;
        dispatch::ask(self, domain, scope, query).await
    }

    fn domain_of<T: 'static>(&self) -> Result<DomainName> {
        let operation = self.inner.catalog.operation_of(TypeId::of::<T>());
        operation.map(|operation| operation.domain).ok_or_else(|| {
            Error::failure(format!("no domain declares {}", std::any::type_name::<T>()))
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) fn flag_memory(&self) -> &FlagMemory {
        &self.inner.flags
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.inner.identities
    }

    pub(crate) fn security(&self) -> &Security {
        &self.inner.security
    }

    /// All domains.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The supervision tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.inner.tree
    }

    /// The live events.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// Who is connected now, on any node.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// The live events for whoever acts on them and may miss none: each subscription goes on from
    /// its place in the log, also on another node.
    #[must_use]
    pub fn durable_events(&self) -> Arc<dyn bus::Backend> {
        Arc::new(Tail::new(&self.inner.bus, feed::places(&self.inner.log)))
    }

    /// Where the places of durable subscriptions are kept.
    #[must_use]
    pub fn places(&self) -> Arc<dyn bus::Places> {
        Arc::new(feed::places(&self.inner.log))
    }

    /// How far the relay of this node has got, if there is one.
    pub(crate) fn relayed(&self) -> Option<Relayed> {
        self.inner.relayed.get().map(|relayed| *relayed.borrow())
    }

    /// The event log.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.rooms.as_ref().map_or(&self.inner.log, |rooms| &rooms.log)
    }

    /// What wakes the rebuilders of projections.
    pub(crate) fn rebuilds(&self) -> &Rebuilds {
        &self.inner.rebuilds
    }

    /// The job queues.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        self.rooms.as_ref().map_or(&self.inner.queues, |rooms| &rooms.queues)
    }

    /// The wall clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The instant, in the microseconds that Postgres keeps.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now().trunc_subsecs(6)
    }

    /// supervision.toml, read and checked, as it holds now.
    #[must_use]
    pub fn tuning(&self) -> Arc<Tuning> {
        self.inner.tuned.now()
    }

    pub(crate) fn tuned(&self) -> &Tuned {
        &self.inner.tuned
    }

    /// What is measured.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.inner.telemetry
    }

    /// Everything measured, in Prometheus' text format.
    pub async fn metrics_text(&self) -> String {
        tree::measure(self).await;
        self.inner.telemetry.text()
    }

    /// Whether the database answers, so that calls can be answered too.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ready(&self) -> Result<()> {
        let ask = sqlx::query("select 1").execute(&self.inner.pool);
        match tokio::time::timeout(READY_WITHIN, ask).await {
            Ok(answer) => answer.map(drop).map_err(Error::from),
            Err(_) => Err(Error::unavailable("the database does not answer in time", RETRY_AFTER)),
        }
    }

    /// Waits until the tree has ended, by itself or because it was told to, and tells why.
    pub async fn exited(&self) -> ExitReason {
        match self.inner.root.get() {
            Some(root) => root.exited().await,
            None => ExitReason::Shutdown,
        }
    }

    /// Stops the tree in reverse order, each child with its own patience.
    pub async fn stop(&self) -> ExitReason {
        match self.inner.root.get().cloned() {
            Some(root) => root.stop().await,
            None => ExitReason::Shutdown,
        }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.rooms.as_ref().map_or(&self.inner.pool, |rooms| &rooms.pool)
    }

    /// Connections for the transactions of commands and queries.
    pub(crate) fn sessions(&self) -> &Sessions {
        self.rooms.as_ref().map_or(&self.inner.sessions, |rooms| &rooms.sessions)
    }

    pub(crate) fn opening(&self, domain: DomainName, scope: &Scope, read_only: bool) -> Opening {
        let statement_timeout = self.tuning().domain(domain.as_str()).statement_timeout;
        Opening { domain, org_id: scope.org_id, read_only, statement_timeout }
    }

    /// The cell of a domain, if it has one.
    pub(crate) fn cell(&self, domain: DomainName) -> Option<&Arc<Cell>> {
        self.inner.cells.get(domain.as_str())
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "System({} domains)", self.inner.catalog.domains().len())
    }
}

/// What supervision.toml may name, as the catalog declares it.
#[must_use]
pub fn known(catalog: &Catalog) -> Known {
    tree::known(catalog)
}

/// How long an operation waits for a database connection before it is refused as unavailable.
pub(crate) const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);
/// How long the readiness question may take.
const READY_WITHIN: Duration = Duration::from_secs(1);
/// Live events a slow subscriber may be behind before it is told that it lost some.
const BUS_CAPACITY: usize = 4_096;
