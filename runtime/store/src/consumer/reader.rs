//! One lane's place in the log, and the step that moves it.

mod commit;
mod stalled;

use std::time::Duration;

use kernel::Position;
use tokio::time::Instant;

use super::ConsumerError;
use super::batch::{Batch, Request};
use super::filter::View;
use super::lane::Passed;
use super::open::{Opened, Working};
use super::stall::Waitings;
use crate::sealed::{ReadError, SealedEvent};
use crate::{read, transaction};
pub(crate) use commit::message_of;
use commit::{Deed, Ended, unavailable};

/// Events applied in one commit at most.
const BATCH_EVENTS_MAX: u32 = 1_000;

/// Positions that may be read again after a crash because none of them was of interest. Saving the
/// cursor at every event that concerns others would make every event cost one write per consumer.
const UNSAVED_POSITIONS_MAX: i64 = 5_000;

/// How often the table is asked what an operator did about what stands in the way.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(300);

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many events had their effect.
    Applied(usize),
    /// Nothing of interest was there, but there is more to look through.
    Scanned,
    /// Another consumer of this name had moved the cursor; nothing was applied.
    Moved,
    /// A batch of several events failed as a whole; they are tried one by one.
    Careful,
    /// The lane waits for its next attempt at an event it could not digest.
    Held,
    /// Nothing more is sealed.
    CaughtUp,
}

impl From<sqlx::Error> for ConsumerError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<ReadError> for ConsumerError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error)
    }
}

/// Where a lane stands.
#[derive(Debug)]
pub(super) struct Reader {
    working: Working,
    /// Where the cursor stands in the table.
    saved: Position,
    /// What the table has beside the position; see [`Standing::epoch`].
    epoch: i64,
    /// What earlier layouts have done already.
    passed: Passed,
    /// Up to where there was nothing of interest after it.
    scanned: Position,
    /// The head as last seen.
    head: Position,
    /// Events in the next batch at most; shrinks to one when a batch fails, grows as events
    /// succeed.
    batch_max: u32,
    /// What was read while the batch before it was applied.
    ahead: Option<Batch>,
    /// What stands in the way.
    waitings: Waitings,
    /// When the table was last asked about that.
    polled: Instant,
    /// Whether the last step was about a parked organisation, so that this one is not.
    has_minded: bool,
}

impl Reader {
    /// Finds the cursor, or makes it.
    pub(super) async fn open(working: Working) -> Result<Self, ConsumerError> {
        let Opened { position, epoch, passed, waitings } = working.open().await?;
        Ok(Self {
            working,
            saved: position,
            epoch,
            passed,
            scanned: position,
            head: position,
            batch_max: BATCH_EVENTS_MAX,
            ahead: None,
            waitings,
            polled: Instant::now(),
            has_minded: false,
        })
    }

    /// Tries at once whatever waits for its next attempt.
    pub(super) fn hurry(&mut self) {
        self.waitings.values_mut().for_each(|waiting| waiting.due = Instant::now());
    }

    /// Everything up to here has had its effect, is of no interest, or waits with its organisation.
    pub(super) fn position(&self) -> Position {
        self.scanned
    }

    /// How many sealed events lie before it, of interest or not.
    pub(super) fn behind(&self) -> u64 {
        u64::try_from(self.head.0 - self.scanned.0).unwrap_or_default()
    }

    /// How many organisations wait while the lane goes on.
    pub(super) fn parked_count(&self) -> usize {
        self.waitings.values().filter(|waiting| waiting.is_parked).count()
    }

    /// When there is something to do although nothing new is sealed.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.waitings.values().map(|waiting| waiting.due).min()?;
        Some(due.min(self.polled + POLL_EVERY))
    }

    /// Reads one batch and gives it its effect.
    pub(super) async fn step(&mut self) -> Result<Step, ConsumerError> {
        if !self.waitings.is_empty()
            && let Some(step) = self.mind_stalls().await?
        {
            return Ok(step);
        }
        let known = *self.working.consumer.log.head().borrow();
        let is_news = known > self.scanned;
        let filter = &self.working.consumer.filter;
        if is_news && !self.working.consumer.log.may_hold(filter, self.scanned, known) {
            self.head = known;
            return self.pass(known).await;
        }
        let ahead = self.ahead.take().filter(|ahead| ahead.after == self.scanned);
        let batch = match ahead {
            Some(batch) => batch,
            None => self.read().await?,
        };
        let (to, mut events) = (batch.to, batch.events);
        events.retain(|event| event.position > self.passed.of(event.org_id));
        if events.is_empty() { self.pass(to).await } else { self.apply(events, to).await }
    }

    /// Passes what is of no interest.
    async fn pass(&mut self, until: Position) -> Result<Step, ConsumerError> {
        self.scanned = until;
        if self.scanned.0 - self.saved.0 >= UNSAVED_POSITIONS_MAX {
            self.save().await?;
        }
        let is_caught_up = self.scanned >= self.head;
        Ok(if is_caught_up { Step::CaughtUp } else { Step::Scanned })
    }

    /// Saves how far it has looked; answers where the cursor stands.
    pub(super) async fn save(&mut self) -> Result<Position, ConsumerError> {
        if self.scanned > self.saved {
            match self.commit(self.scanned, Deed::Nothing, Vec::new()).await? {
                Ended::Committed => self.saved = self.scanned,
                Ended::Moved => self.reopen().await?,
                Ended::Refused(error) => return Err(unavailable(error)),
            }
        }
        Ok(self.saved)
    }

    fn view(&self) -> View {
        let parked = self.waitings.iter().filter(|(_, waiting)| waiting.is_parked);
        View {
            filter: self.working.consumer.filter.clone(),
            lane: self.working.lane,
            parked: parked.map(|(org_id, _)| *org_id).collect(),
        }
    }

    /// The next batch.
    async fn read(&mut self) -> Result<Batch, ConsumerError> {
        let pool = self.working.consumer.log.pool();
        // What this node knows saves a question; when that is nothing new, the table is asked.
        let known = *self.working.consumer.log.head().borrow();
        self.head = if known > self.scanned {
            known
        } else {
            let mut reading = transaction::begin_reading(pool).await?;
            let head = read::head(&mut reading).await?;
            reading.rollback().await?;
            head.max(self.scanned)
        };
        let (from, to) = (self.scanned, self.head);
        if from == to {
            return Ok(Batch { after: from, to, events: Vec::new() });
        }
        Ok(Request::new(self.view(), from, to, self.batch_max).read(pool).await?)
    }

    /// Gives a batch its effect, and reads the next one meanwhile.
    async fn apply(
        &mut self,
        events: Vec<SealedEvent>,
        to: Position,
    ) -> Result<Step, ConsumerError> {
        let count = events.len();
        let first = (events[0].org_id, events[0].position, events[0].event_id);
        let held = self.waitings.iter().find(|(_, waiting)| !waiting.is_parked);
        let held = held.map(|(org_id, waiting)| (*org_id, waiting.position));
        let is_past = held.is_some_and(|(_, at)| at.is_some_and(|position| position <= to));
        let deed =
            held.filter(|_| is_past).map_or(Deed::Nothing, |(org_id, _)| Deed::Clear(org_id));
        let next = (to < self.head && self.batch_max == BATCH_EVENTS_MAX)
            .then(|| Request::new(self.view(), to, self.head, self.batch_max));
        let reading = async {
            match next {
                // Read again if it fails, and then told.
                Some(next) => next.read(self.working.consumer.log.pool()).await.ok(),
                None => None,
            }
        };
        let (ended, ahead) = tokio::join!(self.commit(to, deed, events), reading);
        match ended? {
            Ended::Committed => {
                if let (true, Some((org_id, _))) = (is_past, held) {
                    self.waitings.remove(&org_id);
                    self.epoch += 1;
                }
                self.arrive(to);
                self.ahead = ahead;
                self.batch_max = self.batch_max.saturating_mul(2).min(BATCH_EVENTS_MAX);
                (self.working.consumer.on_committed)();
                Ok(Step::Applied(count))
            }
            Ended::Moved => self.reopen().await.map(|()| Step::Moved),
            Ended::Refused(_) if count > 1 => {
                self.batch_max = 1;
                Ok(Step::Careful)
            }
            Ended::Refused(error) => self.fail(first.0, first.1, first.2, error).await,
        }
    }

    /// The cursor stands at `to` now.
    fn arrive(&mut self, to: Position) {
        self.saved = to;
        self.scanned = self.scanned.max(to);
        self.passed.forget(to);
    }

    /// Somebody else has moved the cursor; goes on from there.
    async fn reopen(&mut self) -> Result<(), ConsumerError> {
        *self = Self::open(self.working.clone()).await?;
        Ok(())
    }
}
