//! The consumer: the one loop that turns sealed events into effects.
//!
//! Read a batch, advance the cursor, apply the batch, commit: effect and cursor in one transaction,
//! so the effect of every event happens exactly once, whatever dies in between. Two consumers of
//! one name on two nodes are safe for the same reason: the second finds the cursor moved.
//!
//! A consumer that meets an event it cannot digest *stalls*: it stays alive, says where and why,
//! tries again with back-off, and harms nobody else. Everything before that event has had its
//! effect.

mod reader;
mod status;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use otp::{ChildSpec, ExitReason, Process, RunContext};
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::log::Log;
use crate::read::EventName;
use crate::sealed::{ReadError, SealedEvent};
use kernel::Position;
use reader::{Reader, Step, StepError};
pub use status::{ConsumerState, ConsumerStatus};

/// How long a consumer waits for the head to move before it looks anyway.
const SCAN_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// The shortest time between two passes that had an effect. The first event after a pause is taken
/// at once; under load, what came meanwhile shares one commit instead of costing one each.
const PACE: std::time::Duration = std::time::Duration::from_millis(20);

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
}

/// A consumer: which events, from where, and what to do with them.
#[derive(Clone)]
pub struct Consumer {
    name: Arc<str>,
    id: Arc<str>,
    log: Log,
    filter: Arc<[EventName]>,
    from: Start,
    apply: Apply,
    on_committed: Arc<dyn Fn() + Send + Sync>,
    status: Arc<watch::Sender<ConsumerStatus>>,
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
            filter: Arc::new([]),
            from: Start::Origin,
            apply: Arc::new(apply),
            on_committed: Arc::new(|| {}),
            status: Arc::new(watch::Sender::new(ConsumerStatus::default())),
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
    pub fn filter(mut self, filter: impl IntoIterator<Item = EventName>) -> Self {
        self.filter = filter.into_iter().collect();
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

    /// The persistent name: that of its cursor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Follows what the consumer is doing; all clones and incarnations tell through it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ConsumerStatus> {
        self.status.subscribe()
    }

    /// The consumer as a child.
    #[must_use]
    pub fn child(self) -> ChildSpec {
        let id = self.id.to_string();
        ChildSpec::process(id, move || Running { consumer: self.clone() })
    }

    /// Applies everything sealed now, and saves the cursor. For tests and for draining.
    ///
    /// # Errors
    /// [`ConsumerError`]; what was applied before the failure stays applied.
    pub async fn run_once(&self) -> Result<Progress, ConsumerError> {
        let mut reader = Reader::open(self.clone()).await?;
        let mut applied = 0;
        loop {
            match reader.step().await {
                Ok(Step::Applied(count)) => applied += count,
                Ok(Step::CaughtUp) => break,
                Ok(Step::Moved | Step::Scanned) | Err(StepError::Batch(_)) => {}
                Err(StepError::Failed(error)) => return Err(error),
            }
        }
        let position = reader.save().await?;
        Ok(Progress { applied, position })
    }
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

struct Running {
    consumer: Consumer,
}

impl Process for Running {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut backoff = Backoff::default();
        let mut reader = None;
        while !context.is_stopping() {
            let Err(error) = self.follow(context, &mut reader, &mut backoff).await else {
                break;
            };
            self.tell(&error);
            if matches!(error, ConsumerError::Unavailable(_)) {
                // Whether the last commit arrived is not known, so the cursor is read again.
                reader = None;
            }
            tokio::select! {
                () = context.stopping() => {}
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
        Ok(())
    }
}

impl Running {
    /// Applies events as they are sealed, until the node stops or a pass fails.
    async fn follow(
        &self,
        context: &RunContext,
        reader: &mut Option<Reader>,
        backoff: &mut Backoff,
    ) -> Result<(), ConsumerError> {
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(Reader::open(self.consumer.clone()).await?),
        };
        let mut head = self.consumer.log.head();
        while !context.is_stopping() {
            head.mark_unchanged();
            let begun = Instant::now();
            let step = reader.step().await;
            let is_effective = matches!(step, Ok(Step::Applied(_)));
            match step {
                Err(StepError::Failed(error)) => return Err(error),
                // A batch that failed as a whole is taken event by event, at once.
                Err(StepError::Batch(_)) => continue,
                Ok(Step::CaughtUp) => {}
                // The head is followed, so there is no need to look once more in vain.
                Ok(Step::Applied(_)) if reader.behind() == 0 => {}
                Ok(Step::Applied(_) | Step::Scanned | Step::Moved) => {
                    backoff.reset();
                    context.report_backlog(reader.behind());
                    self.report(reader, ConsumerState::CatchingUp);
                    continue;
                }
            }
            backoff.reset();
            context.report_backlog(0);
            self.report(reader, ConsumerState::Live);
            if is_effective {
                tokio::select! {
                    () = tokio::time::sleep_until(begun + PACE) => {}
                    () = context.stopping() => {}
                }
            }
            tokio::select! {
                _ = head.changed() => {}
                () = context.stopping() => {}
                () = tokio::time::sleep(SCAN_INTERVAL) => { reader.save().await?; }
            }
        }
        reader.save().await?;
        Ok(())
    }

    fn report(&self, reader: &Reader, state: ConsumerState) {
        let now = ConsumerStatus { position: reader.position(), state };
        self.consumer.status.send_if_modified(|status| {
            let is_news = *status != now;
            *status = now;
            is_news
        });
    }

    fn tell(&self, error: &ConsumerError) {
        self.consumer.status.send_modify(|status| {
            status.state = status.state.failed(error);
        });
        tracing::warn!(
            consumer = %self.consumer.name,
            error = error as &dyn std::error::Error,
            "a consumer waits before it tries again"
        );
    }
}
