//! The entries of a registry, by key and by process. Nothing here locks, watches or tells.

use std::collections::HashMap;
use std::hash::Hash;

use crate::incarnation::Pid;
use crate::watch::WatchId;

/// What is registered, and by whom.
pub(super) struct Book<K, V> {
    last: u64,
    /// By key, oldest first; a key without entries is not there.
    entries: HashMap<K, Vec<Entry<V>>>,
    /// By process; a process without entries is not there.
    holders: HashMap<Pid, Holder<K>>,
}

pub(super) struct Entry<V> {
    /// Counts registrations, so that entries of several keys can be put in order.
    pub(super) number: u64,
    pub(super) pid: Pid,
    pub(super) value: V,
}

struct Holder<K> {
    watch: WatchId,
    held: HashMap<K, Vec<u64>>,
}

/// Entries that have been removed, oldest first.
pub(super) type Removed<K, V> = Vec<(K, Entry<V>)>;

impl<K, V> Default for Book<K, V> {
    fn default() -> Self {
        Self { last: 0, entries: HashMap::new(), holders: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, V> Book<K, V> {
    /// The entries under `key`, oldest first.
    pub(super) fn under(&self, key: &K) -> &[Entry<V>] {
        self.entries.get(key).map_or(&[], Vec::as_slice)
    }

    /// The entries of `pid` under `key`, oldest first.
    pub(super) fn of(&self, key: &K, pid: &Pid) -> impl Iterator<Item = &Entry<V>> {
        self.under(key).iter().filter(move |entry| entry.pid == *pid)
    }

    /// The entries of `pid` under `key`, to be changed.
    pub(super) fn of_mut(&mut self, key: &K, pid: &Pid) -> impl Iterator<Item = &mut Entry<V>> {
        let entries = self.entries.get_mut(key).map_or(&mut [][..], Vec::as_mut_slice);
        entries.iter_mut().filter(move |entry| entry.pid == *pid)
    }

    /// Everything, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&K, &Entry<V>)> {
        self.entries.iter().flat_map(|(key, entries)| entries.iter().map(move |it| (key, it)))
    }

    /// The keys, the one with the oldest entry first.
    pub(super) fn keys(&self) -> Vec<K> {
        let mut keys: Vec<_> =
            self.entries.iter().map(|(key, entries)| (entries[0].number, key)).collect();
        keys.sort_unstable_by_key(|(number, _)| *number);
        keys.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// The key of each entry of `pid`, oldest first.
    pub(super) fn keys_of(&self, pid: &Pid) -> Vec<K> {
        let held = self.holders.get(pid).into_iter().flat_map(|holder| &holder.held);
        let mut keys: Vec<_> = held
            .flat_map(|(key, numbers)| numbers.iter().map(move |number| (number, key)))
            .collect();
        keys.sort_unstable_by_key(|(number, _)| **number);
        keys.into_iter().map(|(_, key)| key.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.values().map(Vec::len).sum()
    }

    /// Whether `pid` has an entry, and with it a watch.
    pub(super) fn knows(&self, pid: &Pid) -> bool {
        self.holders.contains_key(pid)
    }

    /// Adds an entry; `watch` is kept with the first one of a process.
    pub(super) fn insert(&mut self, pid: &Pid, key: K, value: V, watch: Option<WatchId>) {
        self.last += 1;
        let number = self.last;
        if let Some(watch) = watch {
            self.holders.insert(pid.clone(), Holder { watch, held: HashMap::new() });
        }
        if let Some(holder) = self.holders.get_mut(pid) {
            holder.held.entry(key.clone()).or_default().push(number);
        }
        // Most keys have one entry.
        let entries = self.entries.entry(key).or_insert_with(|| Vec::with_capacity(1));
        entries.push(Entry { number, pid: pid.clone(), value });
    }

    /// Removes the entries of `pid` under `key` that `is_it`, and its watch with its last entry.
    pub(super) fn remove(
        &mut self,
        key: &K,
        pid: &Pid,
        mut is_it: impl FnMut(&Entry<V>) -> bool,
    ) -> (Removed<K, V>, Option<WatchId>) {
        let numbers: Vec<_> =
            self.of(key, pid).filter(|entry| is_it(entry)).map(|entry| entry.number).collect();
        let removed = numbers.iter().filter_map(|number| self.take(key, *number)).collect();
        let Some(holder) = self.holders.get_mut(pid) else { return (removed, None) };
        if let Some(held) = holder.held.get_mut(key) {
            held.retain(|number| !numbers.contains(number));
            if held.is_empty() {
                holder.held.remove(key);
            }
        }
        let is_last = holder.held.is_empty();
        let watch = is_last.then(|| self.holders.remove(pid)).flatten().map(|holder| holder.watch);
        (removed, watch)
    }

    /// Removes everything of `pid`.
    pub(super) fn remove_all(&mut self, pid: &Pid) -> Removed<K, V> {
        let Some(holder) = self.holders.remove(pid) else { return Vec::new() };
        let held = holder.held.into_iter();
        let held =
            held.flat_map(|(key, numbers)| numbers.into_iter().map(move |it| (key.clone(), it)));
        let mut removed: Vec<_> =
            held.filter_map(|(key, number)| self.take(&key, number)).collect();
        removed.sort_unstable_by_key(|(_, entry)| entry.number);
        removed
    }

    /// The watches on all processes that have entries.
    pub(super) fn watches(&self) -> impl Iterator<Item = (&Pid, WatchId)> {
        self.holders.iter().map(|(pid, holder)| (pid, holder.watch))
    }

    fn take(&mut self, key: &K, number: u64) -> Option<(K, Entry<V>)> {
        let entries = self.entries.get_mut(key)?;
        let at = entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
        let entry = entries.remove(at);
        if entries.is_empty() {
            self.entries.remove(key);
        }
        Some((key.clone(), entry))
    }
}
