//! Where a rebuild gets its events: from the log, up to the live cursor.

use std::collections::VecDeque;

use kernel::Position;
use sqlx::PgConnection;

use super::{ReadModel, ReplayError};
use crate::consumer::stall;
use crate::log::Log;
use crate::read::Run;
use crate::sealed::SealedEvent;
use crate::{cursor, read, transaction};

/// Positions looked through at once for events of the wanted types.
const SCAN_POSITIONS_MAX: i64 = 50_000;

/// Stretches of a run that are looked through for one batch, so that progress is seen meanwhile.
const STRETCHES_MAX: u32 = 5;

/// Events that follow each other, and the position up to which nothing is missing.
pub(super) struct Batch {
    pub(super) events: Vec<SealedEvent>,
    pub(super) to: Position,
}

/// The events a read model follows.
pub(super) struct Source {
    model: ReadModel,
    log: Log,
    /// Events in a batch at most.
    batch_max: u32,
    /// Whether it is read batch by batch: what reads ahead would hold a snapshot for as long as a
    /// throttled rebuild makes it wait, and keep Postgres from tidying up everywhere.
    is_slow: bool,
    /// The live cursor as last seen.
    bound: Position,
    /// What reads up to there.
    run: Option<Reading>,
}

/// A run through the log, and what it has read but nobody has taken.
struct Reading {
    run: Run,
    events: VecDeque<SealedEvent>,
    /// What an operator had the live consumer leave out, and is left out here too.
    skipped: Vec<Position>,
    /// The last position it has looked at.
    position: Position,
    /// The end of the last batch.
    taken: Position,
}

impl Source {
    pub(super) fn new(model: ReadModel, log: Log, batch_max: u32, is_slow: bool) -> Self {
        Self { model, log, batch_max, is_slow, bound: Position::ORIGIN, run: None }
    }

    /// The live cursor as last seen.
    pub(super) fn bound(&self) -> Position {
        self.bound
    }

    /// The batch after `position`; nothing when the live cursor is reached.
    ///
    /// What lies beyond that cursor is left to it: the two sides can be compared only where they
    /// stand at the same event.
    pub(super) async fn read(&mut self, position: Position) -> Result<Option<Batch>, ReplayError> {
        if let Some(batch) = self.take().await? {
            return Ok(Some(batch));
        }
        let mut reading = transaction::begin_reading(self.log.pool()).await?;
        if position >= self.bound {
            let live = cursor::find(&mut reading, &self.model.name).await?;
            self.bound = live.unwrap_or(Position::ORIGIN);
        }
        let ahead = self.bound.0 - position.0;
        let batch = match ahead {
            ..=0 => None,
            _ if self.is_slow || ahead <= i64::from(self.batch_max) => {
                Some(self.batch(&mut reading, position, self.bound).await?)
            }
            _ => {
                let (name, bound) = (&self.model.name, self.bound);
                let skipped = stall::skipped_between(&mut reading, name, position, bound).await?;
                let run = Run::over(self.log.pool(), position, bound).await?;
                let run = run.of_types(&self.model.filter);
                let events = VecDeque::new();
                self.run = Some(Reading { run, events, skipped, position, taken: position });
                self.take().await?
            }
        };
        reading.rollback().await?;
        Ok(batch)
    }

    /// The next batch of the run, if there is one.
    async fn take(&mut self) -> Result<Option<Batch>, ReplayError> {
        let Some(reading) = &mut self.run else { return Ok(None) };
        let batch_max = self.batch_max as usize;
        let (mut is_over, mut looked) = (false, 0);
        while reading.events.len() < batch_max && looked < STRETCHES_MAX && !is_over {
            match reading.run.next().await? {
                None => is_over = true,
                Some(stretch) => {
                    for row in &stretch.rows {
                        if !reading.skipped.contains(&row.position) {
                            reading.events.extend(row.event()?);
                        }
                    }
                    (reading.position, looked) = (stretch.position, looked + 1);
                }
            }
        }
        let count = reading.events.len().min(batch_max);
        let events: Vec<SealedEvent> = reading.events.drain(..count).collect();
        let last = events.last().map(|event| event.position);
        let to = last.filter(|_| !reading.events.is_empty()).unwrap_or(reading.position);
        let has_moved = to > reading.taken;
        reading.taken = to;
        if is_over && reading.events.is_empty() {
            self.run = None;
        }
        Ok(has_moved.then_some(Batch { events, to }))
    }

    /// The batch after `position`, at most up to `bound`, wherever the live cursor stands.
    pub(super) async fn read_up_to(
        &mut self,
        position: Position,
        bound: Position,
    ) -> Result<Batch, ReplayError> {
        let mut reading = transaction::begin_reading(self.log.pool()).await?;
        let batch = self.batch(&mut reading, position, bound).await?;
        reading.rollback().await?;
        Ok(batch)
    }

    async fn batch(
        &mut self,
        reading: &mut PgConnection,
        position: Position,
        bound: Position,
    ) -> Result<Batch, ReplayError> {
        let until = Position(bound.0.min(position.0 + SCAN_POSITIONS_MAX));
        let filter = &self.model.filter;
        let mut events = read::matching(reading, position, until, filter, self.batch_max).await?;
        let is_full = events.len() >= self.batch_max as usize;
        let to = events.last().filter(|_| is_full).map_or(until, |last| last.position);
        // What an operator had the live consumer leave out is left out here too.
        let skipped = stall::skipped_between(reading, &self.model.name, position, to).await?;
        events.retain(|event| !skipped.contains(&event.position));
        Ok(Batch { events, to })
    }
}
