//! The log as the rest of a node sees it: a handle that wakes the sealer and tells the sealed head.

use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use kernel::Position;
use otp::{Clock, Nudge};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::archive::Shelf;
use crate::consumer::{self, Filter};
use crate::read::{self, EventName};
use crate::recent::Recent;
use crate::stats::SealerStats;

/// How long an epoch that was read is told again. Whoever is told an old one is sent for everything
/// anew when it comes back, which is a pity and no harm.
const EPOCH_KEPT: Duration = Duration::from_secs(5);

/// A handle on the event log; cheap to clone, one per node.
#[derive(Clone)]
pub struct Log(Arc<Shared>, PgPool);

struct Shared {
    clock: Clock,
    shelf: OnceLock<Shelf>,
    nudge: Nudge,
    /// Given beside the other while another node leads.
    committed_here: Nudge,
    head: watch::Sender<Position>,
    stats: SealerStats,
    /// The epoch of the positions, and when it was read.
    epoch: std::sync::Mutex<Option<(Instant, Arc<str>)>>,
    /// What this node sealed lately.
    recent: std::sync::Mutex<Recent>,
    /// What the consumers of this node share.
    consumers: consumer::Shared,
    /// The session of [`seal_all`](crate::sealer::seal_all), kept for the next call.
    session: Mutex<Option<PgConnection>>,
}

impl Shared {
    fn kept_epoch(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Arc<str>)>> {
        // Whole after every statement.
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// A handle on the log in the database of `pool`, whose user may become `finnest_runtime`.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        let shared = Shared {
            clock,
            shelf: OnceLock::new(),
            nudge: Nudge::new(),
            committed_here: Nudge::new(),
            head: watch::Sender::new(Position::ORIGIN),
            stats: SealerStats::default(),
            epoch: std::sync::Mutex::default(),
            recent: std::sync::Mutex::default(),
            consumers: consumer::Shared::default(),
            session: Mutex::new(None),
        };
        Self(Arc::new(shared), pool)
    }

    /// The same log through other connections, for processes on a runtime of their own: a
    /// connection is watched by the runtime that opened it and stands still with it.
    #[must_use]
    pub fn through(&self, pool: PgPool) -> Self {
        Self(self.0.clone(), pool)
    }

    /// Says that events were committed, so that they are sealed at once.
    ///
    /// A hint: what is never nudged is found by the sealer's own slow scan.
    pub fn nudge(&self) {
        self.0.nudge.nudge();
        if !self.leads() {
            self.0.committed_here.nudge();
        }
    }

    /// Follows the highest sealed position known on this node.
    ///
    /// It stands at [`Position::ORIGIN`] until the sealer's child has started.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Position> {
        self.0.head.subscribe()
    }

    /// Which numbering the positions are of, as [`Standing`](crate::read::Standing) says it.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached.
    pub async fn epoch(&self) -> Result<Arc<str>, sqlx::Error> {
        let kept = self.0.kept_epoch().clone();
        if let Some((read_at, epoch)) = kept
            && read_at.elapsed() < EPOCH_KEPT
        {
            return Ok(epoch);
        }
        let mut reading = crate::begin_reading(&self.1).await?;
        let epoch = read::standing(&mut reading, Position::ORIGIN).await?.epoch;
        reading.rollback().await?;
        *self.0.kept_epoch() = Some((Instant::now(), epoch.clone()));
        Ok(epoch)
    }

    /// Waits until everything up to `position` is sealed and known on this node.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn wait_until(&self, position: Position) {
        let mut head = self.head();
        // Cannot fail: this handle holds the sender.
        let _ = head.wait_for(|sealed| *sealed >= position).await;
    }

    /// The connections the log uses.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.1
    }

    /// Says where old months go. Without it they stay, and are told.
    pub fn keep_months_on(&self, place: Shelf) {
        self.0.shelf.get_or_init(|| place);
    }

    /// Where old months go, if somewhere.
    #[must_use]
    pub fn shelf(&self) -> Option<&Shelf> {
        self.0.shelf.get()
    }

    /// The clock the log records by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What the sealer of this node has done so far.
    #[must_use]
    pub fn sealer_stats(&self) -> &SealerStats {
        &self.0.stats
    }

    /// Waits until somebody says that events were committed; for a process without a sealer, which
    /// has to pass it on.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn nudged(&self) {
        self.0.nudge.nudged().await;
    }

    /// Tells this process of a head that it has learnt of elsewhere; heads never go back.
    pub fn learn_head(&self, position: Position) {
        self.publish_head(position);
    }

    /// Whether the sealer of this node leads.
    pub(crate) fn leads(&self) -> bool {
        self.0.stats.is_leader()
    }

    /// Waits until something was committed here while another node leads.
    pub(crate) async fn committed_here(&self) {
        self.0.committed_here.nudged().await;
    }

    pub(crate) fn wake(&self) -> &Nudge {
        &self.0.nudge
    }

    pub(crate) fn spare_session(&self) -> &Mutex<Option<PgConnection>> {
        &self.0.session
    }

    /// Remembers what was sealed here after `position`, for consumers to ask about.
    pub(crate) fn remember(&self, after: Position, names: Vec<EventName>) {
        self.recent().add(after, names);
    }

    /// Whether an event that `filter` wants may lie after `after` and up to `until`.
    ///
    /// Answered from memory, so it says yes to whatever this node has not sealed itself lately.
    pub(crate) fn may_hold(&self, filter: &Filter, after: Position, until: Position) -> bool {
        self.recent().may_hold(filter, after, until)
    }

    /// What tells this process from others among those that work consumers.
    #[must_use]
    pub fn holder(&self) -> uuid::Uuid {
        self.0.consumers.holder
    }

    pub(crate) fn consumers(&self) -> &consumer::Shared {
        &self.0.consumers
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.0.recent.lock().expect("no holder of this lock panics")
    }

    /// Tells this node of a new head; heads never go back.
    pub(crate) fn publish_head(&self, position: Position) {
        self.0.head.send_if_modified(|head| {
            let is_news = position > *head;
            if is_news {
                *head = position;
            }
            is_news
        });
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Log").field("head", &*self.0.head.borrow()).finish_non_exhaustive()
    }
}
