//! Schedules: when something recurs, as a period or as a cron expression in UTC. Pure.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, Timelike as _};
use kernel::{Period, Timestamp};

/// When something recurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Every so long, counted from the beginning of 1970, so that all nodes agree.
    Every(Period),
    /// At the minutes a cron expression names, in UTC.
    Cron(Expression),
}

impl Schedule {
    /// The latest tick that is not after `now`; `None` if there has been none in eight years.
    #[must_use]
    pub fn latest_tick(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => {
                let every_ms = i64::try_from(period.duration().as_millis()).ok()?.max(1);
                let now_ms = now.timestamp_millis();
                DateTime::from_timestamp_millis(now_ms - now_ms.rem_euclid(every_ms))
            }
            Self::Cron(expression) => expression.latest_tick(now),
        }
    }
}

/// A cron expression: minute, hour, day of month, month, day of week.
///
/// Each field is `*`, a number, a range `a-b`, a step `*/n` or `a-b/n`, or a list of these. Months
/// and days of the week have names too (`jan`, `mon`), Sunday is 0 or 7. If both days are
/// restricted, either will do. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` are short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    is_day_open: bool,
    is_weekday_open: bool,
}

/// Text is not a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}` is not a cron expression: {problem}")]
pub struct ParseExpressionError {
    /// The whole expression.
    pub expression: String,
    /// What is wrong with it.
    pub problem: String,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const SHORT_FORMS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// The 29th of February may be eight years away.
const DAYS_BACK_MAX: u64 = 366 * 8;

impl Expression {
    fn latest_tick(&self, now: Timestamp) -> Option<Timestamp> {
        let (today, time) = (now.date_naive(), now.time());
        if self.fits_day(today)
            && let Some(tick) = self.latest_time(time.hour(), time.minute())
        {
            return Some(today.and_time(tick).and_utc());
        }
        let earlier =
            (1..=DAYS_BACK_MAX).filter_map(|days| today.checked_sub_days(Days::new(days)));
        let day = earlier.into_iter().find(|day| self.fits_day(*day))?;
        Some(day.and_time(self.latest_time(23, 59)?).and_utc())
    }

    fn fits_day(&self, day: NaiveDate) -> bool {
        let fits_day = has(self.days, day.day());
        let fits_weekday = has(self.weekdays, day.weekday().num_days_from_sunday());
        let fits = if self.is_day_open || self.is_weekday_open {
            fits_day && fits_weekday
        } else {
            fits_day || fits_weekday
        };
        fits && has(self.months, day.month())
    }

    /// The latest time of a day that is not after the minute given.
    fn latest_time(&self, hour: u32, minute: u32) -> Option<NaiveTime> {
        let latest = |set: u64, most: u32| (0..=most).rev().find(|value| has(set, *value));
        let this_hour = has(self.hours, hour).then(|| latest(self.minutes, minute)).flatten();
        let (hour, minute) = match this_hour {
            Some(minute) => (hour, minute),
            None => (latest(self.hours, hour.checked_sub(1)?)?, latest(self.minutes, 59)?),
        };
        NaiveTime::from_hms_opt(hour, minute, 0)
    }
}

fn has(set: u64, value: u32) -> bool {
    set & (1 << value) != 0
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Expression {
    type Err = ParseExpressionError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse =
            |problem: String| ParseExpressionError { expression: text.to_owned(), problem };
        let short = SHORT_FORMS.iter().find(|(name, _)| *name == text.trim());
        let long = short.map_or(text, |(_, long)| long).to_ascii_lowercase();
        let fields: Vec<&str> = long.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(refuse(format!("expected five fields, found {}", fields.len())));
        };
        let weekdays = field(weekday, 0, 7, &WEEKDAYS).map_err(refuse)?;
        Ok(Self {
            text: text.to_owned(),
            minutes: field(minute, 0, 59, &[]).map_err(refuse)?,
            hours: field(hour, 0, 23, &[]).map_err(refuse)?,
            days: field(day, 1, 31, &[]).map_err(refuse)?,
            months: field(month, 1, 12, &MONTHS).map_err(refuse)?,
            weekdays: weekdays | (weekdays >> 7),
            is_day_open: day.starts_with('*'),
            is_weekday_open: weekday.starts_with('*'),
        })
    }
}

/// The set of values a field names, one bit each.
fn field(text: &str, first: u32, last: u32, names: &[&str]) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(r, s)| (r, Some(s)));
        let step: usize = match step {
            None => 1,
            Some(step) => step
                .parse()
                .ok()
                .filter(|step| *step > 0)
                .ok_or_else(|| format!("`{step}` is no step"))?,
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (first, last),
            Some((from, to)) => (value(from, first, names)?, value(to, first, names)?),
            None => {
                let from = value(range, first, names)?;
                (from, if part.contains('/') { last } else { from })
            }
        };
        if from < first || to > last || from > to {
            return Err(format!("`{part}` does not lie within {first} to {last}"));
        }
        set |= (from..=to).step_by(step).fold(0, |set, value| set | (1 << value));
    }
    Ok(set)
}

fn value(text: &str, first: u32, names: &[&str]) -> Result<u32, String> {
    let by_name = names.iter().zip(first..).find(|(name, _)| **name == text);
    by_name
        .map(|(_, value)| value)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("`{text}` is no value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, now: &str, expected: &str) {
        let schedule = Schedule::Cron(expression.parse().expect("the expression is well-formed"));
        let now: Timestamp = now.parse().expect("the time is well-formed");

        let tick = schedule.latest_tick(now).map(|tick| tick.to_rfc3339());

        assert_eq!(tick.as_deref(), Some(expected), "{expression} at {now}");
    }

    #[test]
    fn the_latest_tick_is_found() {
        let cases = [
            ("* * * * *", "2026-03-04T05:06:07Z", "2026-03-04T05:06:00+00:00"),
            ("*/15 * * * *", "2026-03-04T05:06:07Z", "2026-03-04T05:00:00+00:00"),
            ("30 * * * *", "2026-03-04T05:06:07Z", "2026-03-04T04:30:00+00:00"),
            ("30 23 * * *", "2026-03-04T05:06:07Z", "2026-03-03T23:30:00+00:00"),
            ("0 9-17/4 * * mon-fri", "2026-03-07T12:00:00Z", "2026-03-06T17:00:00+00:00"),
            ("0 0 29 feb *", "2026-03-04T05:06:07Z", "2024-02-29T00:00:00+00:00"),
            ("0 0 13 * 5", "2026-03-04T05:06:07Z", "2026-02-27T00:00:00+00:00"),
            ("0 0 * * 7", "2026-03-04T05:06:07Z", "2026-03-01T00:00:00+00:00"),
            ("@monthly", "2026-03-04T05:06:07Z", "2026-03-01T00:00:00+00:00"),
            ("5,10 0 1 1 *", "2026-01-01T00:07:00Z", "2026-01-01T00:05:00+00:00"),
        ];

        for (expression, now, expected) in cases {
            check(expression, now, expected);
        }
    }

    #[test]
    fn a_period_ticks_at_the_same_instants_everywhere() {
        let schedule = Schedule::Every(Period::milliseconds(300_000));
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().expect("the time is well-formed");

        let tick = schedule.latest_tick(now).map(|tick| tick.to_rfc3339());

        assert_eq!(tick.as_deref(), Some("2026-03-04T05:05:00+00:00"));
    }

    #[test]
    fn what_is_not_an_expression_is_refused() {
        let cases =
            ["", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "@often"];

        for text in cases {
            assert!(text.parse::<Expression>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_that_never_comes_has_no_tick() {
        let schedule = Schedule::Cron("0 0 30 2 *".parse().expect("each field is in its range"));

        assert_eq!(schedule.latest_tick(DateTime::UNIX_EPOCH), None);
    }
}
