//! What a tree keeps about one place, and how it is drawn.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::graft::Graft;
use crate::bulkhead::Bulkhead;
use crate::child::{ChildKind, ChildSpec, Restart, Shutdown};
use crate::exit::ExitReason;
use crate::incarnation::Incarnation;
use crate::intensity::{Intensity, Window};
use crate::node::{Node, RuntimeKind, Status};
use crate::strategy::Strategy;

pub(super) struct Record {
    pub(super) path: Arc<str>,
    pub(super) kind: ChildKind,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) significant: bool,
    pub(super) label: Arc<str>,
    /// How many threads of its own it has.
    pub(super) threads: Option<NonZeroUsize>,
    pub(super) supervises: Option<Box<(Strategy, Intensity, Window)>>,
    pub(super) status: Status,
    pub(super) incarnation: u64,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) last_exit: Option<ExitReason>,
    pub(super) last_exit_at: Option<DateTime<Utc>>,
    pub(super) quarantined_until: Option<DateTime<Utc>>,
    /// By seat, which is start order.
    pub(super) children: BTreeMap<u64, Arc<str>>,
    /// What runs elsewhere and is shown here. In a box: few have any.
    pub(super) graft: Option<Box<Graft>>,
    pub(super) live: Option<Arc<Incarnation>>,
    /// An `ActorRef` of the type that the process understands.
    pub(super) reference: Option<Box<dyn Any + Send + Sync>>,
}

impl Record {
    pub(super) fn new(path: &Arc<str>) -> Self {
        Self {
            path: path.clone(),
            kind: ChildKind::Worker,
            restart: Restart::default(),
            shutdown: Shutdown::Infinity,
            significant: false,
            label: Arc::from(""),
            threads: None,
            supervises: None,
            status: Status::default(),
            incarnation: 0,
            started_at: None,
            last_exit: None,
            last_exit_at: None,
            quarantined_until: None,
            children: BTreeMap::new(),
            graft: None,
            live: None,
            reference: None,
        }
    }

    pub(super) fn describe(&mut self, spec: &ChildSpec) {
        self.kind = spec.kind;
        self.restart = spec.restart;
        self.shutdown = spec.shutdown;
        self.significant = spec.significant;
        self.label = spec.label.clone();
        self.threads = spec.bulkhead.as_ref().map(Bulkhead::threads).and_then(NonZeroUsize::new);
    }

    pub(super) fn draw(&self, nodes: &HashMap<Arc<str>, Box<Self>>) -> Node {
        let (_, id) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let supervises = self.supervises.as_deref();
        let counted = |(_, limit, window): &(_, Intensity, Window)| {
            u32::try_from(window.count(*limit, Instant::now())).unwrap_or(u32::MAX)
        };
        let backlog = |live: &Arc<Incarnation>| live.backlog().load(Ordering::Relaxed);
        Node {
            id: id.to_owned(),
            path: self.path.to_string(),
            kind: self.kind,
            status: self.shown_status(),
            strategy: supervises.map(|(strategy, ..)| *strategy),
            restart: self.restart,
            shutdown: self.shutdown,
            max_restarts: supervises.map(|(_, limit, _)| limit.max_restarts),
            within_ms: supervises
                .map(|(_, limit, _)| u64::try_from(limit.within.as_millis()).unwrap_or(u64::MAX)),
            restarts_in_window: supervises.map(counted),
            incarnation: self.incarnation,
            restarts: self.incarnation.saturating_sub(1),
            started_at: self.started_at.filter(|_| self.live.is_some()),
            last_exit: self.last_exit.clone(),
            last_exit_at: self.last_exit_at,
            mailbox: self.live.as_ref().map_or(0, backlog),
            label: self.label.to_string(),
            quarantined_until: self.quarantined_until,
            runtime: self.threads.map(|_| RuntimeKind::Dedicated),
            threads: self.threads.map(NonZeroUsize::get),
            children: self
                .children
                .values()
                .filter_map(|child| nodes.get(child))
                .map(|child| child.draw(nodes))
                .chain(self.graft.iter().flat_map(|graft| graft.nodes.clone()))
                .collect(),
        }
    }

    /// A process that has been told to stop says so itself; nobody writes it down for every stop.
    fn shown_status(&self) -> Status {
        match &self.live {
            Some(live) if live.told().is_some() => Status::Stopping,
            _ => self.status,
        }
    }
}
