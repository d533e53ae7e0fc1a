//! Trace context: which trace of the caller's world a request belongs to, as W3C writes it.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The `traceparent` of the W3C trace context: version, trace id, id of the calling span, flags.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), kernel::ParseTraceParentError> {
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let traceparent: kernel::TraceParent = text.parse()?;
/// assert_eq!(traceparent.to_string(), text);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// The trace: the same in everything that follows from one request.
    #[must_use]
    pub const fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// Whether the caller records this trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

/// Text is no `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no traceparent: 00-<32 hexadecimal digits>-<16>-<2> in lower case is expected")]
pub struct ParseTraceParentError(String);

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    /// Later versions may have more fields; of those, what version 00 knows is taken.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).ok_or_else(|| ParseTraceParentError(text.chars().take(80).collect()))
    }
}

fn read(text: &str) -> Option<TraceParent> {
    let mut parts = text.split('-');
    let version = digits(parts.next()?, 2)?;
    let trace_id = digits(parts.next()?, 32)?;
    let parent_id = u64::try_from(digits(parts.next()?, 16)?).ok()?;
    let flags = u8::try_from(digits(parts.next()?, 2)?).ok()?;
    let has_more = parts.next().is_some();
    let is_known = version != 0xff && !(version == 0 && has_more);
    let is_valid = is_known && trace_id != 0 && parent_id != 0;
    is_valid.then_some(TraceParent { trace_id, parent_id, flags })
}

/// The number that exactly `count` hexadecimal digits in lower case stand for.
fn digits(text: &str, count: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_right = text.len() == count && text.bytes().all(is_hex);
    is_right.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

    fn check(text: &str, expected: Option<&str>) {
        let parsed = text.parse::<TraceParent>().ok().map(|parsed| parsed.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }

    #[test]
    fn what_w3c_allows_is_taken_and_anything_else_is_not() {
        let plain = format!("00-{TRACE}-01");
        check(&plain, Some(&plain));
        check(&format!("00-{TRACE}-00"), Some(&format!("00-{TRACE}-00")));
        check(&format!("cc-{TRACE}-01-what-a-later-version-adds"), Some(&plain));
        for refused in [
            String::new(),
            format!("ff-{TRACE}-01"),
            format!("00-{TRACE}-01-more"),
            format!("00-{TRACE}"),
            format!("00-{TRACE}-1"),
            format!("00-{}-01", TRACE.to_uppercase()),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            format!("0+-{TRACE}-01"),
        ] {
            check(&refused, None);
        }
    }

    #[test]
    fn it_is_text_in_json() {
        let traceparent: TraceParent = format!("00-{TRACE}-01").parse().expect("it is valid");

        let json = serde_json::to_string(&traceparent).expect("it is text");

        assert_eq!(json, format!("\"00-{TRACE}-01\""));
        assert_eq!(serde_json::from_str::<TraceParent>(&json).expect("it is valid"), traceparent);
        assert!(serde_json::from_str::<TraceParent>("\"abc\"").is_err());
    }
}
