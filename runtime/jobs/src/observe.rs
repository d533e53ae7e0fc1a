//! Observers: what happens to jobs on this node, told to whoever wants to hear it.
//!
//! Telling waits for nobody. Who listens too slowly misses what does not fit and is told how much
//! that was; while nobody listens, nothing is even put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kernel::{JobId, Timestamp};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{Attempt, Queues};

/// So many events wait for the slowest observer; of more, it misses the oldest.
pub const OBSERVED_MAX: usize = 1_024;

/// Something that happened to a job on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// The queue.
    pub queue: String,
    /// The job.
    pub job_id: JobId,
    /// The name of the job.
    pub name: String,
    /// The number of its attempt.
    pub attempt: u32,
    /// What.
    pub news: News,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// An attempt began, after the job had been due for so long.
    Started {
        /// How long.
        waited: Duration,
    },
    /// The job is done.
    Completed,
    /// The attempt failed, and the job waits for the next one.
    Failed {
        /// Of what.
        error: String,
        /// Until when.
        until: Timestamp,
    },
    /// The job was given up; somebody has to look.
    Discarded {
        /// Why.
        error: String,
    },
    /// The job was refused, or is not needed any more.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// The job asked for more time.
    Snoozed {
        /// Until when.
        until: Timestamp,
    },
    /// The attempt does not count, because something it needs was away or its node stopped.
    Excused,
    /// The attempt ended after its job had been taken away from it.
    Superseded,
}

/// Everybody who observes the jobs of this node.
#[derive(Debug, Clone)]
pub(crate) struct Observers {
    count: Arc<AtomicUsize>,
    sender: broadcast::Sender<JobEvent>,
}

impl Default for Observers {
    fn default() -> Self {
        Self { count: Arc::default(), sender: broadcast::Sender::new(OBSERVED_MAX) }
    }
}

impl Observers {
    /// Tells what happened to the job of an attempt, if anybody listens.
    pub(crate) fn tell(&self, attempt: &Attempt, news: impl FnOnce() -> News) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        // Whoever listened a moment ago may be gone.
        let _ = self.sender.send(JobEvent {
            queue: attempt.queue.clone(),
            job_id: attempt.job_id,
            name: attempt.name.clone(),
            attempt: attempt.number,
            news: news(),
        });
    }
}

/// Hears what happens to the jobs of a node, until it is dropped.
#[derive(Debug)]
pub struct Observer {
    count: Arc<AtomicUsize>,
    receiver: broadcast::Receiver<JobEvent>,
}

/// What an observer hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// This happened.
    Event(JobEvent),
    /// So many events were missed, because the observer was too slow for them.
    Missed(u64),
}

impl Observer {
    /// Waits for the next event; `None` when the queues are gone.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Observed> {
        match self.receiver.recv().await {
            Ok(event) => Some(Observed::Event(event)),
            Err(RecvError::Lagged(missed)) => Some(Observed::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queues {
    /// Hears from now on what happens to the jobs of this node.
    #[must_use]
    pub fn observe(&self) -> Observer {
        let Observers { count, sender } = &self.meters().observers;
        let receiver = sender.subscribe();
        count.fetch_add(1, Ordering::Relaxed);
        Observer { count: count.clone(), receiver }
    }
}
