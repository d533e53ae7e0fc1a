//! Schedules: when something recurs, as a period or as a cron expression in a time zone. Pure.

mod calendar;
mod expression;

use std::fmt;

use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;
use kernel::{Period, Timestamp};

pub use expression::{Expression, ParseExpressionError};

/// When something recurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Every so long, counted from the beginning of 1970, so that all nodes agree.
    Every(Period),
    /// At the minutes a cron expression names, by the clocks of a time zone.
    Cron(Expression, Tz),
}

/// Text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression.
    #[error(transparent)]
    Expression(#[from] ParseExpressionError),
    /// The period.
    #[error("`{0}` is no period: write a whole number and a unit, such as `every 5 minutes`")]
    Period(String),
    /// The period is too short: the duty looks once a second.
    #[error("`{0}` is too often: the shortest period is `every 1 second`")]
    TooOften(String),
    /// The time zone.
    #[error(
        "`{0}` is no time zone: use a name of the IANA database, such as `Europe/Berlin` or `UTC`"
    )]
    Zone(String),
    /// A period has no time zone.
    #[error("a period is counted in real time and has no time zone: leave out `{0}`")]
    ZoneOfPeriod(String),
}

impl Schedule {
    /// The schedule an expression (`0 2 * * mon-fri`, `@daily`) or a period (`every 5 minutes`)
    /// names, in UTC unless a time zone is given.
    ///
    /// # Errors
    /// [`ScheduleError`], which says what to write instead.
    pub fn parse(text: &str, timezone: Option<&str>) -> Result<Self, ScheduleError> {
        let words = text.trim();
        if let Some(period) = words.strip_prefix("every ") {
            let period: Period =
                period.parse().map_err(|_| ScheduleError::Period(words.to_owned()))?;
            if period.duration().as_secs() < 1 {
                return Err(ScheduleError::TooOften(words.to_owned()));
            }
            return match timezone {
                Some(zone) => Err(ScheduleError::ZoneOfPeriod(zone.to_owned())),
                None => Ok(Self::Every(period)),
            };
        }
        let zone = timezone.unwrap_or("UTC");
        let zone: Tz = zone.parse().map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        Ok(Self::Cron(words.parse()?, zone))
    }

    /// The expression, or the period as `every 5 minutes`: what [`Schedule::parse`] reads.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Every(period) => format!("every {period}"),
            Self::Cron(expression, _) => expression.to_string(),
        }
    }

    /// The name of the time zone; a period has none.
    #[must_use]
    pub fn timezone(&self) -> Option<&'static str> {
        match self {
            Self::Every(_) => None,
            Self::Cron(_, zone) => Some(zone.name()),
        }
    }

    /// The latest tick that is not after `now`; `None` if there has been none in eight years.
    #[must_use]
    pub fn latest_tick(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let every_ms = every_ms(*period)?;
                let now_ms = now.timestamp_millis();
                DateTime::from_timestamp_millis(now_ms - now_ms.rem_euclid(every_ms))
            }
            Self::Cron(expression, zone) => calendar::latest_tick(expression, *zone, now),
        }
    }

    /// The first tick after `after`; `None` if there will be none in eight years.
    #[must_use]
    pub fn next_tick(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let every = TimeDelta::milliseconds(every_ms(*period)?);
                self.latest_tick(after)?.checked_add_signed(every)
            }
            Self::Cron(expression, zone) => calendar::next_tick(expression, *zone, after),
        }
    }

    /// The next `count` ticks after `after`.
    #[must_use]
    pub fn preview(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let first = self.next_tick(after);
        std::iter::successors(first, |tick| self.next_tick(*tick)).take(count).collect()
    }
}

fn every_ms(period: Period) -> Option<i64> {
    i64::try_from(period.duration().as_millis()).ok().map(|every_ms| every_ms.max(1))
}

/// As it is remembered which ticks belong to it.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timezone() {
            Some(zone) => write!(f, "{} in {zone}", self.text()),
            None => f.write_str(&self.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_ticks_at_the_same_instants_everywhere() {
        let schedule = Schedule::parse("every 5 minutes", None).expect("it is well-formed");
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().expect("the time is well-formed");

        let ticks = [schedule.latest_tick(now), schedule.next_tick(now)];

        let expected = ["2026-03-04T05:05:00+00:00", "2026-03-04T05:10:00+00:00"];
        assert_eq!(
            ticks.map(|tick| tick.map(|tick| tick.to_rfc3339())),
            expected.map(|tick| Some(tick.to_owned()))
        );
    }

    #[test]
    fn a_schedule_reads_what_it_writes() {
        let cases = [
            ("every 90 seconds", None, "every 90 seconds"),
            ("0 2 * * mon-fri", Some("Europe/Berlin"), "0 2 * * mon-fri in Europe/Berlin"),
            (" @daily ", None, "@daily in UTC"),
        ];

        for (text, zone, expected) in cases {
            let schedule = Schedule::parse(text, zone).expect("it is well-formed");
            let again = Schedule::parse(&schedule.text(), schedule.timezone());
            assert_eq!(schedule.to_string(), expected);
            assert_eq!(again, Ok(schedule));
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_to_write() {
        let cases = [
            ("every fortnight", None, "such as `every 5 minutes`"),
            ("every 10 milliseconds", None, "the shortest period is `every 1 second`"),
            ("every 5 minutes", Some("Europe/Berlin"), "leave out `Europe/Berlin`"),
            ("@daily", Some("Europe/Berln"), "such as `Europe/Berlin`"),
            ("@reboot", None, "enqueue a job where a process starts"),
        ];

        for (text, zone, advice) in cases {
            let error = Schedule::parse(text, zone).expect_err(text).to_string();
            assert!(error.contains(advice), "{error}");
        }
    }

    #[test]
    fn a_preview_lists_what_comes_next() {
        let schedule = Schedule::parse("0 9 * * mon,thu", None).expect("it is well-formed");
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().expect("the time is well-formed");

        let days = schedule.preview(now, 3).into_iter().map(|tick| tick.to_rfc3339());

        let expected =
            ["2026-03-05T09:00:00+00:00", "2026-03-09T09:00:00+00:00", "2026-03-12T09:00:00+00:00"];
        assert!(days.eq(expected));
    }
}
