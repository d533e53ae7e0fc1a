//! How fast a rebuild goes, and how long it must wait to go no faster.

use std::time::Duration;

use tokio::time::Instant;

/// Counts what was done and when.
pub(super) struct Pace {
    began: Instant,
    events: u64,
    last: Instant,
    /// Events per second, lately.
    pub(super) events_per_second: u64,
    /// Positions per second, lately.
    pub(super) positions_per_second: u64,
}

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, events: 0, last: now, events_per_second: 0, positions_per_second: 0 }
    }

    /// So much was done since the last time.
    pub(super) fn passed(&mut self, events: u64, positions: u64) {
        let elapsed = self.last.elapsed();
        self.last = Instant::now();
        self.events += events;
        let smooth = |before: u64, count| match (before, per_second(count, elapsed)) {
            (0, now) => now,
            (before, now) => (before * 3 + now) / 4,
        };
        self.events_per_second = smooth(self.events_per_second, events);
        self.positions_per_second = smooth(self.positions_per_second, positions);
    }

    /// How long to wait, so that there were no more than `throttle` events per second.
    pub(super) fn wait(&self, throttle: u32) -> Duration {
        wait(self.events, throttle, self.began.elapsed())
    }
}

fn wait(events: u64, throttle: u32, elapsed: Duration) -> Duration {
    let due = Duration::from_micros(events * 1_000_000 / u64::from(throttle.max(1)));
    due.saturating_sub(elapsed)
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_of_a_hundred_makes_fifty_events_take_half_a_second() {
        let cases = [(100, 400), (500, 0), (700, 0)];

        for (elapsed, expected) in cases {
            let elapsed = Duration::from_millis(elapsed);
            assert_eq!(wait(50, 100, elapsed), Duration::from_millis(expected), "{elapsed:?}");
        }
    }

    #[test]
    fn a_rate_is_told_for_whatever_time_it_took() {
        assert_eq!(per_second(50, Duration::from_millis(100)), 500);
        assert_eq!(per_second(0, Duration::ZERO), 0);
    }
}
