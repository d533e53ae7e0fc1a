//! CBOR as authenticators write it: the few forms that CTAP2 allows, read without copying.
//!
//! Whoever sends it is a stranger. Every length is compared with what is there, nothing is reserved
//! on its word, and nothing is nested deeper than an authenticator nests.

/// How deep maps and lists lie within each other.
const DEPTH_MAX: u8 = 4;
/// How much a map or a list may hold: more than any authenticator has to say, and little to search.
const COUNT_MAX: u64 = 64;

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// True, false, nothing, or a fraction: nothing that anybody here asks for.
    Other,
}

impl<'a> Item<'a> {
    /// The item that `bytes` begin with, and what follows it.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        read(bytes, DEPTH_MAX)
    }

    /// The item that `bytes` are, whole.
    pub(crate) fn read_whole(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes).filter(|(_, rest)| rest.is_empty()).map(|(item, _)| item)
    }

    /// What a map has for a number.
    pub(crate) fn at(&self, key: i64) -> Option<&Self> {
        self.of(&Item::Integer(key))
    }

    /// What a map has for a text.
    pub(crate) fn named(&self, key: &str) -> Option<&Self> {
        self.of(&Item::Text(key))
    }

    fn of(&self, key: &Item<'_>) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(other, _)| other == key).map(|(_, value)| value)
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

fn read(bytes: &[u8], depth: u8) -> Option<(Item<'_>, &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    let (argument, rest) = argument(head & 31, rest)?;
    match head >> 5 {
        0 => Some((Item::Integer(i64::try_from(argument).ok()?), rest)),
        1 => Some((Item::Integer(-1 - i64::try_from(argument).ok()?), rest)),
        2 => rest
            .split_at_checked(usize::try_from(argument).ok()?)
            .map(|(bytes, rest)| (Item::Bytes(bytes), rest)),
        3 => {
            let (text, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
            Some((Item::Text(std::str::from_utf8(text).ok()?), rest))
        }
        4 | 5 if argument > COUNT_MAX => None,
        4 => list(argument, rest, depth.checked_sub(1)?),
        5 => map(argument, rest, depth.checked_sub(1)?),
        7 => Some((Item::Other, rest)),
        _ => None,
    }
}

/// The number in, or after, the first byte of an item. That an item says no length is not allowed.
fn argument(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let long = match short {
        0..=23 => return Some((short.into(), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (bytes, rest) = rest.split_at_checked(long)?;
    Some((bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

fn list(count: u64, mut rest: &[u8], depth: u8) -> Option<(Item<'_>, &[u8])> {
    let mut items = Vec::new();
    for _ in 0..count {
        let (item, after) = read(rest, depth)?;
        items.push(item);
        rest = after;
    }
    Some((Item::List(items), rest))
}

fn map(count: u64, mut rest: &[u8], depth: u8) -> Option<(Item<'_>, &[u8])> {
    let mut pairs: Vec<(Item<'_>, Item<'_>)> = Vec::new();
    for _ in 0..count {
        let (key, after) = read(rest, depth)?;
        let (value, after) = read(after, depth)?;
        // Two answers to one question are none.
        if pairs.iter().any(|(other, _)| *other == key) {
            return None;
        }
        pairs.push((key, value));
        rest = after;
    }
    Some((Item::Map(pairs), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_authenticators_are_read() {
        let cases: [(&[u8], Item<'_>); 8] = [
            (&[0x17], Item::Integer(23)),
            (&[0x19, 0x01, 0x00], Item::Integer(256)),
            (&[0x39, 0x01, 0x00], Item::Integer(-257)),
            (&[0x42, 1, 2], Item::Bytes(&[1, 2])),
            (&[0x62, b'o', b'k'], Item::Text("ok")),
            (&[0x81, 0x20], Item::List(vec![Item::Integer(-1)])),
            (&[0xa1, 0x01, 0x26], Item::Map(vec![(Item::Integer(1), Item::Integer(-7))])),
            (&[0xf5], Item::Other),
        ];

        for (bytes, expected) in cases {
            assert_eq!(Item::read_whole(bytes), Some(expected), "{bytes:?}");
        }
        assert_eq!(Item::read(&[0x01, 0x02]), Some((Item::Integer(1), [2_u8].as_slice())));
    }

    #[test]
    fn what_no_authenticator_writes_is_nothing() {
        let deep = [0x81; 64];
        let wide = [[0x98, 65].as_slice(), &[0x01; 65]].concat();
        let cases: [&[u8]; 13] = [
            &[],
            &[0x42, 1],
            &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x5f, 0x41, 1, 0xff],
            &[0xc0, 0x01],
            &[0x61, 0xff],
            &[0xa2, 0x01, 0x26, 0x01, 0x27],
            &[0x1c],
            &deep,
            &wide,
        ];

        for bytes in cases {
            assert_eq!(Item::read_whole(bytes), None, "{bytes:?}");
        }
        assert_eq!(Item::read_whole(&[0x01, 0x02]), None);
    }
}
