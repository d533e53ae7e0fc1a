//! Deprecation: an operation that still works, but that nobody should begin to use.

use chrono::{NaiveDate, NaiveTime};

use super::Spec;

/// Since when an operation is deprecated, until when it works, and what to use instead. Days are in
/// UTC, as `2026-11-21`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deprecation {
    since: &'static str,
    sunset: Option<&'static str>,
    successor: Option<&'static str>,
}

impl Deprecation {
    /// Deprecated since a day.
    ///
    /// # Panics
    /// When it is no day; as all of this is `const`, that stops the build.
    #[must_use]
    pub const fn since(day: &'static str) -> Self {
        assert!(is_day(day), "a day is written as in 2026-11-21");
        Self { since: day, sunset: None, successor: None }
    }

    /// It is gone from this day on.
    ///
    /// # Panics
    /// As [`Deprecation::since`].
    #[must_use]
    pub const fn until(mut self, day: &'static str) -> Self {
        assert!(is_day(day), "a day is written as in 2026-11-21");
        self.sunset = Some(day);
        self
    }

    /// The operation of the same domain to use instead, by its name.
    #[must_use]
    pub const fn instead(mut self, operation: &'static str) -> Self {
        self.successor = Some(operation);
        self
    }

    /// The second of the epoch in which the day of its deprecation began.
    #[must_use]
    pub fn since_s(&self) -> i64 {
        begin(self.since).and_utc().timestamp()
    }

    /// When it ends, as a date of HTTP, if that is decided.
    #[must_use]
    pub fn sunset(&self) -> Option<String> {
        let format = "%a, %d %b %Y %H:%M:%S GMT";
        self.sunset.map(|day| begin(day).format(format).to_string())
    }

    /// The name of the operation to use instead, if there is one.
    #[must_use]
    pub const fn successor(&self) -> Option<&'static str> {
        self.successor
    }
}

impl Spec {
    /// Still works, but nobody should begin to use it.
    #[must_use]
    pub const fn deprecated(mut self, deprecation: Deprecation) -> Self {
        self.deprecation = Some(deprecation);
        self
    }

    /// Since when it is deprecated, if it is.
    #[must_use]
    pub const fn deprecation(&self) -> Option<Deprecation> {
        self.deprecation
    }
}

const fn is_day(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 10 {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        let fits = if at == 4 || at == 7 { bytes[at] == b'-' } else { bytes[at].is_ascii_digit() };
        if !fits {
            return false;
        }
        at += 1;
    }
    let month = (bytes[5] - b'0') * 10 + bytes[6] - b'0';
    let day = (bytes[8] - b'0') * 10 + bytes[9] - b'0';
    // Days that only some months have are left out, so that every day that passes is one.
    month >= 1 && month <= 12 && day >= 1 && day <= 28
}

fn begin(day: &str) -> chrono::NaiveDateTime {
    let day: NaiveDate = day.parse().expect("it was checked when the operation was declared");
    day.and_time(NaiveTime::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deprecation_tells_its_days_as_http_wants_them() {
        const SPEC: Spec = Spec::read("list_things", "/things").deprecated(
            Deprecation::since("2026-11-21").until("2027-05-01").instead("find_things"),
        );

        let deprecation = SPEC.deprecation().expect("it is deprecated");

        assert_eq!(deprecation.since_s(), 1_795_219_200);
        assert_eq!(deprecation.sunset().as_deref(), Some("Sat, 01 May 2027 00:00:00 GMT"));
        assert_eq!(deprecation.successor(), Some("find_things"));
    }

    #[test]
    fn only_days_are_days() {
        for (text, expected) in [
            ("2026-11-21", true),
            ("2026-02-28", true),
            ("2026-13-01", false),
            ("2026-00-01", false),
            ("2026-11-00", false),
            ("2026-11-31", false),
            ("21.11.2026", false),
            ("2026-11-1", false),
        ] {
            assert_eq!(is_day(text), expected, "{text}");
        }
    }
}
