//! Periods: durations in words, such as `5 minutes`, for configuration and documentation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration written as a whole number and a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

/// The units, largest first, each with its length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("day", 86_400_000),
    ("hour", 3_600_000),
    ("minute", 60_000),
    ("second", 1_000),
    ("millisecond", 1),
];

impl Period {
    /// So many milliseconds.
    #[must_use]
    pub const fn milliseconds(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// The same as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, unit_ms) = UNITS
            .into_iter()
            .find(|(_, unit_ms)| total_ms > 0 && total_ms.is_multiple_of(*unit_ms))
            .unwrap_or(("millisecond", 1));
        let count = total_ms / unit_ms;
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

/// Text is not a period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a period: expected a whole number and a unit, such as `5 minutes`")]
pub struct ParsePeriodError(String);

impl FromStr for Period {
    type Err = ParsePeriodError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParsePeriodError(text.to_owned());
        let (count, unit) = text.trim().split_once(' ').ok_or_else(refuse)?;
        let count: u64 = count.parse().map_err(|_| refuse())?;
        let unit = unit.trim();
        let singular = unit.strip_suffix('s').unwrap_or(unit);
        let (_, unit_ms) =
            UNITS.into_iter().find(|(name, _)| *name == singular).ok_or_else(refuse)?;
        count.checked_mul(unit_ms).map(Self::milliseconds).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn periods_are_read_in_words() {
        let cases = [("1 second", 1_000), ("5 minutes", 300_000), ("250 milliseconds", 250)];

        for (text, expected_ms) in cases {
            assert_eq!(text.parse(), Ok(Period::milliseconds(expected_ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_period_is_refused() {
        for text in ["", "5", "minutes", "-1 second", "1.5 hours", "5 fortnights"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_period_prints_and_parses_back(ms in 0..1_000_000_000_000_u64) {
            let period = Period::milliseconds(ms);
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
