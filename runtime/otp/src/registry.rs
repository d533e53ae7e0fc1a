//! Registries: processes found by a key, with a value each.
//!
//! A [`Registry`] maps keys to the processes that hold them. Under unique keys one process holds a
//! key; under duplicate keys any number do, a local publish and subscribe. An entry vanishes with
//! its process, before the supervisor of that process hears of the death, so a restarted actor
//! finds its name free. Anybody may make a registry and hand out its clones, which share it; there
//! is none for all.
//!
//! An actor takes a name in its `init`, and others reach whoever has it through a [`Via`]:
//!
//! ```
//! use otp::{Actor, ChildSpec, Clock, Context, ExitReason, Registry, Reply, Root, StartError};
//! use otp::{ActorRef, Strategy, SupervisorSpec};
//!
//! type Greeters = Registry<&'static str, ActorRef<Reply<&'static str>>>;
//!
//! struct Greeter(Greeters);
//!
//! impl Actor for Greeter {
//!     type Message = Reply<&'static str>;
//!
//!     async fn init(&mut self, context: &Context<Self::Message>) -> Result<(), StartError> {
//!         Ok(self.0.register_actor(context, "greeter")?)
//!     }
//!
//!     async fn handle(
//!         &mut self,
//!         reply: Self::Message,
//!         _: &Context<Self::Message>,
//!     ) -> Result<(), ExitReason> {
//!         reply.send("hello");
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Greeters::unique();
//! let greeters = registry.clone();
//! let greeter = ChildSpec::worker("any", move || Greeter(greeters.clone()));
//! let spec = SupervisorSpec::new(Strategy::OneForOne).child(greeter);
//! let root = Root::start(spec, Clock::system()).await?;
//!
//! let greeter = registry.via("greeter");
//! assert_eq!(greeter.request(|reply| reply).await?, "hello");
//! root.stop().await;
//! assert_eq!(registry.count(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! One lock guards all entries; reads share it. It is held for the look-up or the change and the
//! telling of listeners only. Code of a user runs under it in [`Registry::select`],
//! [`Registry::count_match`] and [`Registry::update_value`], and in the `Eq`, `Hash`, `Clone` and
//! `Drop` of keys and values: none of that may use the registry.

mod book;
mod via;

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::broadcast;

use crate::exit::StartError;
use crate::incarnation::Pid;
use crate::watch::WatchId;
use book::{Book, Removed};

pub use via::Via;

/// How many changes a listener of a registry may lag behind before it misses some.
pub const LISTENER_BACKLOG: usize = 1_024;

/// A handle on one registry; clones are handles on the same one.
pub struct Registry<K: Eq + Hash + Clone, V>(Arc<Shared<K, V>>);

struct Shared<K: Eq + Hash + Clone, V> {
    is_unique: bool,
    book: RwLock<Book<K, V>>,
    /// Made with the first listener.
    listeners: OnceLock<broadcast::Sender<RegistryEvent<K, V>>>,
    metadata: RwLock<HashMap<String, Arc<dyn Any + Send + Sync>>>,
}

/// Why a process was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The key is unique and has a holder, which may be the same process.
    #[error("already registered by {pid:?}")]
    AlreadyRegistered {
        /// The holder.
        pid: Pid,
    },
    /// The process is dead.
    #[error("no such process")]
    NoProc,
}

impl From<RegisterError> for StartError {
    fn from(error: RegisterError) -> Self {
        Self::failed(error)
    }
}

/// The stream of the changes of a registry.
pub type Listener<K, V> = broadcast::Receiver<RegistryEvent<K, V>>;

/// A change of the entries of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryEvent<K, V> {
    /// There is a new entry.
    Registered {
        /// What it is found by.
        key: K,
        /// The process it belongs to.
        pid: Pid,
        /// What it was registered with.
        value: V,
    },
    /// An entry was removed, or has vanished with its process.
    Unregistered {
        /// What it was found by.
        key: K,
        /// The process it belonged to.
        pid: Pid,
        /// Its last value.
        value: V,
    },
}

impl<K, V> Registry<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty registry in which a key has one holder.
    #[must_use]
    pub fn unique() -> Self {
        Self::new(true)
    }

    /// An empty registry in which a key has any number of holders, and a process may hold a key
    /// several times.
    #[must_use]
    pub fn duplicate() -> Self {
        Self::new(false)
    }

    fn new(is_unique: bool) -> Self {
        Self(Arc::new(Shared {
            is_unique,
            book: RwLock::default(),
            listeners: OnceLock::new(),
            metadata: RwLock::default(),
        }))
    }

    /// Enters `pid` under `key` with a value, until its end.
    pub fn register(&self, pid: &Pid, key: K, value: V) -> Result<(), RegisterError> {
        let mut book = self.0.write();
        if self.0.is_unique
            && let Some(entry) = book.under(&key).first()
        {
            let holder = entry.pid.clone();
            if holder.0.death().is_none() {
                return Err(RegisterError::AlreadyRegistered { pid: holder });
            }
            // It died this instant and waits for the lock to be forgotten.
            self.0.tell(book.remove_all(&holder));
        }
        if pid.0.death().is_some() {
            return Err(RegisterError::NoProc);
        }
        // An end of the process from here on waits for the lock, and then finds the entry.
        let watch = if book.knows(pid) { None } else { Some(self.watch(pid)?) };
        if let Some(listeners) = self.0.listeners() {
            let (key, value) = (key.clone(), value.clone());
            let event = RegistryEvent::Registered { key, pid: pid.clone(), value };
            // Nobody listens at the moment.
            let _ = listeners.send(event);
        }
        book.insert(pid, key, value, watch);
        Ok(())
    }

    fn watch(&self, pid: &Pid) -> Result<WatchId, RegisterError> {
        let (registry, watched) = (Arc::downgrade(&self.0), Arc::downgrade(&pid.0));
        let forget = move |_: &_| {
            if let (Some(registry), Some(watched)) = (registry.upgrade(), watched.upgrade()) {
                let mut book = registry.write();
                registry.tell(book.remove_all(&Pid(watched)));
            }
        };
        pid.0.watch(Box::new(forget)).map_err(|_| RegisterError::NoProc)
    }

    /// Removes what `pid` has under `key`; says how many entries that were.
    pub fn unregister(&self, key: &K, pid: &Pid) -> usize {
        self.unregister_match(key, pid, |_| true)
    }

    /// Removes what `pid` has under `key` with a value that `is_it`; says how many entries that
    /// were.
    pub fn unregister_match(&self, key: &K, pid: &Pid, mut is_it: impl FnMut(&V) -> bool) -> usize {
        let mut book = self.0.write();
        let (removed, watch) = book.remove(key, pid, |entry| is_it(&entry.value));
        if let Some(watch) = watch {
            pid.0.unwatch(watch);
        }
        let count = removed.len();
        self.0.tell(removed);
        count
    }

    /// Removes the oldest entry of `pid` under `key`; says whether there was one.
    pub(crate) fn unregister_one(&self, key: &K, pid: &Pid) -> bool {
        let mut is_first = true;
        self.unregister_match(key, pid, |_| std::mem::take(&mut is_first)) > 0
    }

    /// Replaces the values that `pid` has under `key`; says how many those were. Listeners are not
    /// told.
    pub fn update_value(&self, key: &K, pid: &Pid, mut change: impl FnMut(&V) -> V) -> usize {
        let mut book = self.0.write();
        book.of_mut(key, pid).map(|entry| entry.value = change(&entry.value)).count()
    }

    /// Who is registered under `key`, with what value, oldest first.
    #[must_use]
    pub fn lookup(&self, key: &K) -> Vec<(Pid, V)> {
        let book = self.0.read();
        let living = book.under(key).iter().filter(|entry| entry.pid.0.death().is_none());
        living.map(|entry| (entry.pid.clone(), entry.value.clone())).collect()
    }

    /// Who is registered under `key`: the holder of a unique key, the oldest one of another.
    #[must_use]
    pub fn whereis(&self, key: &K) -> Option<Pid> {
        self.first(key, |pid, _| pid.clone())
    }

    fn first<T>(&self, key: &K, take: impl FnOnce(&Pid, &V) -> T) -> Option<T> {
        let book = self.0.read();
        let entry = book.under(key).iter().find(|entry| entry.pid.0.death().is_none())?;
        Some(take(&entry.pid, &entry.value))
    }

    /// The key of every entry of `pid`, oldest first.
    #[must_use]
    pub fn keys(&self, pid: &Pid) -> Vec<K> {
        self.0.read().keys_of(pid)
    }

    /// The values that `pid` has under `key`, oldest first.
    #[must_use]
    pub fn values(&self, key: &K, pid: &Pid) -> Vec<V> {
        self.0.read().of(key, pid).map(|entry| entry.value.clone()).collect()
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.read().len()
    }

    /// How many entries there are under `key` that `is_it`.
    #[must_use]
    pub fn count_match(&self, key: &K, mut is_it: impl FnMut(&Pid, &V) -> bool) -> usize {
        self.0.read().under(key).iter().filter(|entry| is_it(&entry.pid, &entry.value)).count()
    }

    /// What `pick` makes of all entries, oldest first, without those it makes nothing of.
    #[must_use]
    pub fn select<T>(&self, mut pick: impl FnMut(&K, &Pid, &V) -> Option<T>) -> Vec<T> {
        let book = self.0.read();
        let mut all: Vec<_> = book.all().collect();
        all.sort_unstable_by_key(|(_, entry)| entry.number);
        all.into_iter().filter_map(|(key, entry)| pick(key, &entry.pid, &entry.value)).collect()
    }

    /// Calls `tell` with the entries under `key`, oldest first, unless there are none; says how
    /// many there were. Runs in the caller and without the lock.
    pub fn dispatch(&self, key: &K, tell: impl FnOnce(&[(Pid, V)])) -> usize {
        let entries = self.lookup(key);
        if !entries.is_empty() {
            tell(&entries);
        }
        entries.len()
    }

    /// All keys that have entries, the one with the oldest entry first.
    pub(crate) fn all_keys(&self) -> Vec<K> {
        self.0.read().keys()
    }

    /// The changes from now on, in their order. A listener that lags more than
    /// [`LISTENER_BACKLOG`] behind is told how much it missed.
    #[must_use]
    pub fn listen(&self) -> Listener<K, V> {
        self.0.listeners.get_or_init(|| broadcast::Sender::new(LISTENER_BACKLOG)).subscribe()
    }

    /// The entries under `key` or all of them, oldest first, and the changes from just then on,
    /// which are those of all keys.
    pub(crate) fn listen_after(&self, key: Option<&K>) -> (Vec<(K, V)>, Listener<K, V>) {
        let book = self.0.read();
        // Changes are told under the lock, so none falls between.
        let changes = self.listen();
        let mut entries: Vec<_> = match key {
            Some(key) => book.under(key).iter().map(|entry| (key, entry)).collect(),
            None => book.all().collect(),
        };
        entries.sort_unstable_by_key(|(_, entry)| entry.number);
        let entry = |(key, entry): (&K, &book::Entry<V>)| (key.clone(), entry.value.clone());
        (entries.into_iter().map(entry).collect(), changes)
    }

    /// Notes something about the registry itself, in place of what was noted under `name`.
    pub fn put_meta<T: Send + Sync + 'static>(&self, name: impl Into<String>, value: T) {
        let mut metadata = self.0.metadata.write().unwrap_or_else(PoisonError::into_inner);
        metadata.insert(name.into(), Arc::new(value));
    }

    /// What was noted under `name`, if it is a `T`.
    #[must_use]
    pub fn meta<T: Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        let metadata = self.0.metadata.read().unwrap_or_else(PoisonError::into_inner);
        metadata.get(name)?.clone().downcast().ok()
    }

    /// Forgets what was noted under `name`; says whether there was anything.
    pub fn delete_meta(&self, name: &str) -> bool {
        let mut metadata = self.0.metadata.write().unwrap_or_else(PoisonError::into_inner);
        metadata.remove(name).is_some()
    }
}

impl<K: Eq + Hash + Clone, V> Shared<K, V> {
    // A panic of a user's code under the lock cannot have left the book half-changed: it runs
    // between changes.
    fn read(&self) -> RwLockReadGuard<'_, Book<K, V>> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book<K, V>> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> Option<&broadcast::Sender<RegistryEvent<K, V>>> {
        self.listeners.get().filter(|listeners| listeners.receiver_count() > 0)
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Shared<K, V> {
    /// Tells the listeners what has been removed, while the lock is held.
    fn tell(&self, removed: Removed<K, V>) {
        let Some(listeners) = self.listeners() else { return };
        for (key, entry) in removed {
            let event = RegistryEvent::Unregistered { key, pid: entry.pid, value: entry.value };
            // Nobody listens any more.
            let _ = listeners.send(event);
        }
    }
}

impl<K: Eq + Hash + Clone, V> Drop for Shared<K, V> {
    fn drop(&mut self) {
        let book = self.book.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (pid, watch) in book.watches() {
            pid.0.unwatch(watch);
        }
    }
}

impl<K: Eq + Hash + Clone, V> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone, V> fmt::Debug for Registry<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = if self.0.is_unique { "unique" } else { "duplicate" };
        formatter.debug_struct("Registry").field("keys", &keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
