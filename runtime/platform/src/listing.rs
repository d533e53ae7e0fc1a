//! Listings: a list read page by page, each page telling where the next begins.
//!
//! Pages follow a key and not a row number, so rows that come and go meanwhile neither repeat nor
//! hide others. A query fetches one row more than it shows; that row's existence is the answer to
//! whether there is a next page.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::refusal::{Reason, Refusal};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listing<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Pass this as `cursor` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

impl<T> Listing<T> {
    /// The page made of `rows`, which were fetched with [`Limit::and_one`]. `key` says where a row
    /// stands in the order of the list.
    ///
    /// # Panics
    /// When a key cannot be written as JSON, which ids, numbers and text always can.
    #[must_use]
    pub fn of<K: Serialize>(mut rows: Vec<T>, limit: Limit, key: impl FnOnce(&T) -> K) -> Self {
        let has_more = rows.len() > limit.count();
        rows.truncate(limit.count());
        let next = match rows.last() {
            Some(last) if has_more => Some(Cursor::at(&key(last))),
            _ => None,
        };
        Self { items: rows, next }
    }
}

/// How many items a page has at most: 1 to 100, 20 unless asked otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Limit(u16);

impl Limit {
    /// The largest page.
    pub const MAX: u16 = 100;

    /// A page of `count` items, brought into the allowed range.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self(count.clamp(1, Self::MAX))
    }
    /// Items on a page.
    #[must_use]
    pub const fn count(self) -> usize {
        self.0 as usize
    }
    /// Rows to fetch: one more than shown, so that the page knows whether there is a next one.
    #[must_use]
    pub const fn and_one(self) -> i64 {
        self.0 as i64 + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = u16::deserialize(deserializer)?;
        if (1..=Self::MAX).contains(&count) {
            Ok(Self(count))
        } else {
            Err(D::Error::custom(format_args!("a limit is 1 to {}, not {count}", Self::MAX)))
        }
    }
}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// No cursor is longer, its signature included; and by this a list is known.
pub(crate) const CURSOR_CHARACTERS_MAX: u64 = 512;

/// Where a page begins. Opaque to callers: hexadecimal digits of the key of the row before it, and
/// behind them, outside of the platform, a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    fn at<K: Serialize>(key: &K) -> Self {
        let json = serde_json::to_vec(key).expect("a key is ids, numbers and text");
        let digits = json.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Self(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect())
    }

    /// The key of the row before the page.
    ///
    /// # Errors
    /// [`BadCursor`] when the text is not a cursor of this list.
    pub fn key<K: DeserializeOwned>(&self) -> Result<K, BadCursor> {
        let bytes = bytes(&self.0);
        serde_json::from_slice(&bytes.ok_or(BadCursor)?).map_err(|_| BadCursor)
    }
}

/// What these hexadecimal digits stand for. They are taken as we write them, in lower case, so that
/// no two texts are the same cursor.
pub(crate) fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = digits.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => Some((digit(high)? << 4) | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

impl JsonSchema for Cursor {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": CURSOR_CHARACTERS_MAX })
    }
}

/// Text given as a cursor is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor of this list; pass the `next` of an earlier page unchanged")]
pub struct BadCursor;

impl Refusal for BadCursor {
    fn reason(&self) -> Reason {
        Reason::invalid("bad_cursor").at("/cursor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_where_the_next_begins() {
        let limit = Limit::new(2);

        let page = Listing::of(vec![7, 8, 9], limit, |row| *row);

        assert_eq!(page.items, [7, 8]);
        assert_eq!(page.next.map(|cursor| cursor.key::<i32>()), Some(Ok(8)));
    }

    #[test]
    fn the_last_page_has_no_next() {
        let limit = Limit::new(3);

        let page = Listing::of(vec![7, 8, 9], limit, |row| *row);

        assert_eq!(page.next, None);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "7", "zz", "ää", "22", "+a37", "0A37"] {
            let cursor = Cursor(text.to_owned());

            assert_eq!(cursor.key::<i32>(), Err(BadCursor), "{text}");
        }
    }

    #[test]
    fn a_limit_outside_its_range_is_refused() {
        for (text, is_allowed) in [("0", false), ("1", true), ("100", true), ("101", false)] {
            assert_eq!(serde_json::from_str::<Limit>(text).is_ok(), is_allowed, "{text}");
        }
    }
}
