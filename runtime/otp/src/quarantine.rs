//! Quarantine: what a supervisor does with a subtree that gave up, instead of giving up itself.
//!
//! In OTP a subtree that exceeds its intensity takes its supervisor along, up to the node. That is
//! right for infrastructure and wrong for one business domain among many. A supervisor with a
//! quarantine leaves such a subtree down and tries again on a lengthening schedule; siblings do
//! not notice. It is explicit and off by default.
//!
//! **Invariant:** pure; the caller passes the instant.

use std::time::Duration;

use tokio::time::Instant;

/// How long a subtree stays down, round by round; the last entry repeats.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::{QuarantineSchedule, Strategy, SupervisorSpec};
///
/// let schedule = QuarantineSchedule::milliseconds(&[1_000, 5_000, 30_000]);
/// assert_eq!(schedule.wait(2), Duration::from_secs(5));
/// assert_eq!(schedule.wait(9), Duration::from_secs(30));
///
/// let domains = SupervisorSpec::new(Strategy::OneForOne).quarantine(schedule);
/// # assert_eq!(domains.check(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineSchedule(Vec<Duration>);

/// Where one subtree stands in the schedule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    served: u32,
    up_since: Option<Instant>,
}

impl QuarantineSchedule {
    /// A schedule of these waits.
    ///
    /// # Panics
    ///
    /// When it is empty: a quarantine without an end is a deletion.
    #[must_use]
    pub fn new(waits: impl IntoIterator<Item = Duration>) -> Self {
        let waits: Vec<_> = waits.into_iter().collect();
        assert!(!waits.is_empty(), "a quarantine schedule needs at least one wait");
        Self(waits)
    }

    /// A schedule of these waits in milliseconds.
    ///
    /// # Panics
    ///
    /// When it is empty.
    #[must_use]
    pub fn milliseconds(waits: &[u64]) -> Self {
        Self::new(waits.iter().copied().map(Duration::from_millis))
    }

    /// The wait of a round, counted from 1.
    #[must_use]
    pub fn wait(&self, round: u32) -> Duration {
        let place = (round.max(1) as usize - 1).min(self.0.len() - 1);
        self.0[place]
    }

    /// The waits, round by round.
    #[must_use]
    pub fn waits(&self) -> &[Duration] {
        &self.0
    }

    /// How long a subtree must stay up before its past is forgotten: the longest wait.
    #[must_use]
    pub fn forgiven_after(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }
}

impl Rounds {
    /// Notes that the subtree is up.
    pub(crate) fn up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// Begins the next round, or the first one after the subtree stayed up for long enough.
    pub(crate) fn next(&mut self, schedule: &QuarantineSchedule, now: Instant) -> (u32, Duration) {
        let forgiven = self
            .up_since
            .take()
            .is_some_and(|since| now.duration_since(since) >= schedule.forgiven_after());
        self.served = if forgiven { 1 } else { self.served.saturating_add(1) };
        (self.served, schedule.wait(self.served))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule() -> QuarantineSchedule {
        QuarantineSchedule::milliseconds(&[10, 50, 300])
    }

    #[test]
    fn the_wait_lengthens_and_then_stays_at_the_last_entry() {
        let now = Instant::now();
        let mut rounds = Rounds::default();

        let waits: Vec<_> = (0..5).map(|_| rounds.next(&schedule(), now).1.as_millis()).collect();

        assert_eq!(waits, [10, 50, 300, 300, 300]);
    }

    #[test]
    fn a_subtree_that_stayed_up_as_long_as_the_longest_wait_begins_anew() {
        let now = Instant::now();
        let mut rounds = Rounds::default();
        rounds.next(&schedule(), now);
        rounds.next(&schedule(), now);
        rounds.up(now);

        let (round, _) = rounds.next(&schedule(), now + Duration::from_millis(300));

        assert_eq!(round, 1);
    }

    #[test]
    fn a_subtree_that_fell_again_too_soon_is_not_forgiven() {
        let now = Instant::now();
        let mut rounds = Rounds::default();
        rounds.next(&schedule(), now);
        rounds.up(now);

        let (round, _) = rounds.next(&schedule(), now + Duration::from_millis(299));

        assert_eq!(round, 2);
    }

    proptest! {
        #[test]
        fn a_round_never_waits_less_than_the_one_before_when_the_schedule_rises(
            mut waits in prop::collection::vec(0_u64..10_000, 1..8),
            round in 1_u32..20,
        ) {
            waits.sort_unstable();
            let schedule = QuarantineSchedule::milliseconds(&waits);

            prop_assert!(schedule.wait(round) <= schedule.wait(round + 1));
        }
    }
}
