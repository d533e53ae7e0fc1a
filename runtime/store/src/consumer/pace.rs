//! Pace: how soon a consumer that follows the head commits again.
//!
//! The first event after a pause is taken at once. Under load, what comes while others commit
//! shares one commit instead of costing one each: all lanes of a process together spend about one
//! connection's time on commits. One consumer alone therefore hardly waits, and ten of them wait
//! ten times as long as their commits take.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::Log;

/// The longest wait between two commits.
const PACE_MAX: Duration = Duration::from_millis(20);

/// Who has had nothing to commit for so long has no part in the load.
pub(super) const IDLE_AFTER: Duration = Duration::from_millis(100);

/// How many lanes of this process have committed lately.
#[derive(Debug, Default)]
pub(crate) struct Busy(AtomicU32);

/// One lane's part in the load of its process.
#[derive(Debug)]
pub(super) struct Pace {
    log: Log,
    is_busy: bool,
}

impl Pace {
    pub(super) fn new(log: &Log) -> Self {
        Self { log: log.clone(), is_busy: false }
    }

    /// A commit that began at `begun` is done; answers when the next one may begin.
    pub(super) fn committed(&mut self, begun: Instant) -> Instant {
        if !self.is_busy {
            self.is_busy = true;
            self.log.consumers().busy.0.fetch_add(1, Ordering::Relaxed);
        }
        let lanes = self.log.consumers().busy.0.load(Ordering::Relaxed).max(1);
        begun + between(begun.elapsed(), lanes)
    }

    /// Nothing has come for a while.
    pub(super) fn rest(&mut self) {
        if self.is_busy {
            self.is_busy = false;
            self.log.consumers().busy.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.rest();
    }
}

/// How far apart the beginnings of two commits lie that take so long, among so many busy lanes.
fn between(took: Duration, lanes: u32) -> Duration {
    took.saturating_mul(lanes).min(PACE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_lanes_commit_the_longer_each_waits() {
        let took = Duration::from_millis(2);

        assert_eq!(between(took, 1), took);
        assert_eq!(between(took, 5), took * 5);
        assert_eq!(between(took, 50), PACE_MAX);
    }
}
