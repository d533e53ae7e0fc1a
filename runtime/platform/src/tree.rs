//! The root of the tree: database, store, bus, jobs, domains and edge, in the order they start.
//!
//! ```text
//! root                one_for_one
//! ├─ postgres         the embedded server, an OS process (absent with DATABASE_URL)
//! ├─ database         migrates at the start, closes the connections at the end
//! ├─ store            rest_for_one: sealer, partition keeper, wake, checkpoints
//! ├─ bus              one_for_one: broadcast, bridge, presence, credentials, a relay if wanted
//! ├─ jobs             one_for_one: leader, stager, sweeper, settings, lifeline, pruner,
//! │                   reindexer, cron, bulks, answers
//! ├─ domains          one_for_one, quarantine: a subtree each
//! └─ edge             one_for_one: connections, sockets, acceptor
//! ```

use std::sync::Arc;

use bus::LossClass;
use futures_util::future::BoxFuture;
use kernel::DomainName;
use otp::config::{GiveUp, Known};
use otp::{ChildSpec, Process, RunContext, StartError, Status, Strategy, SupervisorSpec};
use sqlx::postgres::PgConnectOptions;
use store::checkpoint::keeper::{self, Options};

use crate::catalog::Catalog;
use crate::cell;
use crate::config::Wakes;
use crate::dispatch::RETRY_AFTER;
use crate::feed;
use crate::idempotency;
use crate::identity::forget;
use crate::migrate;
use crate::operator;
use crate::postgres::Embedded;
use crate::projection::rebuilds::read_models;
use crate::recurring;
use crate::refusal::{Error, Result as Answered};
use crate::subtree;
use crate::system::System;
use crate::telemetry::ConsumerGauges;

/// The path of a domain's subtree.
pub(crate) fn path_of(domain: DomainName) -> String {
    format!("root/domains/{domain}")
}

/// How live events come to this node and leave it, and what it signs of them.
pub(crate) struct Live {
    pub(crate) wakes: Wakes,
    pub(crate) relay: Option<ChildSpec>,
    /// How checkpoints are made, if there is a key to sign them.
    pub(crate) signing: Option<Options>,
}

impl System {
    /// Refuses what is asked of a domain in quarantine.
    pub(crate) fn must_be_up(&self, domain: DomainName) -> Answered<()> {
        let Some(until) = self.tree().quarantined_until(&path_of(domain)) else {
            return Ok(());
        };
        let wait = (until - self.now()).to_std().unwrap_or(RETRY_AFTER);
        Err(Error::unavailable(
            format!(
                "{domain} is in quarantine after repeated failures; it is tried again by itself"
            ),
            wait.max(RETRY_AFTER),
        ))
    }
}

/// What the tree is made of, before the page tunes it. It lives as long as the tree.
pub(crate) struct Parts {
    database: ChildSpec,
    /// The children of each section, in the order the sections start.
    sections: Vec<(&'static str, Vec<ChildSpec>)>,
}

impl Parts {
    pub(crate) fn new(
        system: &System,
        embedded: Option<&Embedded>,
        owner: PgConnectOptions,
        live: Live,
        edge: Vec<ChildSpec>,
    ) -> Arc<Self> {
        let (log, queues) = (system.log(), system.queues());
        let mut store = vec![store::sealer::child(log), store::partition::keeper(log)];
        if live.wakes == Wakes::Shared {
            // One connection a node for all that nodes tell each other.
            let news = NodeNews { queues: queues.clone(), presence: system.presence().clone() };
            store.push(store::wake::child_with(log, Arc::new(news)));
        }
        store.extend(live.signing.map(|options| keeper::child(log, &options)));
        let mut bus = vec![
            bus::broadcast::child(system.bus()),
            bus::bridge::child(system.bus(), feed::of(log)),
            system.presence().child(),
        ];
        bus.extend(forget::child(system));
        bus.extend(live.relay);
        let mut sections = Vec::new();
        sections.extend(embedded.map(|embedded| (POSTGRES, vec![embedded.child()])));
        sections.extend([
            ("store", store),
            ("bus", bus),
            (
                "jobs",
                vec![
                    jobs::duties::leader(queues),
                    jobs::duties::stager(queues),
                    jobs::duties::sweeper(queues),
                    jobs::duties::settings(queues),
                    jobs::duties::lifeline(queues),
                    jobs::duties::pruner(queues),
                    jobs::duties::reindexer(queues, owner.clone()),
                    jobs::duties::cron(queues, recurring::crontab(system.catalog())),
                    jobs::duties::bulks(queues),
                    idempotency::pruner(system),
                ],
            ),
            ("edge", edge),
        ]);
        Arc::new(Self { database: database(system, owner), sections })
    }
}

/// What this node and the others tell each other: hints of the queues, and who is present.
struct NodeNews {
    queues: jobs::Queues,
    presence: bus::Presence,
}

/// What the news of presence begin with; those of the queues begin otherwise.
const OF_PRESENCE: &str = "presence ";

impl store::wake::Passenger for NodeNews {
    fn next(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            tokio::select! {
                news = self.queues.news() => news,
                telling = self.presence.telling() => format!("{OF_PRESENCE}{telling}"),
            }
        })
    }

    fn hear(&self, telling: &str) {
        match telling.strip_prefix(OF_PRESENCE) {
            Some(telling) => self.presence.hear(telling),
            None => self.queues.hear(telling),
        }
    }
}

const POSTGRES: &str = "postgres";

/// The specification of the whole tree, by the tuning that holds now.
pub(crate) fn root(system: &System, parts: &Arc<Parts>) -> SupervisorSpec {
    let resolved = system.tuning().section("root");
    let mut root = SupervisorSpec::new(resolved.strategy).intensity(resolved.intensity);
    let mut sections = parts.sections.iter().map(|(name, _)| *name).peekable();
    if sections.next_if_eq(&POSTGRES).is_some() {
        root = root.child(section(system, parts, POSTGRES));
    }
    root = root.child(resolved.tune_part(parts.database.clone()));
    for name in sections {
        // The edge is last: nobody is let in before the domains are up.
        if name == "edge" {
            let system = system.clone();
            let domains =
                ChildSpec::supervisor_from("domains", move || Ok(spec_of_domains(&system)));
            root = root.child(domains);
        }
        root = root.child(section(system, parts, name));
    }
    root
}

fn section(system: &System, parts: &Arc<Parts>, name: &'static str) -> ChildSpec {
    let (system, parts) = (system.clone(), Arc::clone(parts));
    ChildSpec::supervisor_from(name, move || Ok(spec_of_section(&system, &parts, name)))
}

fn spec_of_section(system: &System, parts: &Parts, name: &str) -> SupervisorSpec {
    let resolved = system.tuning().section(name);
    let children = parts.sections.iter().filter(|(section, _)| *section == name);
    let children = children.flat_map(|(_, children)| children.iter().cloned());
    SupervisorSpec::new(resolved.strategy)
        .intensity(resolved.intensity)
        .children(children.map(|child| resolved.tune_part(child)))
}

fn spec_of_domains(system: &System) -> SupervisorSpec {
    let tuning = system.tuning();
    let resolved = tuning.section("domains");
    let subtrees =
        system.catalog().domains().iter().map(|domain| match system.cell(domain.name()) {
            Some(cell) => cell::subtree(system, cell),
            None => subtree::of_domain(system, domain),
        });
    let spec =
        SupervisorSpec::new(resolved.strategy).intensity(resolved.intensity).children(subtrees);
    match tuning.give_up() {
        GiveUp::Quarantine(schedule) => spec.quarantine(schedule),
        GiveUp::Escalate => spec,
    }
}

/// Every supervisor that the page tunes, from the root downwards, with what it is to be by the
/// tuning that holds now.
pub(crate) fn tuned(system: &System, parts: &Arc<Parts>) -> Vec<(String, SupervisorSpec)> {
    let mut specs = vec![("root".to_owned(), root(system, parts))];
    specs.extend(
        parts
            .sections
            .iter()
            .map(|(name, _)| (format!("root/{name}"), spec_of_section(system, parts, name))),
    );
    specs.push(("root/domains".to_owned(), spec_of_domains(system)));
    for domain in system.catalog().domains() {
        let (name, path) = (domain.name(), path_of(domain.name()));
        if let Some(cell) = system.cell(name) {
            specs.push((path, cell::spec_of(system, cell)));
            continue;
        }
        let system = &system.at_home(name);
        specs.push((path.clone(), subtree::spec_of(system, name)));
        if domain.child_ids().next().is_some() {
            specs.push((format!("{path}/children"), subtree::children_of(system, name)));
        }
    }
    specs
}

/// The connections to the database: brought up to date before anything else starts, closed after
/// everything else has stopped.
struct Connections {
    system: System,
    /// Who may migrate; a cell finds the database as the platform left it.
    owner: Option<PgConnectOptions>,
}

fn database(system: &System, owner: PgConnectOptions) -> ChildSpec {
    let (system, owner) = (system.clone(), Arc::new(owner));
    ChildSpec::process("database", move || Connections {
        system: system.clone(),
        owner: Some(PgConnectOptions::clone(&owner)),
    })
}

/// The connections of a cell, closed after everything else has stopped.
pub(crate) fn connections(system: &System) -> ChildSpec {
    let system = system.clone();
    ChildSpec::process("database", move || Connections { system: system.clone(), owner: None })
}

impl Process for Connections {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let domains: Vec<DomainName> =
            self.system.catalog().domains().iter().map(crate::Domain::name).collect();
        let ran = migrate::migrate(owner, &domains).await.map_err(StartError::failed)?;
        if !ran.is_empty() {
            tracing::info!(migrations = ran.len(), "the database is brought up to date");
        }
        must_have_tables(&self.system).await
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), otp::ExitReason> {
        context.stopping().await;
        // Last of all to stop but the server itself, so nobody needs a connection any more.
        self.system.homes().move_out();
        self.system.sessions().close();
        self.system.pool().close().await;
        Ok(())
    }
}

/// A projection over a table that does not exist would stall for ever, and one over a table that
/// cannot be rebuilt would be found out when it has to be; it is better not to start.
async fn must_have_tables(system: &System) -> Result<(), StartError> {
    let mut reading = store::begin_reading(system.pool()).await.map_err(StartError::failed)?;
    for model in read_models(system.catalog()) {
        let faults = store::replay::faults(&mut reading, &model).await;
        if let Some(fault) = faults.map_err(StartError::failed)?.into_iter().next() {
            return Err(StartError::Failed(fault));
        }
    }
    reading.rollback().await.map_err(StartError::failed)
}

/// What supervision.toml may name.
pub(crate) fn known(catalog: &Catalog) -> Known {
    let sections: [(&str, &[&str]); 7] = [
        ("root", &["database"]),
        ("postgres", &["server"]),
        ("store", &["sealer", "partition_keeper", "wake", "checkpoints"]),
        ("bus", &["broadcast", "bridge", "presence", "credentials", "relay"]),
        (
            "jobs",
            &[
                "leader",
                "stager",
                "sweeper",
                "settings",
                "lifeline",
                "pruner",
                "reindexer",
                "cron",
                "bulks",
                "answers",
            ],
        ),
        ("domains", &[]),
        ("edge", &["connections", "sockets", "acceptor"]),
    ];
    let known = sections.into_iter().fold(Known::new(), |known, (name, children)| {
        known.section(name, children.iter().copied())
    });
    catalog
        .domains()
        .iter()
        .fold(known, |known, domain| known.domain(domain.name().as_str(), domain.child_ids()))
        .at_home(crate::operator::OPERATOR.as_str())
}

/// Brings the gauges up to date with the tree, the queues and the connections.
pub(crate) async fn measure(system: &System) {
    let telemetry = system.telemetry();
    telemetry.restarts.reset();
    telemetry.up.reset();
    telemetry.mailbox.reset();
    measure_node(system, &system.tree().snapshot());
    let pool = system.pool();
    let idle = pool.num_idle() + system.sessions().idle_count();
    let idle = i64::try_from(idle).unwrap_or(i64::MAX);
    telemetry.connections.with_label_values(&["idle"]).set(idle);
    telemetry.connections.with_label_values(&["used"]).set(i64::from(pool.size()) - idle);
    telemetry.sealed_position.set(system.log().head().borrow().0);
    measure_bus(system);
    measure_consumers(system).await;
    telemetry.jobs.measure(system).await;
}

/// The queues of live events, and how far behind their relay is.
/// From the tables, so that every node tells the same of them all.
async fn measure_consumers(system: &System) {
    let Ok(consumers) = operator::list_consumers(system).await else { return };
    let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let ConsumerGauges { lag_events, lag_seconds, stalled } = &system.telemetry().consumers;
    let gauges = [lag_events, lag_seconds, stalled];
    for gauge in gauges {
        gauge.reset();
    }
    for lane in consumers.items {
        let stalled = u64::from(lane.stalled_organisations);
        let values = [lane.lag_events, lane.lag_seconds, stalled];
        for (gauge, value) in gauges.iter().zip(values) {
            gauge.with_label_values(&[&*lane.consumer]).set(whole(value));
        }
    }
}

fn measure_bus(system: &System) {
    let telemetry = system.telemetry();
    let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    telemetry.bus.dropped.reset();
    for class in LossClass::ALL {
        let (counts, label) = (system.bus().counts(class), [class.name()]);
        telemetry.bus.subscribers.with_label_values(&label).set(whole(counts.subscribers));
        telemetry.bus.queue_max.with_label_values(&label).set(whole(counts.depth_max));
        telemetry.bus.dropped.with_label_values(&label).inc_by(counts.dropped);
    }
    let Some(relayed) = system.relayed() else { return };
    let head = *system.log().head().borrow();
    // Only the node that seals relays; the others know nothing of it.
    let is_turn = system.log().sealer_stats().counts().is_leader;
    let behind = if is_turn { (head.0 - relayed.position.0).max(0) } else { 0 };
    telemetry.bus.relay_lag.set(behind);
    let age = relayed
        .recorded_at
        .filter(|_| behind > 0)
        .map_or(0, |recorded_at| (system.now() - recorded_at).num_seconds().max(0));
    telemetry.bus.relay_lag_seconds.set(age);
}

fn measure_node(system: &System, node: &otp::Node) {
    let telemetry = system.telemetry();
    let path = [node.path.as_str()];
    telemetry.restarts.with_label_values(&path).inc_by(node.restarts);
    telemetry.up.with_label_values(&path).set(i64::from(node.status == Status::Running));
    telemetry.mailbox.with_label_values(&path).set(i64::try_from(node.mailbox).unwrap_or(i64::MAX));
    if node.strategy != Some(Strategy::SimpleOneForOne) {
        node.children.iter().for_each(|child| measure_node(system, child));
    }
}
