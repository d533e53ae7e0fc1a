//! Heavy work: what keeps a core busy for tens of milliseconds, such as hashing a password.
//!
//! It runs beside the threads that answer requests, a few at a time, and few may wait for it: who
//! guesses passwords by the thousand makes others who sign in wait, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::refusal::{Error, Result};
use crate::system::System;

/// How much heavy work may wait for its turn; beyond that it is refused.
const WAITING_MAX: usize = 32;
/// When whoever was refused may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where heavy work is done.
#[derive(Debug)]
pub(crate) struct Heavy {
    /// Who does something.
    busy: Arc<Semaphore>,
    /// Who does something or waits.
    admitted: Arc<Semaphore>,
    now: Arc<AtomicUsize>,
    peak: AtomicUsize,
    max: usize,
}

impl Heavy {
    /// Room for half of the machine's cores.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with_room_for((cores / 2).max(1))
    }

    fn with_room_for(max: usize) -> Self {
        Self {
            busy: Arc::new(Semaphore::new(max)),
            admitted: Arc::new(Semaphore::new(max + WAITING_MAX)),
            now: Arc::default(),
            peak: AtomicUsize::new(0),
            max,
        }
    }

    /// How much is done at a time.
    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// How much was done at a time at most, so far.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Does `work` when its turn has come.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let Ok(admitted) = self.admitted.clone().try_acquire_owned() else {
            let message = "too much is being checked at once; ask again in a moment";
            return Err(Error::unavailable(message, RETRY_AFTER));
        };
        let busy = self.busy.clone().acquire_owned().await.map_err(Error::failure)?;
        let now = self.now.clone();
        self.peak.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        // The places go along: work is done to its end even if nobody waits for it any more.
        let done = tokio::task::spawn_blocking(move || {
            let output = work();
            now.fetch_sub(1, Ordering::Relaxed);
            drop((busy, admitted));
            output
        });
        done.await.map_err(Error::failure)
    }
}

impl System {
    /// Does what keeps a core busy, such as hashing a password, beside the threads that answer
    /// requests and a few at a time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many wait for the same; a failure when `work` panics.
    pub async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.heavy().run(work).await
    }

    /// How much [`System::compute`] does at a time at most, and how much it ever did.
    #[must_use]
    pub fn computing(&self) -> (usize, usize) {
        (self.heavy().max(), self.heavy().peak())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::refusal::Kind;

    #[tokio::test(flavor = "multi_thread")]
    async fn of_all_who_come_at_once_few_are_served_and_few_wait() {
        let heavy = Heavy::with_room_for(2);
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));

        let works = (0..50).map(|_| {
            let gate = gate.clone();
            heavy.run(move || {
                let gate = gate.lock().expect("no holder of this lock panics");
                gate.recv().is_ok()
            })
        });
        let opening = async {
            for _ in 0..34 {
                open.send(()).expect("the works hold the other end");
            }
        };
        let (done, ()) = tokio::join!(join_all(works), opening);

        let refused = done.iter().filter_map(|done| done.as_ref().err());
        assert_eq!(refused.clone().count(), 16);
        assert!(refused.into_iter().all(|error| error.kind() == Kind::Unavailable));
        assert!(heavy.peak() <= 2);
        assert!(matches!(heavy.run(|| 7).await, Ok(7)));
    }
}
