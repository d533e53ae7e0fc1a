//! Shifts of a roster template: on which days people will work, as a draft.
//!
//! Monday to Friday, beginning on the first weekday that is not before the start. Whoever publishes
//! the roster moves what does not fit; public holidays differ by state and are left to that person.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One shift of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Shift {
    /// The day it begins on.
    pub worked_on: NaiveDate,
    /// Its start, in minutes after midnight.
    pub starts_minute: u16,
    /// Its length, in minutes.
    pub minutes: u16,
}

/// The shifts of `days` working days from `starts_on`.
pub(crate) fn draft(
    starts_on: NaiveDate,
    starts_minute: u16,
    minutes: u16,
    days: u16,
) -> Vec<Shift> {
    (0..)
        .map_while(|ahead| starts_on.checked_add_days(Days::new(ahead)))
        .filter(|day| !matches!(day.weekday(), Weekday::Sat | Weekday::Sun))
        .take(usize::from(days))
        .map(|worked_on| Shift { worked_on, starts_minute, minutes })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_works_on_weekdays_only() {
        let thursday = NaiveDate::from_ymd_opt(2026, 3, 12).expect("March has that day");

        let days: Vec<u32> =
            draft(thursday, 360, 480, 4).iter().map(|shift| shift.worked_on.day()).collect();

        assert_eq!(days, [12, 13, 16, 17]);
    }

    #[test]
    fn a_draft_that_would_begin_at_the_weekend_begins_on_monday() {
        let saturday = NaiveDate::from_ymd_opt(2026, 3, 14).expect("March has that day");

        let shifts = draft(saturday, 1320, 480, 1);

        assert_eq!(shifts[0].worked_on.weekday(), Weekday::Mon);
        assert_eq!((shifts[0].starts_minute, shifts[0].minutes), (1320, 480));
    }
}
