//! The bridge: follows the seal on this node and publishes what was sealed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kernel::Position;
use otp::{ChildSpec, ExitReason, Process, RunContext, StartError};
use tokio::sync::watch;

use crate::broadcast::Bus;
use crate::event::BusEvent;
use crate::topic_filter::TopicFilter;

/// How long the bridge waits for the head to move before it looks anyway.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// How long it waits after the log could not be read.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Events read at once.
const BATCH_EVENTS_MAX: u32 = 1_000;

/// Why the log could not be read.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

type ReadHead = dyn Fn() -> BoxFuture<'static, Result<Position, SourceError>> + Send + Sync;
type ReadAfter =
    dyn Fn(&TopicFilter, Position, u32) -> BoxFuture<'static, ReadEvents> + Send + Sync;

/// Events of the log, or why there are none.
pub type ReadEvents = Result<Vec<BusEvent>, SourceError>;

/// Where sealed events come from. The bus knows no database; the platform gives it this.
#[derive(Clone)]
pub struct Source {
    head: watch::Receiver<Position>,
    read_head: Arc<ReadHead>,
    read_after: Arc<ReadAfter>,
}

impl Source {
    /// A log whose sealed head moves with `head`. `read_head` asks it where it stands now, and
    /// `read_after` for up to so many events after a position, in order, of which all that match
    /// are among them.
    pub fn new(
        head: watch::Receiver<Position>,
        read_head: impl Fn() -> BoxFuture<'static, Result<Position, SourceError>>
        + Send
        + Sync
        + 'static,
        read_after: impl Fn(&TopicFilter, Position, u32) -> BoxFuture<'static, ReadEvents>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { head, read_head: Arc::new(read_head), read_after: Arc::new(read_after) }
    }

    /// Where the log stands now.
    pub(crate) async fn head(&self) -> Result<Position, SourceError> {
        (self.read_head)().await
    }

    /// Up to `limit` events after a position, those that match among them. Fewer are all there are.
    pub(crate) async fn read(
        &self,
        filter: &TopicFilter,
        after: Position,
        limit: u32,
    ) -> ReadEvents {
        (self.read_after)(filter, after, limit).await
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("head", &*self.head.borrow()).finish_non_exhaustive()
    }
}

/// The bridge as a child: begins at the sealed head, and after a restart where it stopped.
#[must_use]
pub fn child(bus: &Bus, source: Source) -> ChildSpec {
    let bus = bus.clone();
    bus.attach(&source);
    ChildSpec::process("bridge", move || Bridge { bus: bus.clone(), source: source.clone() })
}

struct Bridge {
    bus: Bus,
    source: Source,
}

impl Process for Bridge {
    /// Finds the head before anything that starts later can append, so that what follows is told. A
    /// log that does not answer is asked again by the loop.
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        if self.bus.published().is_none()
            && let Ok(head) = self.source.head().await
        {
            self.bus.begin_at(head);
        }
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        while !context.is_stopping() {
            let Err(error) = self.follow(context).await else {
                break;
            };
            tracing::warn!(error = &*error as &dyn std::error::Error, "the bus waits for the log");
            tokio::select! {
                () = context.stopping() => {}
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
            }
        }
        Ok(())
    }
}

impl Bridge {
    async fn follow(&mut self, context: &RunContext) -> Result<(), SourceError> {
        let mut position = match self.bus.published() {
            Some(position) => position,
            None => self.bus.begin_at(self.source.head().await?),
        };
        while !context.is_stopping() {
            self.source.head.mark_unchanged();
            let events = self.source.read(&TopicFilter::All, position, BATCH_EVENTS_MAX).await?;
            if let Some(last) = events.last() {
                position = last.position;
                self.bus.publish(events.into_iter().map(Arc::new)).await;
                continue;
            }
            tokio::select! {
                changed = self.source.head.changed() => {
                    if changed.is_err() {
                        // The log's handle is gone: from now on only the slow scan is left.
                        tokio::time::sleep(SCAN_INTERVAL).await;
                    }
                }
                () = context.stopping() => {}
                () = tokio::time::sleep(SCAN_INTERVAL) => {}
            }
        }
        Ok(())
    }
}
