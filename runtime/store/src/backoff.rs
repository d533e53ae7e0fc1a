//! Back-off: how long to wait before trying again. A dead dependency is no crash; it is waited for.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first wait.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Counts failures in a row and says how long to wait: 100 ms, doubled each time up to 5 s, with a
/// quarter of jitter so that many loops do not return to a recovering database in step.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure; answers how long to wait.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = Self::wait(self.failures, RandomState::new().hash_one(self.failures));
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// It worked again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn wait(failures: u32, random: u64) -> Duration {
        let full = WAIT_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(WAIT_MAX);
        let quarter = u64::try_from(full.as_micros() / 4).unwrap_or(u64::MAX);
        full.saturating_sub(Duration::from_micros(random % (quarter + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds() {
        let waits: Vec<u128> = (0..8).map(|n| Backoff::wait(n, 0).as_millis()).collect();

        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        for random in [1, 17, 25_000, u64::MAX] {
            let wait = Backoff::wait(0, random);

            assert!(wait <= Duration::from_millis(100) && wait >= Duration::from_millis(75));
        }
    }

    #[test]
    fn success_begins_anew() {
        let mut backoff = Backoff::default();
        backoff.next_wait();
        backoff.next_wait();

        backoff.reset();

        assert!(backoff.next_wait() <= WAIT_MIN);
    }
}
