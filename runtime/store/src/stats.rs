//! What the sealer of this node has done: plain counters, for metrics to read at leisure.
//!
//! | counter | unit |
//! |---|---|
//! | `sealed_events` | events sealed by this node |
//! | `batches` | commits they took |
//! | `looks` | times it looked for new events, also in vain |
//! | `failures` | times Postgres was away or another leader took over |
//! | `sealing_us` | microseconds spent finding, chaining and storing |
//! | `oldest_wait_us` | microseconds the oldest event of the last batch had waited for its seal |
//! | `is_leader` | whether this node seals |

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kernel::Timestamp;

/// Counters of one node's sealer.
#[derive(Debug, Default)]
pub struct SealerStats {
    sealed_events: AtomicU64,
    batches: AtomicU64,
    looks: AtomicU64,
    failures: AtomicU64,
    sealing_us: AtomicU64,
    oldest_wait_us: AtomicU64,
    is_leader: AtomicBool,
}

/// [`SealerStats`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealerCounts {
    /// Events sealed by this node.
    pub sealed_events: u64,
    /// Commits they took.
    pub batches: u64,
    /// Times it looked for new events, also in vain.
    pub looks: u64,
    /// Times Postgres was away or another leader took over.
    pub failures: u64,
    /// Time spent finding, chaining and storing.
    pub sealing: Duration,
    /// How long the oldest event of the last batch had waited for its seal.
    pub oldest_wait: Duration,
    /// Whether this node seals.
    pub is_leader: bool,
}

impl SealerStats {
    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> SealerCounts {
        let micros = |counter: &AtomicU64| Duration::from_micros(counter.load(Ordering::Relaxed));
        SealerCounts {
            sealed_events: self.sealed_events.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            looks: self.looks.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            sealing: micros(&self.sealing_us),
            oldest_wait: micros(&self.oldest_wait_us),
            is_leader: self.is_leader.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.is_leader.load(Ordering::Relaxed)
    }

    pub(crate) fn looked(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leads(&self, is_leader: bool) {
        self.is_leader.store(is_leader, Ordering::Relaxed);
    }

    pub(crate) fn sealed(
        &self,
        events: usize,
        took: Duration,
        oldest: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.sealed_events.fetch_add(events as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.sealing_us.fetch_add(whole_micros(took), Ordering::Relaxed);
        let waited = oldest.and_then(|oldest| (now - oldest).to_std().ok());
        self.oldest_wait_us.store(whole_micros(waited.unwrap_or_default()), Ordering::Relaxed);
    }
}

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
