//! The wall clock: what time records and schedules go by.
//!
//! Supervision itself (patience, restart windows) runs on tokio's monotonic time. What is written
//! down or promised to people runs on this clock, which a test can move by hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

/// The instant `delay` from now. One that is too far away to be told is as good as never, and
/// thirty years are.
pub(crate) fn instant_after(delay: Duration) -> Instant {
    later(Instant::now(), delay)
}

/// The instant `delay` after `start`; see [`instant_after`].
pub(crate) fn later(start: Instant, delay: Duration) -> Instant {
    start.checked_add(delay).unwrap_or_else(|| Instant::now() + NEVER)
}

/// The moment `delay` after `start`, or the last there is.
pub(crate) fn moment_after(start: DateTime<Utc>, delay: Duration) -> DateTime<Utc> {
    let delay = TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
    start.checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

const NEVER: Duration = Duration::from_hours(30 * 365 * 24);

/// A source of the present; cheap to clone, all clones tell the same time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::Clock;
///
/// let clock = Clock::manual(chrono::DateTime::UNIX_EPOCH);
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().to_rfc3339(), "1970-01-01T00:01:30+00:00");
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now: Mutex<DateTime<Utc>>,
    moved: watch::Sender<()>,
}

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until somebody calls [`Clock::advance`].
    #[must_use]
    pub fn manual(now: DateTime<Utc>) -> Self {
        let moved = watch::Sender::new(());
        Self(Source::Manual(Arc::new(Manual { now: Mutex::new(now), moved })))
    }

    /// The present.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else asks")]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System => Utc::now(),
            Source::Manual(manual) => *manual.now.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a manual clock forward and wakes the sleepers whose time has come.
    ///
    /// # Panics
    ///
    /// When this is the clock of the machine: nobody can move that one.
    pub fn advance(&self, by: Duration) {
        let Source::Manual(manual) = &self.0 else {
            panic!("only a manual clock can be advanced");
        };
        *manual.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
        manual.moved.send_replace(());
    }

    /// Sets a manual clock, also back, as an operator or a time server may set that of a machine.
    ///
    /// # Panics
    ///
    /// When this is the clock of the machine.
    pub fn set(&self, now: DateTime<Utc>) {
        let Source::Manual(manual) = &self.0 else {
            panic!("only a manual clock can be set");
        };
        *manual.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        manual.moved.send_replace(());
    }

    /// Waits until this clock has moved on by `duration`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + '_ {
        // The deadline is set by the call, not by the first poll.
        let deadline = moment_after(self.now(), duration);
        async move {
            let Source::Manual(manual) = &self.0 else {
                return tokio::time::sleep(duration).await;
            };
            let mut moved = manual.moved.subscribe();
            while self.now() < deadline && moved.changed().await.is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_when_it_is_moved_far_enough() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let sleep = clock.sleep(Duration::from_secs(10));
        tokio::pin!(sleep);

        clock.advance(Duration::from_secs(9));
        let early = futures_util::poll!(&mut sleep).is_ready();
        clock.advance(Duration::from_secs(1));
        sleep.await;

        assert!(!early);
        assert_eq!(clock.now(), DateTime::UNIX_EPOCH + Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_manual_clock_that_is_set_back_lets_its_sleepers_sleep_on() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH + Duration::from_secs(100));
        let sleep = clock.sleep(Duration::from_secs(10));
        tokio::pin!(sleep);

        clock.set(DateTime::UNIX_EPOCH);
        let early = futures_util::poll!(&mut sleep).is_ready();
        clock.set(DateTime::UNIX_EPOCH + Duration::from_secs(110));
        sleep.await;

        assert!(!early);
    }
}
