//! What a lane does about events it cannot digest.

use kernel::{EventId, OrgId, Position};
use tokio::time::Instant;

use super::commit::{Deed, Ended, unavailable};
use super::{BATCH_EVENTS_MAX, POLL_EVERY, Reader, Step};
use crate::consumer::batch::Request;
use crate::consumer::stall::{self, Failure, Waiting};
use crate::consumer::status::with_causes;
use crate::consumer::{ConsumeError, ConsumerError, OnPoison};
use crate::transaction;

/// Organisations parked at once at most, per lane. What so many cannot digest is no poison but a
/// fault that all have in common, and the lane waits for it.
const PARKED_MAX: usize = 100;

impl Reader {
    /// An event cannot be digested: its organisation is parked, or the lane waits.
    pub(super) async fn fail(
        &mut self,
        org_id: OrgId,
        position: Position,
        event_id: EventId,
        error: ConsumeError,
    ) -> Result<Step, ConsumerError> {
        let before = self.waitings.get(&org_id).filter(|known| known.position == Some(position));
        let was_parked = self.waitings.get(&org_id).is_some_and(|known| known.is_parked);
        let may_park = self.working.consumer.on_poison == OnPoison::ParkOrganisation
            && self.parked_count() < PARKED_MAX;
        let is_parked = was_parked || may_park;
        let failure = Failure {
            org_id,
            is_parked,
            settled: if is_parked { Position(position.0 - 1) } else { self.saved },
            position,
            event_id,
            error: with_causes(&error),
            attempts: before.map_or(0, |known| known.attempts).saturating_add(1),
        };
        // Parking an organisation is what lets the lane pass its event.
        let to = if is_parked && !was_parked { position } else { self.saved };
        match self.commit(to, Deed::Note(&failure), Vec::new()).await? {
            Ended::Committed => self.epoch += 1,
            Ended::Moved => return self.reopen().await.map(|()| Step::Moved),
            Ended::Refused(error) => return Err(unavailable(error)),
        }
        self.arrive(to);
        self.ahead = None;
        let waiting = Waiting {
            is_parked,
            looked: failure.settled,
            position: Some(position),
            attempts: failure.attempts,
            due: Instant::now() + failure.wait(),
            is_careful: true,
        };
        self.waitings.insert(org_id, waiting);
        Err(ConsumerError::Stalled { position, event_id, source: error })
    }

    /// Looks after what stands in the way; answers what was done, if that was a step.
    pub(super) async fn mind_stalls(&mut self) -> Result<Option<Step>, ConsumerError> {
        if self.polled.elapsed() >= POLL_EVERY && self.poll().await? {
            return self.reopen().await.map(|()| Some(Step::Moved));
        }
        let now = Instant::now();
        let due = self.waitings.iter().find(|(_, waiting)| waiting.is_parked && waiting.due <= now);
        self.has_minded = !self.has_minded && due.is_some();
        if let Some(org_id) = due.map(|(org_id, _)| *org_id).filter(|_| self.has_minded) {
            return self.catch_up(org_id).await.map(Some);
        }
        let is_held = self.waitings.values().any(|waiting| !waiting.is_parked && waiting.due > now);
        Ok(is_held.then_some(Step::Held))
    }

    /// Asks the table what an operator did; answers whether the cursor means something else now.
    async fn poll(&mut self) -> Result<bool, ConsumerError> {
        let working = &self.working;
        let mut reading = transaction::begin_reading(working.consumer.log.pool()).await?;
        let epoch: Option<i64> =
            sqlx::query_scalar("select epoch from events.cursors where name = $1")
                .bind(&*working.name)
                .fetch_optional(&mut *reading)
                .await?;
        let told = stall::of_lane(&mut reading, &working.consumer.name, working.lane).await?;
        reading.rollback().await?;
        for (org_id, waiting) in &mut self.waitings {
            if let Some(told) = told.get(org_id) {
                waiting.due = waiting.due.min(told.due);
            }
        }
        self.polled = Instant::now();
        Ok(epoch != Some(self.epoch))
    }

    /// Tries what waits of a parked organisation: its next batch, or that nothing is left.
    async fn catch_up(&mut self, org_id: OrgId) -> Result<Step, ConsumerError> {
        let waiting = &self.waitings[&org_id];
        let target = self.scanned.max(self.passed.of(org_id));
        if waiting.looked >= target {
            // From here on the lane takes its events along again.
            return match self.commit(self.scanned, Deed::Clear(org_id), Vec::new()).await? {
                Ended::Committed => {
                    self.epoch += 1;
                    self.waitings.remove(&org_id);
                    self.ahead = None;
                    self.arrive(self.scanned);
                    Ok(Step::Scanned)
                }
                Ended::Moved => self.reopen().await.map(|()| Step::Moved),
                Ended::Refused(error) => Err(unavailable(error)),
            };
        }
        let limit = if waiting.is_careful { 1 } else { BATCH_EVENTS_MAX };
        let request = Request::new(self.view(), waiting.looked, target, limit);
        let pool = self.working.consumer.log.pool();
        let batch = request.of_organisation(org_id).read(pool).await?;
        let (count, to) = (batch.events.len(), batch.to);
        let Some(first) = batch.events.first() else {
            self.looked(org_id, to);
            return Ok(Step::Scanned);
        };
        let (position, event_id) = (first.position, first.event_id);
        match self.commit(self.saved, Deed::Settle(org_id, to), batch.events).await? {
            Ended::Committed => {
                self.epoch += 1;
                self.looked(org_id, to);
                (self.working.consumer.on_committed)();
                Ok(Step::Applied(count))
            }
            Ended::Moved => self.reopen().await.map(|()| Step::Moved),
            Ended::Refused(_) if count > 1 => {
                if let Some(waiting) = self.waitings.get_mut(&org_id) {
                    waiting.is_careful = true;
                }
                Ok(Step::Careful)
            }
            Ended::Refused(error) => self.fail(org_id, position, event_id, error).await,
        }
    }

    /// Nothing of a parked organisation is left up to `to`.
    fn looked(&mut self, org_id: OrgId, to: Position) {
        if let Some(waiting) = self.waitings.get_mut(&org_id) {
            waiting.looked = to;
            waiting.position = None;
            waiting.attempts = 0;
            waiting.is_careful = false;
        }
    }
}
