//! Cron expressions: five fields, or a short form, and what is wrong with the others.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike as _, NaiveDate};
use chrono_tz::Tz;

use super::calendar;

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
    /// What is wrong with it, with the name of the field, and what to write instead.
    pub problem: String,
}

/// A field: its name, its values, and their names if they have some.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MINUTE: Field = Field { name: "minute", first: 0, last: 59, names: &[] };
const HOUR: Field = Field { name: "hour", first: 0, last: 23, names: &[] };
const DAY: Field = Field { name: "day of month", first: 1, last: 31, names: &[] };
const MONTH: Field = Field { name: "month", first: 1, last: 12, names: &MONTHS };
const WEEKDAY: Field = Field { name: "day of week", first: 0, last: 7, names: &WEEKDAYS };
const SHORT_FORMS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Expression {
    /// Whether it names every hour of the day: then it is about the time that passes, and not about
    /// what clocks show.
    pub(super) fn is_hourly(&self) -> bool {
        (0..24).all(|hour| has(self.hours, hour))
    }

    pub(super) fn has_minute(&self, minute: u32) -> bool {
        has(self.minutes, minute)
    }

    pub(super) fn fits_day(&self, day: NaiveDate) -> bool {
        let fits_day = has(self.days, day.day());
        let fits_weekday = has(self.weekdays, day.weekday().num_days_from_sunday());
        let fits = if self.is_day_open || self.is_weekday_open {
            fits_day && fits_weekday
        } else {
            fits_day || fits_weekday
        };
        fits && has(self.months, day.month())
    }

    /// The times of a day it names, as hour and minute, in their order.
    pub(super) fn times(&self) -> impl DoubleEndedIterator<Item = (u32, u32)> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(|hour| {
            (0..60).filter(|minute| has(self.minutes, *minute)).map(move |minute| (hour, minute))
        })
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
        let expression = read(text).map_err(refuse)?;
        // Thirty days hath November: from any day, everything that ever comes does so in 8 years.
        let some_day = chrono::DateTime::UNIX_EPOCH;
        if calendar::next_tick(&expression, Tz::UTC, some_day).is_none() {
            return Err(refuse("day of month: no month it names has such a day".to_owned()));
        }
        Ok(expression)
    }
}

fn read(text: &str) -> Result<Expression, String> {
    let lower = text.trim().to_ascii_lowercase();
    let short = SHORT_FORMS.iter().find(|(name, _)| *name == lower);
    let fields: Vec<&str> = short.map_or(&*lower, |(_, long)| long).split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(not_five(&lower, fields.len()));
    };
    let weekdays = WEEKDAY.read(weekday)?;
    Ok(Expression {
        text: text.trim().to_owned(),
        minutes: MINUTE.read(minute)?,
        hours: HOUR.read(hour)?,
        days: DAY.read(day)?,
        months: MONTH.read(month)?,
        // Seven is Sunday too.
        weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
        is_day_open: day.starts_with('*'),
        is_weekday_open: weekday.starts_with('*'),
    })
}

fn not_five(lower: &str, found: usize) -> String {
    if lower == "@reboot" {
        return "`@reboot` is not supported, because several nodes have no start in common; enqueue \
                a job where a process starts"
            .to_owned();
    }
    if lower.starts_with('@') {
        let known: Vec<&str> = SHORT_FORMS.iter().map(|(name, _)| *name).collect();
        return format!("the short forms are {}", known.join(", "));
    }
    let hint = if found == 6 { "; seconds and years are not supported" } else { "" };
    format!(
        "expected five fields (minute, hour, day of month, month, day of week), found {found}{hint}"
    )
}

impl Field {
    /// The set of values that are named, one bit each.
    fn read(&self, text: &str) -> Result<u64, String> {
        let mut set = 0;
        for part in text.split(',') {
            set |= self.read_part(part).map_err(|problem| format!("{}: {problem}", self.name))?;
        }
        Ok(set)
    }

    fn read_part(&self, part: &str) -> Result<u64, String> {
        let (range, step) = part.split_once('/').map_or((part, None), |(r, s)| (r, Some(s)));
        let step: usize = match step {
            None => 1,
            Some(step) => step.parse().ok().filter(|step| *step > 0).ok_or_else(|| {
                format!("`{step}` is no step; write a number from 1 on, such as `*/5`")
            })?,
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => {
                let from = self.value(range)?;
                (from, if part.contains('/') { self.last } else { from })
            }
        };
        if from > to {
            return Err(format!(
                "`{range}` ends before it begins; write it as two ranges, such as `22-23,0-3`"
            ));
        }
        Ok((from..=to).step_by(step).fold(0, |set, value| set | (1 << value)))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let by_name = self.names.iter().zip(self.first..).find(|(name, _)| **name == text);
        if let Some((_, value)) = by_name {
            return Ok(value);
        }
        let within = self.within();
        let value: u32 = text.parse().map_err(|_| format!("`{text}` is no value; {within}"))?;
        if value < self.first || value > self.last {
            return Err(format!("`{text}` is out of range; {within}"));
        }
        Ok(value)
    }

    fn within(&self) -> String {
        let names = match self.names {
            [] => String::new(),
            [first, .., last] => format!(", or a name from `{first}` to `{last}`"),
            [only] => format!(", or `{only}`"),
        };
        format!("write a number from {} to {}{names}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_expression_is_refused_with_its_field_and_the_way_out() {
        let cases = [
            ("", "found 0"),
            ("* * * *", "found 4"),
            ("0 0 2 * * *", "seconds and years are not supported"),
            ("60 * * * *", "minute: `60` is out of range; write a number from 0 to 59"),
            ("* 24 * * *", "hour: `24` is out of range"),
            ("* * 0 * *", "day of month: `0` is out of range"),
            ("* * * june *", "month: `june` is no value"),
            ("* * * * funday", "or a name from `sun` to `sat`"),
            ("*/0 * * * *", "minute: `0` is no step"),
            ("5-1 * * * *", "minute: `5-1` ends before it begins"),
            ("* * l * *", "day of month: `l` is no value"),
            ("0 0 30 2 *", "day of month: no month it names has such a day"),
            ("@often", "the short forms are @yearly"),
            ("@reboot", "`@reboot` is not supported"),
            ("1,,2 * * * *", "minute: `` is no value"),
            ("-1 * * * *", "minute: `` is no value"),
        ];

        for (text, expected) in cases {
            let error = text.parse::<Expression>().expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn names_ranges_steps_and_lists_are_read() {
        let cases = [
            ("0 0 * * SUN", "0 0 * * 7"),
            ("0 0 * jan,FEB *", "0 0 * 1-2 *"),
            ("*/20 * * * *", "0,20,40 * * * *"),
            ("5/25 * * * *", "5,30,55 * * * *"),
            ("0 9-17/4 * * mon-fri", "0 9,13,17 * * 1,2,3,4,5"),
            ("@weekly", "0 0 * * 0"),
            ("@annually", "@yearly"),
        ];

        for (left, right) in cases {
            let read = |text: &str| text.parse::<Expression>().expect("it is well-formed");
            let (left, right) = (read(left), read(right));
            assert_eq!(
                Expression { text: String::new(), ..left },
                Expression { text: String::new(), ..right }
            );
        }
    }
}
