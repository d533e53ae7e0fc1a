//! Counters of a queue on this node, for metrics: they start at zero with the process.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened in a queue on this node, to be read at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs claimed, each of which became an attempt.
    pub claimed: u64,
    /// Attempts that completed their job.
    pub completed: u64,
    /// Attempts that failed, whether retried or discarded.
    pub failed: u64,
    /// Attempts after which their job waits for another.
    pub retried: u64,
    /// Jobs discarded because their attempts were used up.
    pub discarded: u64,
    /// Attempts that cancelled their job.
    pub cancelled: u64,
    /// Attempts that asked for more time.
    pub snoozed: u64,
    /// Attempts that did not count: something they need was away, or their node stopped.
    pub excused: u64,
    /// Attempts that ended after their job had been taken away from them.
    pub superseded: u64,
    /// Jobs taken back from attempts that were gone.
    pub rescued: u64,
}

/// One thing that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    Claimed,
    Completed,
    Failed,
    Retried,
    Discarded,
    Cancelled,
    Snoozed,
    Excused,
    Superseded,
    Rescued,
}

const COUNTS: usize = 10;

/// The live form of [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; COUNTS]);

impl Counters {
    pub(crate) fn add(&self, count: Count, amount: u64) {
        self.0[count as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counts {
        let at = |count: Count| self.0[count as usize].load(Ordering::Relaxed);
        Counts {
            claimed: at(Count::Claimed),
            completed: at(Count::Completed),
            failed: at(Count::Failed),
            retried: at(Count::Retried),
            discarded: at(Count::Discarded),
            cancelled: at(Count::Cancelled),
            snoozed: at(Count::Snoozed),
            excused: at(Count::Excused),
            superseded: at(Count::Superseded),
            rescued: at(Count::Rescued),
        }
    }
}
