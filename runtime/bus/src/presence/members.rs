//! Members: who is present on each topic, as clients are told it.
//!
//! A client gets the whole state once, then what changed since. It may be told twice that somebody
//! came or went, and knows it by the `phx_ref`; it must never miss it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::presence::replicas::Moved;
use crate::presence::word::Entry;

/// Diffs that may wait for one watcher; whoever is further behind is told the state anew.
const DIFFS_MAX: usize = 8;

type Entries = BTreeMap<Uuid, Arc<Entry>>;

/// Everybody who is present, on whichever node.
#[derive(Debug, Default)]
pub(crate) struct Members {
    topics: HashMap<Box<str>, Present>,
    changed: BTreeSet<Box<str>>,
}

/// Who is present on one topic.
#[derive(Debug)]
struct Present {
    entries: Entries,
    /// What watchers have not been told yet.
    joined: Entries,
    left: Entries,
    diffs: broadcast::Sender<Arc<str>>,
}

impl Members {
    /// Takes note of who came and who went.
    pub(crate) fn apply(&mut self, moved: Moved) {
        let Moved { joined, left } = moved;
        for entry in joined {
            let topic = self.topic(&entry.topic);
            topic.entries.insert(entry.id, entry.clone());
            // Clients take joins before leaves, so what is back must not be among the leaves.
            topic.left.remove(&entry.id);
            topic.joined.insert(entry.id, entry.clone());
            self.changed.insert(entry.topic.clone());
        }
        for entry in left {
            let Some(topic) = self.topics.get_mut(&entry.topic) else { continue };
            if topic.entries.remove(&entry.id).is_some() {
                topic.joined.remove(&entry.id);
                // Told even if the joining was not: it may have been part of somebody's state.
                topic.left.insert(entry.id, entry.clone());
                self.changed.insert(entry.topic.clone());
            }
        }
    }

    fn topic(&mut self, topic: &str) -> &mut Present {
        self.topics.entry(topic.into()).or_insert_with(|| Present {
            entries: Entries::new(),
            joined: Entries::new(),
            left: Entries::new(),
            diffs: broadcast::Sender::new(DIFFS_MAX),
        })
    }

    /// How many are present on a topic, and how many of them are the same `key`.
    pub(crate) fn count(&self, topic: &str, key: &str) -> (usize, usize) {
        let Some(topic) = self.topics.get(topic) else { return (0, 0) };
        let same = topic.entries.values().filter(|entry| &*entry.key == key);
        (topic.entries.len(), same.count())
    }

    /// How many are present, over all topics.
    pub(crate) fn total(&self) -> usize {
        self.topics.values().map(|topic| topic.entries.len()).sum()
    }

    /// Who is present on a topic now, and whatever changes after that.
    pub(crate) fn watch(&mut self, topic: &str) -> (String, broadcast::Receiver<Arc<str>>) {
        let topic = self.topic(topic);
        (json_of(&topic.entries), topic.diffs.subscribe())
    }

    /// Whether watchers are to be told something.
    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Tells the watchers what changed, and forgets topics where nobody is left.
    pub(crate) fn tell(&mut self) {
        for name in std::mem::take(&mut self.changed) {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let joins = json_of(&std::mem::take(&mut topic.joined));
            let leaves = json_of(&std::mem::take(&mut topic.left));
            if topic.diffs.receiver_count() > 0 {
                let diff = format!("{{\"joins\":{joins},\"leaves\":{leaves}}}");
                // Whoever has gone since needs no diff.
                let _ = topic.diffs.send(diff.into());
            } else if topic.entries.is_empty() {
                self.topics.remove(&name);
            }
        }
    }

    /// Forgets topics where nobody is present and nobody watches.
    pub(crate) fn sweep(&mut self) {
        self.topics.retain(|_, topic| {
            !topic.entries.is_empty() || !topic.left.is_empty() || topic.diffs.receiver_count() > 0
        });
    }
}

/// `{key: {metas: [meta…]}}`; the metas of a key in the order in which they came.
fn json_of(entries: &Entries) -> String {
    let mut by_key = BTreeMap::<&str, Vec<&str>>::new();
    for entry in entries.values() {
        by_key.entry(&entry.key).or_default().push(&entry.meta);
    }
    let mut text = String::from("{");
    for (key, metas) in by_key {
        let comma = if text.len() > 1 { "," } else { "" };
        let key = serde_json::Value::from(key);
        // Writing to a text cannot fail. A meta is JSON already.
        let _ = write!(text, "{comma}{key}:{{\"metas\":[{}]}}", metas.join(","));
    }
    text.push('}');
    text
}
