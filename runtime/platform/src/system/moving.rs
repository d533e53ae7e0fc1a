//! What still moves: the consequences of calls that have not happened yet.

use kernel::Position;
use store::read;

use super::System;
use crate::refusal::Result;
use crate::subtree;

impl System {
    /// What still moves: unsealed events, cursors behind the head, jobs due or running; one phrase
    /// each, nothing when all consequences of all calls have happened.
    pub async fn what_moves(&self) -> Result<Vec<String>> {
        let mut moving = Vec::new();
        // One snapshot for all questions: a job that ends between two of them becomes an event.
        let repeatable = "begin isolation level repeatable read read only; \
                          set local role finnest_runtime";
        let mut reading = store::open(&self.inner.pool, repeatable).await?;
        let unsealed = read::unsealed_count(&mut reading).await?;
        if unsealed > 0 {
            moving.push(format!("{unsealed} unsealed events"));
        }
        let head = read::head(&mut reading).await?;
        let cursors = store::cursor::list(&mut reading).await?;
        for following in self.inner.catalog.domains().iter().flat_map(subtree::cursors) {
            let lanes = cursors.iter().filter(|cursor| cursor.consumer == following.name);
            let position = lanes.map(|lane| lane.position).min().unwrap_or(Position::ORIGIN);
            let waiting =
                read::matching(&mut reading, position, head, &following.filter, 1).await?;
            if !waiting.is_empty() {
                moving.push(format!("the cursor {} at {position}", following.name));
            }
        }
        for stall in store::consumer::stall::list(&mut reading).await? {
            let (consumer, settled) = (stall.consumer, stall.settled_position);
            moving.push(format!("{consumer}, stalled for {} after {settled}", stall.org_id));
        }
        let unsettled = jobs::drain::count_unsettled(&mut reading, self.now()).await?;
        moving.extend(unsettled.iter().map(ToString::to_string));
        reading.rollback().await?;
        Ok(moving)
    }
}
