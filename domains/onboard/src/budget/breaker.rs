//! The breaker of one organisation and stage: whether it is worth asking for money at all. Pure.
//!
//! Closed, every request asks the ledger. When the ledger says that the month's budget is used up,
//! the breaker opens and refuses without asking. It closes half way when the month rolls over, and
//! after a minute in any case since somebody may have raised the limit; the next answer closes or
//! opens it.

use chrono::TimeDelta;
use platform::Timestamp;

/// How long an open breaker believes what the ledger said.
const BELIEVES_FOR: TimeDelta = TimeDelta::minutes(1);

/// The state of a breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Requests ask the ledger.
    #[default]
    Closed,
    /// Requests are refused until then.
    Open {
        /// When it closes half way.
        until: Timestamp,
    },
    /// The next request asks the ledger for all.
    HalfOpen,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Ask the ledger.
    Ask,
    /// Come again at that time.
    Refuse(Timestamp),
}

impl Breaker {
    /// Lets a request through or refuses it.
    pub(crate) fn pass(&mut self, now: Timestamp) -> Passage {
        match *self {
            Self::Open { until } if now < until => Passage::Refuse(until),
            Self::Open { .. } => {
                *self = Self::HalfOpen;
                Passage::Ask
            }
            Self::Closed | Self::HalfOpen => Passage::Ask,
        }
    }

    /// The ledger granted what was asked for.
    pub(crate) const fn granted(&mut self) {
        *self = Self::Closed;
    }

    /// The ledger has nothing left until the month rolls over; answers when to come again.
    pub(crate) fn exhausted(&mut self, rolls_over_at: Timestamp, now: Timestamp) -> Timestamp {
        let until = rolls_over_at.min(now + BELIEVES_FOR);
        *self = Self::Open { until };
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("the text is a time")
    }

    #[test]
    fn an_open_breaker_asks_again_after_a_minute() {
        let (now, roll_over) = (at("2026-03-10T10:00:00Z"), at("2026-04-01T00:00:00Z"));
        let mut breaker = Breaker::default();

        let until = breaker.exhausted(roll_over, now);
        let soon = breaker.pass(now + TimeDelta::seconds(59));
        let later = breaker.pass(until);

        assert_eq!((soon, later), (Passage::Refuse(until), Passage::Ask));
        assert_eq!(breaker, Breaker::HalfOpen);
    }

    #[test]
    fn an_open_breaker_closes_half_way_when_the_month_rolls_over() {
        let (now, roll_over) = (at("2026-03-31T23:59:50Z"), at("2026-04-01T00:00:00Z"));
        let mut breaker = Breaker::default();

        breaker.exhausted(roll_over, now);

        assert_eq!(breaker.pass(roll_over - TimeDelta::seconds(1)), Passage::Refuse(roll_over));
        assert_eq!(breaker.pass(roll_over), Passage::Ask);
    }

    #[test]
    fn the_answer_to_a_half_open_breaker_closes_or_opens_it() {
        let now = at("2026-03-10T10:00:00Z");
        let (mut granted, mut exhausted) = (Breaker::HalfOpen, Breaker::HalfOpen);

        granted.granted();
        let until = exhausted.exhausted(now + TimeDelta::days(20), now);

        assert_eq!((granted, exhausted), (Breaker::Closed, Breaker::Open { until }));
    }
}
