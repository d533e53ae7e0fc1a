//! The queues of this node: a handle that everything which performs or enqueues jobs shares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::Timestamp;
use otp::{Clock, Nudge};
use sqlx::PgPool;
use uuid::Uuid;

use crate::counters::Counts;
use crate::leader::Leadership;
use crate::lifeline::Watch;
use crate::meters::NodeMeters;
use crate::news::News;
use crate::pruner::Pruning;
use crate::slots::Slots;
use crate::{Limits, admin, database};

/// The queues of this node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Queues {
    node: Arc<Node>,
    pool: PgPool,
}

/// This process, as a performer of jobs.
struct Node {
    clock: Clock,
    name: String,
    id: String,
    slots: Mutex<BTreeMap<String, Arc<Slots>>>,
    leadership: Leadership,
    watch: Mutex<Watch>,
    pruning: Pruning,
    meters: NodeMeters,
    /// How often this node has looked at what is stored about queues.
    looks: AtomicU64,
    bulks: Nudge,
    news: News,
    /// The queues with a producer here, as they are noted in the database.
    produced: Mutex<Option<Vec<String>>>,
    ended: Nudge,
}

/// What a queue does on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    /// The queue.
    pub queue: String,
    /// How many attempts may run at once; 0 if no producer has been started.
    pub limit: u32,
    /// How many attempts run.
    pub running: u32,
    /// What has happened since the process started.
    pub counts: Counts,
}

impl Queues {
    /// The queues of the node of that name, over a pool whose user may become `finnest_runtime`.
    ///
    /// A name that starts again is another node: what its predecessor held is rescued.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock, node: impl Into<String>) -> Self {
        let name = node.into();
        // The end of a UUIDv7 is random, its beginning only time.
        let incarnation = Uuid::now_v7().simple().to_string().split_off(20);
        let id = format!("{name}@{incarnation}");
        let node = Node {
            clock,
            name,
            id,
            slots: Mutex::default(),
            leadership: Leadership::default(),
            watch: Mutex::default(),
            pruning: Pruning::default(),
            meters: NodeMeters::default(),
            looks: AtomicU64::new(0),
            bulks: Nudge::new(),
            news: News::default(),
            produced: Mutex::default(),
            ended: Nudge::new(),
        };
        Self { node: Arc::new(node), pool }
    }

    /// The same queues through other connections, for processes on a runtime of their own: a
    /// connection is watched by the runtime that opened it and stands still with it.
    #[must_use]
    pub fn through(&self, pool: PgPool) -> Self {
        Self { node: self.node.clone(), pool }
    }

    /// Tells a queue that there may be work for it, after the commit that enqueued it. Other nodes
    /// hear of it if this one has no place for more.
    pub fn nudge(&self, queue: &str) {
        let slots = self.find_slots(queue);
        if let Some(slots) = &slots {
            slots.nudge.nudge();
        }
        let has_place = |slots: &Arc<Slots>| slots.control.has_producer() && slots.demand() > 0;
        if !slots.as_ref().is_some_and(has_place) {
            self.tell_of_work(queue);
        }
    }

    /// Tells a queue of this node that there may be work for it, of which the others know.
    pub(crate) fn wake(&self, queue: &str) {
        if let Some(slots) = self.find_slots(queue) {
            slots.nudge.nudge();
        }
    }

    /// Tells the sweeper of this node that a job has ended for which others wait.
    pub fn nudge_sweeper(&self) {
        self.node.ended.nudge();
    }

    pub(crate) fn ended_nudge(&self) -> &Nudge {
        &self.node.ended
    }

    /// Waits until a queue is told that there may be work for it; for a process that has no
    /// producer of it and passes the word on to the one that has.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn nudged(&self, queue: &str) {
        self.slots(queue).nudge.nudged().await;
    }

    /// Stops a queue from claiming jobs, on every node and until it is resumed.
    pub async fn pause(&self, queue: &str) -> Result<(), sqlx::Error> {
        let mut transaction = database::begin(self.pool()).await?;
        admin::set_paused(&mut transaction, queue, true, self.now()).await?;
        transaction.commit().await
    }

    /// Lets a paused queue claim jobs again.
    pub async fn resume(&self, queue: &str) -> Result<(), sqlx::Error> {
        let mut transaction = database::begin(self.pool()).await?;
        admin::set_paused(&mut transaction, queue, false, self.now()).await?;
        transaction.commit().await?;
        self.wake(queue);
        self.tell_of_work(queue);
        Ok(())
    }

    /// What each queue does on this node, by name.
    #[must_use]
    pub fn stats(&self) -> Vec<QueueStats> {
        let every = self.every_slots();
        every.iter().map(|slots| stats(slots)).collect()
    }

    /// The identity of this node, as it stands on the attempts it makes.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.node.id
    }

    /// The name of this node, the same after a restart.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node.name
    }

    /// Whether this node does the duties of all queues; see [`crate::leader`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leadership().is_held()
    }

    pub(crate) fn leadership(&self) -> &Leadership {
        &self.node.leadership
    }

    pub(crate) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.node.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn produced(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.node.produced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn news_book(&self) -> &News {
        &self.node.news
    }

    pub(crate) fn pruning(&self) -> &Pruning {
        &self.node.pruning
    }

    /// Wakes whoever does bulk operations on this node.
    pub(crate) fn bulks(&self) -> &Nudge {
        &self.node.bulks
    }

    pub(crate) fn meters(&self) -> &NodeMeters {
        &self.node.meters
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.node.clock.now()
    }

    /// Has so many attempts of `queue` run at once on this node from now on, unless an operator
    /// said otherwise. Those that run finish.
    pub fn set_limit(&self, queue: &str, limit: u32) {
        let slots = self.slots(queue);
        slots.declare_limit(limit);
        slots.nudge.nudge();
    }

    /// Declares what limits a queue over all nodes, by the page of this one. Its producer stores
    /// that before it claims again; the node that declared last is the one that counts.
    pub fn set_limits(&self, queue: &str, limits: Limits) {
        let slots = self.slots(queue);
        slots.declare_limits(limits);
        slots.nudge.nudge();
    }

    /// The name under which an operator speaks of this node. The process of a domain is a node of
    /// its own, whose name begins with that of its platform.
    pub(crate) fn settings_name(&self) -> &str {
        let name = self.node_name();
        name.split_once('/').map_or(name, |(platform, _)| platform)
    }

    pub(crate) fn count_look(&self) -> u64 {
        self.node.looks.fetch_add(1, Ordering::Relaxed)
    }

    /// What the processes of a queue share; made when first asked for.
    pub(crate) fn slots(&self, queue: &str) -> Arc<Slots> {
        let mut every = self.node.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let mut slots = Slots::new(queue);
            slots.meters.observers = self.meters().observers.clone();
            Arc::new(slots)
        };
        every.entry(queue.to_owned()).or_insert_with(make).clone()
    }

    pub(crate) fn find_slots(&self, queue: &str) -> Option<Arc<Slots>> {
        let every = self.node.slots.lock().unwrap_or_else(PoisonError::into_inner);
        every.get(queue).cloned()
    }

    pub(crate) fn every_slots(&self) -> Vec<Arc<Slots>> {
        let every = self.node.slots.lock().unwrap_or_else(PoisonError::into_inner);
        every.values().cloned().collect()
    }
}

pub(crate) fn stats(slots: &Slots) -> QueueStats {
    QueueStats {
        queue: slots.queue.clone(),
        limit: slots.limit(),
        running: slots.running_count(),
        counts: slots.counters.read(),
    }
}
