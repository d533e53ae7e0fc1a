//! The ticks of a cron expression by the clocks of a time zone, also when those are changed.
//!
//! As cron has done since Vixie's: an expression that names *every* hour is about the time that
//! passes, so it ticks at all instants whose minute it names, also in both of two hours of one
//! name. Any other is about what clocks show: a time that comes twice ticks at the first, and one
//! that is skipped ticks at the first instant after the gap.

use chrono::offset::LocalResult;
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono::{TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;
use kernel::Timestamp;

use super::Expression;

/// The 29th of February may be eight years away.
const DAYS_MAX: u64 = 366 * 8;
/// No change of clocks since there are standard times takes longer.
const CHANGE_MAX: TimeDelta = TimeDelta::hours(3);
/// Clocks of a time zone differ from UTC by less.
const OFFSET_MAX: TimeDelta = TimeDelta::hours(15);

/// The first tick after `after`; `None` if there is none in eight years.
pub(super) fn next_tick(expression: &Expression, zone: Tz, after: Timestamp) -> Option<Timestamp> {
    if expression.is_hourly() {
        return next_minute(expression, zone, after);
    }
    let from = after.with_timezone(&zone).naive_local().checked_sub_signed(CHANGE_MAX)?;
    let days = (0..=DAYS_MAX).map_while(|days| from.date().checked_add_days(Days::new(days)));
    let days = days.filter(|day| expression.fits_day(*day));
    days.flat_map(|day| expression.times().map(move |time| at(day, time)))
        .filter(|local| *local >= from)
        .map(|local| instant(zone, local))
        .find(|tick| *tick > after)
}

/// The latest tick that is not after `now`; `None` if there has been none in eight years.
pub(super) fn latest_tick(expression: &Expression, zone: Tz, now: Timestamp) -> Option<Timestamp> {
    if expression.is_hourly() {
        return latest_minute(expression, zone, now);
    }
    let until = now.with_timezone(&zone).naive_local().checked_add_signed(CHANGE_MAX)?;
    let days = (0..=DAYS_MAX).map_while(|days| until.date().checked_sub_days(Days::new(days)));
    let days = days.filter(|day| expression.fits_day(*day));
    days.flat_map(|day| expression.times().rev().map(move |time| at(day, time)))
        .filter(|local| *local <= until)
        .map(|local| instant(zone, local))
        .find(|tick| *tick <= now)
}

fn at(day: NaiveDate, (hour, minute): (u32, u32)) -> NaiveDateTime {
    let time = NaiveTime::from_hms_opt(hour, minute, 0).expect("a field has its range");
    day.and_time(time)
}

/// When clocks show this time first, or when they have left it out.
fn instant(zone: Tz, local: NaiveDateTime) -> Timestamp {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.to_utc(),
        LocalResult::None => end_of_gap(zone, local),
    }
}

/// The first instant at which clocks show more than a time they never showed.
fn end_of_gap(zone: Tz, local: NaiveDateTime) -> Timestamp {
    let (mut before, mut after) = (local.and_utc() - OFFSET_MAX, local.and_utc() + OFFSET_MAX);
    while after - before > TimeDelta::seconds(1) {
        let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
        if middle.with_timezone(&zone).naive_local() < local {
            before = middle;
        } else {
            after = middle;
        }
    }
    after
}

fn next_minute(expression: &Expression, zone: Tz, after: Timestamp) -> Option<Timestamp> {
    let end = after.checked_add_days(Days::new(DAYS_MAX))?;
    let mut time = whole_minute(after)?.checked_add_signed(TimeDelta::minutes(1))?;
    while time <= end {
        let local = time.with_timezone(&zone);
        let day = local.date_naive();
        if !expression.fits_day(day) {
            let midnight = instant(zone, day.succ_opt()?.and_time(NaiveTime::MIN));
            time = midnight.max(time + TimeDelta::minutes(1));
        } else if expression.has_minute(local.minute()) {
            return Some(time);
        } else {
            time += TimeDelta::minutes(1);
        }
    }
    None
}

fn latest_minute(expression: &Expression, zone: Tz, now: Timestamp) -> Option<Timestamp> {
    let end = now.checked_sub_days(Days::new(DAYS_MAX))?;
    let mut time = whole_minute(now)?;
    while time >= end {
        let local = time.with_timezone(&zone);
        let day = local.date_naive();
        let earlier = time - TimeDelta::minutes(1);
        if !expression.fits_day(day) {
            let midnight = instant(zone, day.and_time(NaiveTime::MIN));
            time = (midnight - TimeDelta::minutes(1)).min(earlier);
        } else if expression.has_minute(local.minute()) {
            return Some(time);
        } else {
            time = earlier;
        }
    }
    None
}

fn whole_minute(time: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.timestamp() - time.timestamp().rem_euclid(60), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(expression: &str) -> Expression {
        expression.parse().expect("the expression is well-formed")
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("the time is well-formed")
    }

    /// The ticks of a day of a time zone, as its clocks show them.
    fn ticks(expression: &str, zone: Tz, from: &str, to: &str) -> Vec<String> {
        let (expression, to) = (read(expression), time(to));
        let first = next_tick(&expression, zone, time(from) - TimeDelta::seconds(1));
        let every = std::iter::successors(first, |tick| next_tick(&expression, zone, *tick));
        let within = every.take_while(|tick| *tick < to);
        within.map(|tick| tick.with_timezone(&zone).format("%H:%M%:::z").to_string()).collect()
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
            ("0 * 29 feb *", "2026-03-04T05:06:07Z", "2024-02-29T23:00:00+00:00"),
            ("0 0 13 * 5", "2026-03-04T05:06:07Z", "2026-02-27T00:00:00+00:00"),
            ("0 0 * * 7", "2026-03-04T05:06:07Z", "2026-03-01T00:00:00+00:00"),
            ("@monthly", "2026-03-04T05:06:07Z", "2026-03-01T00:00:00+00:00"),
            ("5,10 0 1 1 *", "2026-01-01T00:07:00Z", "2026-01-01T00:05:00+00:00"),
        ];

        for (expression, now, expected) in cases {
            let tick = latest_tick(&read(expression), Tz::UTC, time(now));
            assert_eq!(
                tick.map(|tick| tick.to_rfc3339()).as_deref(),
                Some(expected),
                "{expression}"
            );
        }
    }

    /// In Berlin, the hour from two to three is left out on the 29th of March 2026.
    #[test]
    fn a_time_that_is_skipped_ticks_once_at_the_end_of_the_gap() {
        let day = |expression| {
            let (from, to) = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
            ticks(expression, Tz::Europe__Berlin, from, to)
        };

        assert_eq!(day("30 2 * * *"), ["03:00+02"]);
        assert_eq!(day("*/20 2 * * *"), ["03:00+02"]);
        assert_eq!(day("0,30 1-3 * * *"), ["01:00+01", "01:30+01", "03:00+02", "03:30+02"]);
        assert_eq!(day("0 3 * * *"), ["03:00+02"]);
    }

    /// In Berlin, the hour from two to three comes twice on the 25th of October 2026.
    #[test]
    fn a_time_that_comes_twice_ticks_at_the_first() {
        let day = |expression| {
            let (from, to) = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
            ticks(expression, Tz::Europe__Berlin, from, to)
        };

        assert_eq!(day("30 2 * * *"), ["02:30+02"]);
        assert_eq!(
            day("0,30 1-3 * * *"),
            ["01:00+02", "01:30+02", "02:00+02", "02:30+02", "03:00+01", "03:30+01"]
        );
    }

    #[test]
    fn what_recurs_every_hour_goes_by_the_time_that_passes() {
        let spring = ("2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z");
        let autumn = ("2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z");

        let in_spring = ticks("30 * * * *", Tz::Europe__Berlin, spring.0, spring.1);
        let in_autumn = ticks("30 * * * *", Tz::Europe__Berlin, autumn.0, autumn.1);

        assert_eq!(in_spring, ["01:30+01", "03:30+02", "04:30+02"]);
        assert_eq!(in_autumn, ["02:30+02", "02:30+01", "03:30+01"]);
    }

    #[test]
    fn changes_of_half_an_hour_and_of_a_whole_day_are_survived() {
        let lord_howe = ticks(
            "15 2 * * *",
            Tz::Australia__Lord_Howe,
            "2026-10-03T14:00:00Z",
            "2026-10-04T13:00:00Z",
        );
        let samoa = ticks(
            "0 12 30 12 *",
            Tz::Pacific__Apia,
            "2011-12-29T10:00:00Z",
            "2012-01-01T10:00:00Z",
        );

        assert_eq!(lord_howe, ["02:30+11"]);
        assert_eq!(samoa, ["00:00+14"]);
    }

    /// Looking forward from one tick and back from the next agree about what lies between.
    #[test]
    fn the_next_tick_and_the_latest_agree_in_all_zones_and_through_all_changes() {
        let zones = [
            Tz::UTC,
            Tz::Europe__Berlin,
            Tz::America__New_York,
            Tz::Australia__Lord_Howe,
            Tz::Asia__Kathmandu,
            Tz::America__Sao_Paulo,
            Tz::Africa__Casablanca,
        ];
        let expressions = [
            "30 2 * * *",
            "0 * * * *",
            "*/7 1-3 * * *",
            "59 23 * * *",
            "0 0 * * sun",
            "5 */2 1 * *",
        ];

        for zone in zones {
            for text in expressions {
                let expression = read(text);
                let mut tick = time("2018-03-20T00:00:00Z");
                for _ in 0..400 {
                    let next = next_tick(&expression, zone, tick).expect("it recurs");
                    let just_before = next - TimeDelta::milliseconds(1);
                    let latest = latest_tick(&expression, zone, next);
                    let earlier = latest_tick(&expression, zone, just_before);
                    assert!(next > tick, "{text} in {zone} after {tick}");
                    assert_eq!(latest, Some(next), "{text} in {zone}");
                    assert!(earlier <= Some(tick), "{text} in {zone}: {earlier:?} before {next}");
                    tick = next;
                }
            }
        }
    }
}
