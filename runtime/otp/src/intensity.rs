//! Restart intensity: how many restarts a supervisor tolerates before it gives up.
//!
//! A supervisor that restarts for ever hides a fault; one that never restarts is no supervisor.
//! The window slides: only restarts that are no older than `within` count.
//!
//! **Invariant:** this module reads no clock; the caller passes the instant.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The limit: `max_restarts` within `within` are tolerated, the next one is fatal.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::{Intensity, Verdict, Window};
/// use tokio::time::Instant;
///
/// let limit = Intensity::new(1, Duration::from_secs(5));
/// let (mut window, now) = (Window::default(), Instant::now());
///
/// assert_eq!(window.record(limit, now), Verdict::Continue);
/// assert_eq!(window.record(limit, now + Duration::from_secs(5)), Verdict::GiveUp);
/// assert_eq!(window.record(limit, now + Duration::from_secs(6)), Verdict::Continue);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// How many restarts are tolerated; with 0 the first failure is fatal.
    pub max_restarts: u32,
    /// How long a restart counts.
    pub within: Duration,
}

/// What a supervisor does about one more restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The restart is within the limit and has been counted.
    Continue,
    /// It would be one too many; it has not been counted.
    GiveUp,
}

/// The restarts that still count.
#[derive(Clone, Debug, Default)]
pub struct Window(VecDeque<Instant>);

impl Intensity {
    /// `max_restarts` within `within`.
    #[must_use]
    pub const fn new(max_restarts: u32, within: Duration) -> Self {
        Self { max_restarts, within }
    }
}

impl Default for Intensity {
    /// Three restarts within five seconds.
    fn default() -> Self {
        Self::new(3, Duration::from_secs(5))
    }
}

impl Window {
    /// Counts a restart at `now`, unless that would exceed `limit`.
    pub fn record(&mut self, limit: Intensity, now: Instant) -> Verdict {
        while self.0.front().is_some_and(|then| now.duration_since(*then) > limit.within) {
            self.0.pop_front();
        }
        if self.0.len() >= limit.max_restarts as usize {
            return Verdict::GiveUp;
        }
        self.0.push_back(now);
        Verdict::Continue
    }

    /// How many restarts count at `now`.
    #[must_use]
    pub fn count(&self, limit: Intensity, now: Instant) -> usize {
        self.0.iter().filter(|then| now.duration_since(**then) <= limit.within).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_restart_after_the_last_tolerated_one_is_fatal() {
        let limit = Intensity::new(2, SECOND);
        let now = Instant::now();
        let mut window = Window::default();

        let verdicts = [0, 0, 0].map(|_| window.record(limit, now));

        assert_eq!(verdicts, [Verdict::Continue, Verdict::Continue, Verdict::GiveUp]);
    }

    #[test]
    fn with_no_restart_tolerated_the_first_is_fatal() {
        let verdict = Window::default().record(Intensity::new(0, SECOND), Instant::now());

        assert_eq!(verdict, Verdict::GiveUp);
    }

    #[test]
    fn a_restart_as_old_as_the_window_still_counts_and_an_older_one_does_not() {
        let limit = Intensity::new(1, SECOND);
        let start = Instant::now();
        let mut window = Window::default();
        window.record(limit, start);

        let at_the_edge = window.clone().record(limit, start + SECOND);
        let beyond = window.record(limit, start + SECOND + Duration::from_millis(1));

        assert_eq!(at_the_edge, Verdict::GiveUp);
        assert_eq!(beyond, Verdict::Continue);
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_restarts_than_tolerated(
            max_restarts in 0_u32..6,
            gaps in prop::collection::vec(0_u64..3_000, 1..60),
        ) {
            let limit = Intensity::new(max_restarts, SECOND);
            let mut now = Instant::now();
            let mut window = Window::default();
            let mut allowed: Vec<Instant> = Vec::new();

            for gap in gaps {
                now += Duration::from_millis(gap);
                let recent = allowed.iter().filter(|then| now - **then <= SECOND).count();
                let verdict = window.record(limit, now);
                let expected = recent < max_restarts as usize;
                prop_assert_eq!(verdict == Verdict::Continue, expected);
                if expected {
                    allowed.push(now);
                }
            }
        }
    }
}
