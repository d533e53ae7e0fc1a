//! Where a rebuild gets its events: from the log, up to the live cursor.

use kernel::Position;
use sqlx::PgConnection;

use super::{ReadModel, ReplayError};
use crate::log::Log;
use crate::sealed::SealedEvent;
use crate::{cursor, read, transaction};

/// Positions looked through at once for events of the wanted types.
const SCAN_POSITIONS_MAX: i64 = 50_000;

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
    /// The live cursor as last seen.
    bound: Position,
}

impl Source {
    pub(super) fn new(model: ReadModel, log: Log, batch_max: u32) -> Self {
        Self { model, log, batch_max, bound: Position::ORIGIN }
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
        let mut reading = transaction::begin_reading(self.log.pool()).await?;
        if position >= self.bound {
            let live = cursor::find(&mut reading, &self.model.name).await?;
            self.bound = live.unwrap_or(Position::ORIGIN);
        }
        let batch = if position < self.bound {
            Some(self.batch(&mut reading, position, self.bound).await?)
        } else {
            None
        };
        reading.rollback().await?;
        Ok(batch)
    }

    /// The batch after `position`, at most up to `bound`, wherever the live cursor stands.
    pub(super) async fn read_up_to(
        &self,
        position: Position,
        bound: Position,
    ) -> Result<Batch, ReplayError> {
        let mut reading = transaction::begin_reading(self.log.pool()).await?;
        let batch = self.batch(&mut reading, position, bound).await?;
        reading.rollback().await?;
        Ok(batch)
    }

    async fn batch(
        &self,
        reading: &mut PgConnection,
        position: Position,
        bound: Position,
    ) -> Result<Batch, ReplayError> {
        let until = Position(bound.0.min(position.0 + SCAN_POSITIONS_MAX));
        let filter = &self.model.filter;
        let events = read::matching(reading, position, until, filter, self.batch_max).await?;
        let is_full = events.len() >= self.batch_max as usize;
        let to = events.last().filter(|_| is_full).map_or(until, |last| last.position);
        Ok(Batch { events, to })
    }
}
