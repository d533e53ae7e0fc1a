//! Back-off: how long to wait before trying again. Pure.
//!
//! The jitter is drawn from the identity of what waits and not from a random source, so that a
//! test can foretell it and a thousand jobs that failed together still come back apart.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// No job waits longer than this for its next attempt.
pub const RETRY_MAX: Duration = Duration::from_hours(24);
/// Waiting less would meet the same fault again.
const RETRY_PAD: Duration = Duration::from_secs(15);

const OUTAGE_MIN: Duration = Duration::from_millis(100);
const OUTAGE_MAX: Duration = Duration::from_secs(5);
const EXCUSED_MIN: Duration = Duration::from_secs(1);
const EXCUSED_MAX: Duration = Duration::from_mins(1);

/// The wait after the `used`-th attempt that counts has failed: 15 s and 2^used s, up to a day,
/// give or take a tenth.
#[must_use]
pub fn retry(used: u32, seed: impl Hash) -> Duration {
    let exponential = Duration::from_secs(1_u64 << used.min(20));
    jittered((RETRY_PAD + exponential).min(RETRY_MAX), (used, seed)).min(RETRY_MAX)
}

/// The wait after an attempt that found its database away, when `excused` attempts did before.
#[must_use]
pub fn excused(excused: u32, seed: impl Hash) -> Duration {
    jittered(doubled(EXCUSED_MIN, excused, EXCUSED_MAX), (excused, seed))
}

/// The wait of a loop whose database has been away for `rounds` rounds: 100 ms to 5 s.
#[must_use]
pub fn outage(rounds: u32, seed: impl Hash) -> Duration {
    jittered(doubled(OUTAGE_MIN, rounds, OUTAGE_MAX), (rounds, seed))
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

/// The duration, up to a tenth shorter or longer.
fn jittered(duration: Duration, seed: impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let permille = 900 + u32::try_from(hasher.finish() % 201).expect("the remainder is below 201");
    duration / 1_000 * permille
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_each_attempt_that_counts() {
        let waits: Vec<u64> = (1..=5).map(|used| retry(used, "a job").as_secs()).collect();

        for (wait, expected) in waits.iter().zip([17_u64, 19, 23, 31, 47]) {
            let slack = expected / 10 + 1;
            assert!(wait.abs_diff(expected) <= slack, "{wait} s is not about {expected} s");
        }
    }

    #[test]
    fn no_wait_is_longer_than_its_limit() {
        for count in [0, 16, 17, 31, 32, 63, 64, u32::MAX] {
            assert!(retry(count, count) <= RETRY_MAX);
            assert!(excused(count, count) <= EXCUSED_MAX * 11 / 10);
            assert!(outage(count, count) <= OUTAGE_MAX * 11 / 10);
        }
    }

    #[test]
    fn jobs_that_failed_together_come_back_apart() {
        let mut waits: Vec<Duration> = (0..100).map(|job| retry(8, job)).collect();

        waits.sort_unstable();
        waits.dedup();

        assert!(waits.len() > 50, "only {} different waits", waits.len());
    }
}
