//! Batches: the next sealed events that a lane wants, and up to where they are all.

use kernel::{OrgId, Position};
use sqlx::{PgConnection, PgPool};

use super::filter::View;
use super::lane::Lane;
use crate::read::{self, Sieve};
use crate::sealed::{ReadError, SealedEvent};
use crate::transaction;

/// Positions looked through at once for events of interest.
const SCAN_POSITIONS_MAX: i64 = 10_000;

/// What is to be read.
#[derive(Debug, Clone)]
pub(super) struct Request {
    view: View,
    after: Position,
    until: Position,
    /// Events at most.
    limit: u32,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Batch {
    /// It begins after this position.
    pub(super) after: Position,
    /// All events of interest up to here are in it.
    pub(super) to: Position,
    /// In order.
    pub(super) events: Vec<SealedEvent>,
}

impl Request {
    /// The events in `view` after `after`, up to `head` or as far as one looks at once.
    pub(super) fn new(view: View, after: Position, head: Position, limit: u32) -> Self {
        let until = Position(head.0.min(after.0.saturating_add(SCAN_POSITIONS_MAX)));
        Self { view, after, until, limit }
    }

    /// The same of one organisation, parked or not.
    pub(super) fn of_organisation(mut self, org_id: OrgId) -> Self {
        let filter = self.view.filter.only_of(org_id);
        self.view = View { filter, lane: Lane::ONLY, parked: Vec::new() };
        self
    }

    pub(super) async fn read(self, pool: &PgPool) -> Result<Batch, ReadError> {
        let mut reading = transaction::begin_reading(pool).await?;
        let events = self.events(&mut reading).await?;
        reading.rollback().await?;
        let is_full = events.len() >= self.limit as usize;
        let last = events.last().filter(|_| is_full).map(|event| event.position);
        Ok(Batch { after: self.after, to: last.unwrap_or(self.until), events })
    }

    async fn events(&self, connection: &mut PgConnection) -> Result<Vec<SealedEvent>, ReadError> {
        let View { filter, lane, parked } = &self.view;
        let wants_org = |org_id| {
            Lane::of(org_id, lane.count) == *lane
                && filter.wants_org(org_id)
                && !parked.contains(&org_id)
        };
        let wants_sort = |domain: &str, event_type: &str| filter.wants_sort(domain, event_type);
        let sieve =
            Sieve { wants_org: &wants_org, names: filter.only_names(), wants_sort: &wants_sort };
        read::sifted(connection, self.after, self.until, &sieve, self.limit).await
    }
}
