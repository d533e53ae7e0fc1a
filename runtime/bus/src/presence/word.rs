//! Words: what nodes tell each other about who is present on them.
//!
//! A word is one line of JSON, small enough for the connection on which nodes talk. What another
//! version of this program says and this one does not understand is left.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One word is no longer, in bytes.
pub(crate) const WORD_BYTES_MAX: usize = 7_000;
/// What a word has besides its entries, at most: kind, node, life, numbers.
const FRAME_BYTES_MAX: usize = 400;

/// One client on one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its `phx_ref`.
    #[serde(rename = "r")]
    pub(crate) id: Uuid,
    #[serde(rename = "t")]
    pub(crate) topic: Box<str>,
    /// Who it is.
    #[serde(rename = "k")]
    pub(crate) key: Box<str>,
    /// The text of a JSON object, with `phx_ref` in it.
    #[serde(rename = "m")]
    pub(crate) meta: Box<str>,
}

/// A change of what one node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    #[serde(rename = "+")]
    In(Entry),
    #[serde(rename = "-")]
    Out(Uuid),
}

/// What a node says of itself, but for the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "w", rename_all = "snake_case")]
pub(crate) enum Word {
    /// What changed after the version `from`; each change makes the next version.
    Delta { node: Box<str>, life: Uuid, from: u64, changes: Vec<Change> },
    /// A part of all there is at `version`.
    Set { node: Box<str>, life: Uuid, version: u64, part: u32, is_last: bool, entries: Vec<Entry> },
    /// It is there, and at this version.
    Here { node: Box<str>, life: Uuid, version: u64 },
    /// It goes, and takes everybody along.
    Gone { node: Box<str>, life: Uuid },
    /// The node `of` is asked for all it has.
    Ask { of: Box<str> },
}

impl Word {
    /// The line.
    pub(crate) fn text(&self) -> String {
        // Cannot fail: every part of a word has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line; `None` when it is of another version, or damaged.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Splits what is to be said so that each part fits into a word; one empty part for nothing.
pub(crate) fn in_words<T: Serialize>(things: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for thing in things {
        let length = length_of(&thing);
        if !part.is_empty() && bytes + length > WORD_BYTES_MAX - FRAME_BYTES_MAX {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += length;
        part.push(thing);
    }
    parts.push(part);
    parts
}

/// How much of a word this takes, with the comma after it.
fn length_of(thing: &impl Serialize) -> usize {
    serde_json::to_string(thing).map_or(0, |text| text.len() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(meta: &str) -> Entry {
        let (topic, key) = ("org:1:recruit".into(), "ann".into());
        Entry { id: Uuid::now_v7(), topic, key, meta: meta.into() }
    }

    #[test]
    fn words_are_read_as_they_are_said() {
        let (node, life) = (Box::<str>::from("one"), Uuid::now_v7());
        let changes = vec![Change::In(entry("{}")), Change::Out(Uuid::now_v7())];
        let words = [
            Word::Delta { node: node.clone(), life, from: 4, changes },
            Word::Set {
                node: node.clone(),
                life,
                version: 4,
                part: 1,
                is_last: true,
                entries: vec![entry("{\"device\":\"\u{e4}\"}")],
            },
            Word::Here { node: node.clone(), life, version: 9 },
            Word::Gone { node: node.clone(), life },
            Word::Ask { of: node },
        ];
        for word in words {
            assert_eq!(Word::parse(&word.text()), Some(word));
        }
        assert_eq!(Word::parse("{\"w\":\"later\"}"), None);
    }

    #[test]
    fn every_part_fits_into_a_word() {
        let large = format!("{{\"note\":\"{}\"}}", "\\\"".repeat(500));
        let entries: Vec<Entry> = (0..100).map(|_| entry(&large)).collect();

        let parts = in_words(entries.clone());

        for part in &parts {
            let (node, life) = ("n".repeat(128).into(), Uuid::now_v7());
            let word = Word::Set {
                node,
                life,
                version: u64::MAX,
                part: 0,
                is_last: false,
                entries: part.clone(),
            };
            assert!(word.text().len() <= WORD_BYTES_MAX, "{}", word.text().len());
        }
        assert_eq!(parts.concat(), entries);
        assert_eq!(in_words(Vec::<Entry>::new()), [Vec::new()]);
    }
}
