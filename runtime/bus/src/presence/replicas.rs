//! Replicas: what this node has, and what it knows of the others.
//!
//! Each entry is written only by the node that holds its connection, so no two nodes can disagree
//! about one, and there is nothing to merge: of every node the newest version holds. A node says
//! what changed, and now and then at which version it is; whoever finds that it missed something
//! asks for all there is.
//!
//! **Invariant:** nothing here waits or reads a clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::presence::word::{Change, Entry, Word, in_words};

/// A node not heard for so long is taken to be gone, and whoever is present there with it.
pub(crate) const SILENT_MAX: Duration = Duration::from_secs(30);
/// Above so many changes that nobody has carried yet, all there is is said instead.
const UNSAID_MAX: usize = 10_000;

/// Who came and who went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) joined: Vec<Arc<Entry>>,
    pub(crate) left: Vec<Arc<Entry>>,
}

/// What one node knows.
#[derive(Debug)]
pub(crate) struct Replicas {
    node: Box<str>,
    life: Uuid,
    version: u64,
    own: BTreeMap<Uuid, Arc<Entry>>,
    others: HashMap<Box<str>, Replica>,
    outbox: Outbox,
}

/// What is to be said.
#[derive(Debug, Default)]
struct Outbox {
    /// The latest changes, up to the version this node is at.
    changes: VecDeque<Change>,
    /// All there is, being said.
    parts: VecDeque<Word>,
    wants_set: bool,
    wants_here: bool,
    asks: BTreeSet<Box<str>>,
    gone: Option<Word>,
}

/// What is known of another node.
#[derive(Debug)]
struct Replica {
    life: Uuid,
    /// The version the entries are of; `None` when something was missed.
    version: Option<u64>,
    entries: BTreeMap<Uuid, Arc<Entry>>,
    heard_at: Instant,
    staged: Option<Staged>,
}

/// Parts of a set that is not complete yet.
#[derive(Debug)]
struct Staged {
    version: u64,
    next_part: u32,
    entries: BTreeMap<Uuid, Arc<Entry>>,
}

impl Replicas {
    pub(crate) fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            life: Uuid::nil(),
            version: 0,
            own: BTreeMap::new(),
            others: HashMap::new(),
            outbox: Outbox::default(),
        }
    }

    /// Begins a new life, later than all before: says all there is, and asks for all there is.
    pub(crate) fn begin(&mut self, life: Uuid) {
        self.life = life;
        self.version = self.own.len() as u64;
        self.outbox = Outbox { wants_set: true, ..Outbox::default() };
        for (node, replica) in &mut self.others {
            replica.version = None;
            replica.staged = None;
            self.outbox.asks.insert(node.clone());
        }
    }

    /// How many are present on this node.
    pub(crate) fn own_count(&self) -> usize {
        self.own.len()
    }

    pub(crate) fn own(&self, id: Uuid) -> Option<&Arc<Entry>> {
        self.own.get(&id)
    }

    #[cfg(test)]
    pub(crate) fn own_list(&self) -> Vec<Arc<Entry>> {
        self.own.values().cloned().collect()
    }

    /// Somebody came to this node.
    pub(crate) fn put(&mut self, entry: &Arc<Entry>) {
        self.own.insert(entry.id, entry.clone());
        self.changed(Change::In(Entry::clone(entry)));
    }

    /// Somebody left this node.
    pub(crate) fn remove(&mut self, id: Uuid) -> Option<Arc<Entry>> {
        let removed = self.own.remove(&id)?;
        self.changed(Change::Out(id));
        Some(removed)
    }

    fn changed(&mut self, change: Change) {
        self.version += 1;
        if self.outbox.changes.len() >= UNSAID_MAX {
            self.outbox.changes.clear();
            self.outbox.wants_set = true;
        }
        if !self.outbox.wants_set {
            self.outbox.changes.push_back(change);
        }
    }

    /// Time has passed: says that this node is there, and forgets who is not heard any more.
    pub(crate) fn tick(&mut self, now: Instant) -> Moved {
        // Whoever never had anything to say is not waited for.
        self.outbox.wants_here = self.version > 0;
        let mut left = Vec::new();
        self.others.retain(|_, replica| {
            let is_heard = now.duration_since(replica.heard_at) < SILENT_MAX;
            if !is_heard {
                left.extend(std::mem::take(&mut replica.entries).into_values());
            }
            is_heard
        });
        Moved { joined: Vec::new(), left }
    }

    /// Says goodbye, if anybody may have noticed that it was there.
    pub(crate) fn leave(&mut self) {
        if self.version > 0 {
            let gone = Word::Gone { node: self.node.clone(), life: self.life };
            self.outbox = Outbox { gone: Some(gone), ..Outbox::default() };
        }
    }

    /// Whether all is said.
    pub(crate) fn is_silent(&self) -> bool {
        let Outbox { changes, parts, wants_set, wants_here, asks, gone } = &self.outbox;
        let says_nothing = changes.is_empty() && parts.is_empty() && asks.is_empty();
        says_nothing && !wants_set && !wants_here && gone.is_none()
    }

    /// The next thing to say.
    pub(crate) fn next_word(&mut self) -> Option<Word> {
        let (node, life, version) = (self.node.clone(), self.life, self.version);
        let outbox = &mut self.outbox;
        if let Some(gone) = outbox.gone.take() {
            return Some(gone);
        }
        if let Some(part) = outbox.parts.pop_front() {
            return Some(part);
        }
        if std::mem::take(&mut outbox.wants_set) {
            outbox.changes.clear();
            let entries = self.own.values().map(|entry| Entry::clone(entry));
            let parts = in_words(entries);
            let last = parts.len() - 1;
            outbox.parts = (0..)
                .zip(parts)
                .map(|(part, entries)| {
                    let is_last = part as usize == last;
                    Word::Set { node: node.clone(), life, version, part, is_last, entries }
                })
                .collect();
            return outbox.parts.pop_front();
        }
        if !outbox.changes.is_empty() {
            let from = version - outbox.changes.len() as u64;
            let changes = in_words(outbox.changes.drain(..)).into_iter();
            let mut rest = changes;
            let changes = rest.next().unwrap_or_default();
            outbox.changes.extend(rest.flatten());
            return Some(Word::Delta { node, life, from, changes });
        }
        if let Some(of) = outbox.asks.pop_first() {
            return Some(Word::Ask { of });
        }
        std::mem::take(&mut outbox.wants_here).then_some(Word::Here { node, life, version })
    }

    /// Hears what another node says.
    pub(crate) fn hear(&mut self, word: Word, now: Instant) -> Moved {
        match word {
            Word::Ask { of } => {
                self.outbox.wants_set |= of == self.node;
                Moved::default()
            }
            Word::Gone { node, life } => self.forget(&node, life),
            Word::Here { node, life, version } => {
                self.replica(node, life, now, |replica| replica.is_at(version))
            }
            Word::Delta { node, life, from, changes } => {
                self.replica(node, life, now, |replica| replica.change(from, changes))
            }
            Word::Set { node, life, version, part, is_last, entries } => {
                self.replica(node, life, now, |replica| {
                    replica.stage(version, part, entries);
                    if is_last { replica.replace() } else { Moved::default() }
                })
            }
        }
    }

    /// Lets a replica hear something; asks for everything if it missed something.
    fn replica(
        &mut self,
        node: Box<str>,
        life: Uuid,
        now: Instant,
        hear: impl FnOnce(&mut Replica) -> Moved,
    ) -> Moved {
        if node == self.node {
            return Moved::default();
        }
        let replica = self.others.entry(node.clone()).or_insert_with(|| Replica {
            life,
            version: Some(0),
            entries: BTreeMap::new(),
            heard_at: now,
            staged: None,
        });
        if life < replica.life {
            return Moved::default();
        }
        if life > replica.life {
            // Whoever was present in the life before stays until it is known who is in this one.
            replica.life = life;
            replica.version = None;
            replica.staged = None;
        }
        replica.heard_at = now;
        let moved = hear(replica);
        if replica.version.is_none() && replica.staged.is_none() {
            self.outbox.asks.insert(node);
        }
        moved
    }

    fn forget(&mut self, node: &str, life: Uuid) -> Moved {
        if self.others.get(node).is_none_or(|replica| replica.life > life) {
            return Moved::default();
        }
        let gone = self.others.remove(node).map(|replica| replica.entries);
        let left = gone.into_iter().flat_map(BTreeMap::into_values).collect();
        Moved { joined: Vec::new(), left }
    }
}

impl Replica {
    fn is_at(&mut self, version: u64) -> Moved {
        self.staged = None;
        if self.version != Some(version) {
            self.version = None;
        }
        Moved::default()
    }

    fn change(&mut self, from: u64, changes: Vec<Change>) -> Moved {
        let mut moved = Moved::default();
        // The parts of a set come one after the other; this one is not going to be complete.
        self.staged = None;
        if self.version != Some(from) {
            self.version = None;
            return moved;
        }
        self.version = Some(from + changes.len() as u64);
        for change in changes {
            match change {
                Change::In(entry) => {
                    let entry = Arc::new(entry);
                    self.entries.insert(entry.id, entry.clone());
                    moved.joined.push(entry);
                }
                Change::Out(id) => moved.left.extend(self.entries.remove(&id)),
            }
        }
        moved
    }

    fn stage(&mut self, version: u64, part: u32, entries: Vec<Entry>) {
        if part == 0 {
            self.staged = Some(Staged { version, next_part: 0, entries: BTreeMap::new() });
        }
        let fits = |staged: &&mut Staged| staged.version == version && staged.next_part == part;
        let Some(staged) = self.staged.as_mut().filter(fits) else {
            self.staged = None;
            self.version = None;
            return;
        };
        staged.next_part += 1;
        staged.entries.extend(entries.into_iter().map(|entry| (entry.id, Arc::new(entry))));
    }

    /// The staged set is complete: it holds from now on.
    fn replace(&mut self) -> Moved {
        let Some(Staged { version, entries, .. }) = self.staged.take() else {
            return Moved::default();
        };
        self.version = Some(version);
        let before = std::mem::replace(&mut self.entries, entries);
        let only_in = |these: &BTreeMap<Uuid, Arc<Entry>>, not: &BTreeMap<Uuid, Arc<Entry>>| {
            these.values().filter(|entry| !not.contains_key(&entry.id)).cloned().collect()
        };
        let joined = only_in(&self.entries, &before);
        Moved { joined, left: only_in(&before, &self.entries) }
    }
}
