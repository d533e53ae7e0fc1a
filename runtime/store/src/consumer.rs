//! The consumer: the one loop that turns sealed events into effects.
//!
//! Read a batch, advance the cursor, apply the batch, commit: effect and cursor in one transaction,
//! so the effect of every event happens exactly once, whatever dies in between. Two consumers of
//! one name on two nodes are safe for the same reason: the second finds the cursor moved. A lease
//! spares it the attempt, and lets it take over when the first one's node dies or hangs.
//!
//! A consumer that meets an event it cannot digest *stalls*: it stays alive, says where and why,
//! tries again with back-off, and harms nobody else. Everything before that event has had its
//! effect. An operator may have it tried at once, or skipped. A consumer may be divided by
//! organisation into lanes, and may park the organisation of such an event instead of waiting.

mod batch;
mod filter;
pub mod lag;
mod lane;
mod lease;
mod open;
mod pace;
mod reader;
mod running;
pub mod stall;
mod status;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kernel::{Position, Timestamp};
use otp::{ChildSpec, Strategy, SupervisorSpec};
use sqlx::PgConnection;
use tokio::sync::watch;

use crate::log::Log;
use crate::read::EventName;
use crate::sealed::{ReadError, SealedEvent};
pub use filter::Filter;
pub use lag::Lag;
use lane::Lane;
pub(crate) use lease::Shared;
use open::Working;
pub(crate) use reader::message_of;
use reader::{Reader, Step};
use running::Running;
pub(crate) use status::with_causes;
pub use status::{ConsumerState, ConsumerStatus};

/// The most lanes a consumer may have.
pub const LANES_MAX: u16 = 64;

/// What a consumer does with a batch, in the transaction that also moves its cursor.
///
/// It begins as `finnest_runtime` and may become the role of a domain, tenant by tenant. It must
/// not commit.
pub type Apply = Arc<
    dyn for<'c> Fn(
            &'c mut PgConnection,
            Vec<SealedEvent>,
        ) -> BoxFuture<'c, Result<(), ConsumeError>>
        + Send
        + Sync,
>;

/// Where a consumer without a cursor begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// With the first event of the log.
    #[default]
    Origin,
    /// After the last event sealed when it first runs.
    Now,
    /// With the first event that was recorded at this instant or later; now, if there is none.
    ///
    /// Events are ordered by arrival and carry the clock of the node that recorded them, so times
    /// may be out of order. No event recorded at or after the instant is left out, which means that
    /// a few older ones behind the first of them may be seen.
    At(Timestamp),
}

/// What happens to the other events of a lane when one cannot be digested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnPoison {
    /// They wait too: what the consumer makes depends on the order of everything.
    #[default]
    HoldLane,
    /// Those of the same organisation wait; the others go on.
    ParkOrganisation,
}

/// A batch had no effect.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// Postgres refused or could not be reached.
    #[error("the effect was refused by the database")]
    Database(#[from] sqlx::Error),
    /// An event could not be read.
    #[error("the event cannot be read")]
    Read(#[from] ReadError),
    /// The consumer's own reason.
    #[error("the event cannot be applied")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The code that applies events panicked.
    #[error("applying the event panicked: {0}")]
    Panicked(String),
}

/// What one pass achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events that had their effect.
    pub applied: usize,
    /// Where the cursor stands now.
    pub position: Position,
}

/// One pass failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// Postgres is away.
    #[error("the log cannot be read just now")]
    Unavailable(#[source] ReadError),
    /// An event cannot be digested.
    #[error("stalled at position {position}, event {event_id}")]
    Stalled {
        /// The event's place.
        position: Position,
        /// The event.
        event_id: kernel::EventId,
        /// Why.
        #[source]
        source: ConsumeError,
    },
    /// Another process works the consumer, divided into other lanes.
    #[error("another process works it, divided into other lanes")]
    Elsewhere,
}

/// A consumer: which events, from where, and what to do with them.
#[derive(Clone)]
pub struct Consumer {
    name: Arc<str>,
    id: Arc<str>,
    log: Log,
    filter: Filter,
    from: Start,
    lanes: u16,
    on_poison: OnPoison,
    apply: Apply,
    on_committed: Arc<dyn Fn() + Send + Sync>,
    /// One for each lane.
    status: Arc<[watch::Sender<ConsumerStatus>]>,
}

impl Consumer {
    /// A consumer with the persistent name `name` that applies batches by `apply`.
    ///
    /// It sees no events until it is told [which](Self::filter).
    pub fn new<F>(name: impl Into<Arc<str>>, log: &Log, apply: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut PgConnection,
                Vec<SealedEvent>,
            ) -> BoxFuture<'c, Result<(), ConsumeError>>
            + Send
            + Sync
            + 'static,
    {
        let name = name.into();
        Self {
            id: name.clone(),
            name,
            log: log.clone(),
            filter: Filter::none(),
            from: Start::Origin,
            lanes: 1,
            on_poison: OnPoison::HoldLane,
            apply: Arc::new(apply),
            on_committed: Arc::new(|| {}),
            status: statuses(1),
        }
    }

    /// The id in the supervision tree; the persistent name if not given.
    #[must_use]
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = id.into();
        self
    }

    /// The events it sees: domain and type of each.
    #[must_use]
    pub fn filter(self, names: impl IntoIterator<Item = EventName>) -> Self {
        self.sees(Filter::events(names))
    }

    /// The events it sees, by domain, type and organisation.
    #[must_use]
    pub fn sees(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Divides it by organisation into so many lanes, 1 to [`LANES_MAX`], each with a cursor and a
    /// process of its own. The number may be another at the next start.
    #[must_use]
    pub fn lanes(mut self, lanes: u16) -> Self {
        self.lanes = lanes.clamp(1, LANES_MAX);
        self.status = statuses(self.lanes);
        self
    }

    /// What happens to other events when one cannot be digested.
    #[must_use]
    pub fn on_poison(mut self, on_poison: OnPoison) -> Self {
        self.on_poison = on_poison;
        self
    }

    /// Where it begins when it has no cursor yet.
    #[must_use]
    pub fn from(mut self, from: Start) -> Self {
        self.from = from;
        self
    }

    /// What to do after each commit, for example nudge a queue. Must not block.
    #[must_use]
    pub fn on_committed(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_committed = Arc::new(act);
        self
    }

    /// The persistent name: that of its cursor, if it has one lane. It has no `#`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Follows what the first lane is doing; all clones and incarnations tell through it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ConsumerStatus> {
        self.status[0].subscribe()
    }

    /// Follows what each lane is doing, in their order.
    #[must_use]
    pub fn statuses(&self) -> Vec<watch::Receiver<ConsumerStatus>> {
        self.status.iter().map(watch::Sender::subscribe).collect()
    }

    /// The consumer as a child: a process, or a supervisor of one for each lane.
    #[must_use]
    pub fn child(self) -> ChildSpec {
        let id = self.id.to_string();
        let process = |id: String, lane: Lane| {
            let working = Working::new(self.clone(), lane);
            ChildSpec::process(id, move || Running { working: working.clone() })
        };
        if self.lanes == 1 {
            return process(id, Lane::ONLY);
        }
        let lanes = Lane::all(self.lanes)
            .map(|lane| process(format!("lane_{}_of_{}", lane.number, lane.count), lane));
        ChildSpec::supervisor(id, SupervisorSpec::new(Strategy::OneForOne).children(lanes))
    }

    /// Applies everything sealed now, and saves the cursors. For tests and for draining.
    ///
    /// # Errors
    /// [`ConsumerError`]; what was applied before the failure stays applied.
    pub async fn run_once(&self) -> Result<Progress, ConsumerError> {
        let mut progress = Progress { applied: 0, position: Position(i64::MAX) };
        for lane in Lane::all(self.lanes) {
            let mut reader = Reader::open(Working::new(self.clone(), lane)).await?;
            reader.hurry();
            loop {
                match reader.step().await {
                    Ok(Step::Applied(count)) => progress.applied += count,
                    Ok(Step::CaughtUp | Step::Held) => break,
                    Ok(Step::Moved | Step::Scanned | Step::Careful) => {}
                    Err(ConsumerError::Stalled { .. }) if reader.parked_count() > 0 => {}
                    Err(error) => return Err(error),
                }
            }
            progress.position = progress.position.min(reader.save().await?);
        }
        Ok(progress)
    }
}

fn statuses(lanes: u16) -> Arc<[watch::Sender<ConsumerStatus>]> {
    (0..lanes).map(|_| watch::Sender::new(ConsumerStatus::default())).collect()
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Consumer")
            .field("name", &self.name)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
