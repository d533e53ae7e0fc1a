//! How times, spans and counts are written, so that every page writes them alike.

use chrono::DateTime;

/// How long ago, coarse on purpose: it must not change every second, or every node of the tree
/// would be sent every second. The page's script shows the seconds where it runs.
pub(crate) fn coarse_span(ms: i64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        ..10 => "just now".to_owned(),
        10..60 => "<1m".to_owned(),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time of day; the console shows UTC and says so once.
pub(crate) fn time_of_day(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(String::new, |time| time.format("%H:%M:%S").to_string())
}

/// The machine's form of a time, for `datetime` attributes.
pub(crate) fn machine_time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// A short span with the unit that suits it.
pub(crate) fn short_span(us: u64) -> String {
    let tenths = |value: u64, unit: u64| (value / unit, value % unit * 10 / unit);
    let write = |(whole, tenth): (u64, u64), unit: &str| match (whole, tenth) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, _) if whole >= 100 => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    };
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => write(tenths(us, 1_000), "ms"),
        _ => write(tenths(us, 1_000_000), "s"),
    }
}

/// A count with its noun, in the plural where that is right.
pub(crate) fn count(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    let count: u64 = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// The text, cut so that it fits; the whole is always to be found in a tooltip or the details.
pub(crate) fn fit(text: &str, characters_max: usize) -> String {
    if text.chars().count() <= characters_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(characters_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The last part of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A text as the value of a query parameter.
pub(crate) fn in_query(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_use_the_unit_that_suits_them() {
        let cases = [
            (7, "7 µs"),
            (1_000, "1 ms"),
            (1_540, "1.5 ms"),
            (427_300, "427 ms"),
            (2_500_000, "2.5 s"),
        ];
        for (us, expected) in cases {
            assert_eq!(short_span(us), expected);
        }
        for (ms, expected) in
            [(9_000, "just now"), (59_000, "<1m"), (61_000, "1m"), (7_300_000, "2h")]
        {
            assert_eq!(coarse_span(ms), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(fit("supervision", 11), "supervision");
        assert_eq!(fit("überwachung", 5), "über…");
    }
}
