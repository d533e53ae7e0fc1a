//! Meters: how long jobs wait and run on this node, and how often its duties are done. They start
//! at zero with the process, and reading or counting them waits for nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::Row;

use crate::observe::Observers;
use crate::{JobState, Queues, database};

/// Up to which times are told apart, in microseconds: from half a millisecond to an hour.
pub const BOUNDS_US: [u64; 16] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
];

/// How often something took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// How often it took no longer than each of [`BOUNDS_US`] and longer than the one before; the
    /// last is what took longer than all of them.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// All of it together.
    pub sum: Duration,
}

/// How long jobs of a queue took on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueTimes {
    /// The queue.
    pub queue: String,
    /// From when a job was due to the start of its attempt, by the clock of the platform.
    pub wait: Times,
    /// From the start of an attempt to its end.
    pub run: Times,
}

/// How often a duty was done on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Rounds that did all there was to do.
    pub done: u64,
    /// Rounds that failed, an outage of the database included.
    pub failed: u64,
}

/// What waits in a queue, on all nodes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs that are not finished, by state; a state without jobs is absent.
    pub counts: BTreeMap<JobState, u64>,
    /// For how long the oldest available job has been due.
    pub oldest_available: Option<Duration>,
    /// Whether it claims no jobs.
    pub is_paused: bool,
}

/// The live form of [`Times`].
#[derive(Debug, Default)]
pub(crate) struct Meter {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Meter {
    pub(crate) fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn read(&self) -> Times {
        let counts = std::array::from_fn(|place| self.counts[place].load(Ordering::Relaxed));
        Times { counts, sum: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)) }
    }
}

/// What is measured of the jobs of one queue on this node.
#[derive(Debug, Default)]
pub(crate) struct QueueMeters {
    pub(crate) wait: Meter,
    pub(crate) run: Meter,
    pub(crate) observers: Observers,
}

/// What is measured and told of all queues of this node.
#[derive(Debug, Default)]
pub(crate) struct NodeMeters {
    pub(crate) observers: Observers,
    rounds: Mutex<BTreeMap<&'static str, Rounds>>,
}

impl NodeMeters {
    pub(crate) fn note_round(&self, duty: &'static str, is_done: bool) {
        let mut every = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let rounds = every.entry(duty).or_default();
        if is_done {
            rounds.done += 1;
        } else {
            rounds.failed += 1;
        }
    }
}

impl Queues {
    /// How long jobs took on this node, by queue.
    #[must_use]
    pub fn times(&self) -> Vec<QueueTimes> {
        let times = |slots: &crate::slots::Slots| QueueTimes {
            queue: slots.queue.clone(),
            wait: slots.meters.wait.read(),
            run: slots.meters.run.read(),
        };
        self.every_slots().iter().map(|slots| times(slots)).collect()
    }

    /// How often each duty was done on this node.
    #[must_use]
    pub fn rounds(&self) -> BTreeMap<&'static str, Rounds> {
        self.meters().rounds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What waits in each queue, by name. Jobs that are finished are not looked at, however many
    /// they are.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached.
    pub async fn backlog(&self) -> Result<BTreeMap<String, Backlog>, sqlx::Error> {
        let now = self.now();
        let mut transaction = database::begin(self.pool()).await?;
        let rows = sqlx::query(
            "select queue, state, count(*), min(scheduled_at) as oldest from jobs.jobs
             where state in ('available', 'scheduled', 'executing', 'retryable')
             group by queue, state",
        )
        .fetch_all(&mut *transaction)
        .await?;
        let paused: Vec<String> =
            sqlx::query_scalar("select queue from jobs.queues where paused_at is not null")
                .fetch_all(&mut *transaction)
                .await?;
        transaction.commit().await?;
        let mut every: BTreeMap<String, Backlog> = BTreeMap::new();
        for row in rows {
            let backlog = every.entry(row.try_get("queue")?).or_default();
            let Some(state) = JobState::from_name(row.try_get("state")?) else { continue };
            let count: i64 = row.try_get("count")?;
            backlog.counts.insert(state, count.unsigned_abs());
            if state == JobState::Available {
                let oldest: kernel::Timestamp = row.try_get("oldest")?;
                backlog.oldest_available = Some((now - oldest).to_std().unwrap_or_default());
            }
        }
        for queue in paused {
            every.entry(queue).or_default().is_paused = true;
        }
        Ok(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_at_the_first_bound_that_it_does_not_pass() {
        let meter = Meter::default();

        for us in [0, 500, 501, 3_600_000_000, 3_600_000_001] {
            meter.add(Duration::from_micros(us));
        }

        let times = meter.read();
        assert_eq!((times.counts[0], times.counts[1]), (2, 1));
        assert_eq!((times.counts[15], times.counts[16]), (1, 1));
        assert_eq!(times.sum, Duration::from_micros(7_200_001_002));
    }
}
