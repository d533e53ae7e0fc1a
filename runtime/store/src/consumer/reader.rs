//! One consumer's place in the log, and the step that moves it.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use kernel::{Position, is_outage};
use sqlx::{Postgres, Transaction};

use super::{ConsumeError, Consumer, ConsumerError, Start};
use crate::sealed::{ReadError, SealedEvent};
use crate::{cursor, read, transaction};

/// Events applied in one commit at most.
const BATCH_EVENTS_MAX: u32 = 500;

/// Positions looked through at once for events of the wanted types.
const SCAN_POSITIONS_MAX: i64 = 10_000;

/// Positions that may be read again after a crash because none of them was of interest. Saving the
/// cursor at every event that concerns others would make every event cost one write per consumer.
const UNSAVED_POSITIONS_MAX: i64 = 5_000;

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many events had their effect.
    Applied(usize),
    /// Nothing of interest was there, but there is more to look through.
    Scanned,
    /// Another consumer of this name had moved the cursor; nothing was applied.
    Moved,
    /// Nothing more is sealed.
    CaughtUp,
}

/// A step did nothing.
#[derive(Debug)]
pub(super) enum StepError {
    /// A batch of several events failed; the next step takes one event alone, to find which.
    Batch(
        #[expect(dead_code, reason = "for debugging; the single event will tell again")]
        ConsumeError,
    ),
    /// Told to whoever supervises the consumer.
    Failed(ConsumerError),
}

impl From<sqlx::Error> for StepError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<sqlx::Error> for ConsumerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Where a consumer stands.
#[derive(Debug)]
pub(super) struct Reader {
    consumer: Consumer,
    /// Where the cursor stands in the table.
    saved: Position,
    /// Up to where there was nothing of interest after it.
    scanned: Position,
    /// The head as last seen.
    head: Position,
    /// Events in the next batch at most; shrinks to one when a batch fails, grows as events
    /// succeed.
    batch_max: u32,
}

impl Reader {
    /// Finds the cursor, or makes it.
    pub(super) async fn open(consumer: Consumer) -> Result<Self, ConsumerError> {
        let mut transaction = transaction::begin(consumer.log.pool()).await?;
        let saved = match cursor::find(&mut transaction, &consumer.name).await? {
            Some(position) => position,
            None => create(&consumer, &mut transaction).await?,
        };
        transaction.commit().await?;
        Ok(Self { consumer, saved, scanned: saved, head: saved, batch_max: BATCH_EVENTS_MAX })
    }

    /// Everything up to here has had its effect or is of no interest.
    pub(super) fn position(&self) -> Position {
        self.scanned
    }

    /// How many sealed events lie before it, of interest or not.
    pub(super) fn behind(&self) -> u64 {
        u64::try_from(self.head.0 - self.scanned.0).unwrap_or_default()
    }

    /// Reads one batch and gives it its effect.
    pub(super) async fn step(&mut self) -> Result<Step, StepError> {
        let known = *self.consumer.log.head().borrow();
        let is_news = known > self.scanned;
        if is_news && !self.consumer.log.may_hold(&self.consumer.filter, self.scanned, known) {
            self.head = known;
            return self.pass(known).await;
        }
        let (events, until) = self.read().await?;
        let Some(last) = events.last() else { return self.pass(until).await };
        let is_full = events.len() >= self.batch_max as usize;
        let to = if is_full { last.position } else { until };
        self.apply(events, to).await
    }

    /// Passes what is of no interest.
    async fn pass(&mut self, until: Position) -> Result<Step, StepError> {
        self.scanned = until;
        if self.scanned.0 - self.saved.0 >= UNSAVED_POSITIONS_MAX {
            self.save().await.map_err(StepError::Failed)?;
        }
        let is_caught_up = self.scanned >= self.head;
        Ok(if is_caught_up { Step::CaughtUp } else { Step::Scanned })
    }

    /// Saves how far it has looked; answers where the cursor stands.
    pub(super) async fn save(&mut self) -> Result<Position, ConsumerError> {
        if self.scanned > self.saved {
            let mut transaction = transaction::begin(self.consumer.log.pool()).await?;
            if self.advance(&mut transaction, self.scanned).await? {
                transaction.commit().await?;
                self.saved = self.scanned;
            } else {
                transaction.rollback().await?;
                self.reopen().await?;
            }
        }
        Ok(self.saved)
    }

    /// The next batch, and the position up to which it is complete.
    async fn read(&mut self) -> Result<(Vec<SealedEvent>, Position), StepError> {
        let unavailable = |error: ReadError| StepError::Failed(ConsumerError::Unavailable(error));
        let mut reading = transaction::begin_reading(self.consumer.log.pool()).await?;
        // What this node knows saves a question; when that is nothing new, the table is asked.
        let known = *self.consumer.log.head().borrow();
        self.head = if known > self.scanned {
            known
        } else {
            read::head(&mut reading).await?.max(self.scanned)
        };
        let until = Position(self.head.0.min(self.scanned.0 + SCAN_POSITIONS_MAX));
        let events = read::matching(
            &mut reading,
            self.scanned,
            until,
            &self.consumer.filter,
            self.batch_max,
        )
        .await
        .map_err(unavailable)?;
        reading.rollback().await?;
        Ok((events, until))
    }

    /// Cursor and effect in one commit; the cursor first, because it locks out others of this name.
    async fn apply(&mut self, events: Vec<SealedEvent>, to: Position) -> Result<Step, StepError> {
        let count = events.len();
        let (position, event_id) = (events[0].position, events[0].event_id);
        let mut transaction = transaction::begin(self.consumer.log.pool()).await?;
        if !self.advance(&mut transaction, to).await? {
            transaction.rollback().await?;
            self.reopen().await.map_err(StepError::Failed)?;
            return Ok(Step::Moved);
        }
        let applied = AssertUnwindSafe((self.consumer.apply)(&mut transaction, events))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(ConsumeError::Panicked(message_of(&*panic))));
        let committed = match applied {
            Ok(()) => transaction.commit().await.map_err(ConsumeError::Database),
            Err(error) => {
                // What matters is the effect's own error; a failed rollback closes the connection.
                let _ = transaction.rollback().await;
                Err(error)
            }
        };
        match committed {
            Ok(()) => {
                self.saved = to;
                self.scanned = to;
                self.batch_max = self.batch_max.saturating_mul(2).min(BATCH_EVENTS_MAX);
                (self.consumer.on_committed)();
                Ok(Step::Applied(count))
            }
            Err(ConsumeError::Database(error)) if is_outage(&error) => Err(error.into()),
            Err(error) if count > 1 => {
                self.batch_max = 1;
                Err(StepError::Batch(error))
            }
            Err(source) => {
                Err(StepError::Failed(ConsumerError::Stalled { position, event_id, source }))
            }
        }
    }

    async fn advance(
        &self,
        transaction: &mut Transaction<'static, Postgres>,
        to: Position,
    ) -> Result<bool, sqlx::Error> {
        let now = self.consumer.log.clock().now();
        cursor::advance(transaction, &self.consumer.name, self.saved, to, now).await
    }

    /// Somebody else has moved the cursor; goes on from there.
    async fn reopen(&mut self) -> Result<(), ConsumerError> {
        *self = Self::open(self.consumer.clone()).await?;
        Ok(())
    }
}

async fn create(
    consumer: &Consumer,
    transaction: &mut Transaction<'static, Postgres>,
) -> Result<Position, sqlx::Error> {
    let position = match consumer.from {
        Start::Origin => Position::ORIGIN,
        Start::Now => read::head(transaction).await?,
    };
    let now = consumer.log.clock().now();
    cursor::create(transaction, &consumer.name, position, now).await?;
    // Another node may have made it first, at another position; the table decides.
    let position = cursor::find(transaction, &consumer.name).await?;
    Ok(position.unwrap_or(Position::ORIGIN))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
