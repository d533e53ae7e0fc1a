//! Watches: what is to happen when a process ends.
//!
//! Monitors, registries and groups all need to know of a death at once and none of them is a
//! supervisor. A process keeps what they want done, and does it at its exit. Most processes are
//! never watched, so the list is made with the first watch.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::exit::{ExitReason, panic_message};
use crate::sync::{AtomicBool, Mutex, MutexGuard, OnceLock, fence};

/// What a watch does when the process ends.
pub(crate) type Act = Box<dyn FnOnce(&ExitReason) + Send>;

/// The number of a watch on one process, to take it back by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WatchId(u64);

/// What is to happen at the end of one process.
#[derive(Default)]
pub(crate) struct Watches {
    book: OnceLock<Box<Mutex<Book>>>,
    /// Also true of a process that never came up, and therefore never died.
    is_over: AtomicBool,
}

#[derive(Default)]
struct Book {
    last: u64,
    acts: BTreeMap<u64, Act>,
}

impl Watches {
    /// Keeps `act` for the end of the process; gives it back when `is_over` says that it has come.
    ///
    /// It runs where the process ends, in the order of the watches, so it must be short and must
    /// not block.
    pub(crate) fn add(&self, act: Act, is_over: impl FnOnce() -> bool) -> Result<WatchId, Act> {
        let mut book = lock(self.book.get_or_init(Box::default));
        book.last += 1;
        let id = book.last;
        book.acts.insert(id, act);
        drop(book);
        // Either this sees the end, or the end sees the watch; without the fences neither might.
        fence(Ordering::SeqCst);
        let is_over = self.is_over.load(Ordering::Relaxed) || is_over();
        match is_over.then(|| self.take(WatchId(id))).flatten() {
            Some(act) => Err(act),
            None => Ok(WatchId(id)),
        }
    }

    /// Takes a watch back; says whether it was still waiting.
    pub(crate) fn remove(&self, id: WatchId) -> bool {
        // Dropped after the lock: it may hold the last reference to anything.
        self.take(id).is_some()
    }

    /// The process has ended, and whoever asks is told so: does what it was watched for.
    pub(crate) fn end(&self, reason: &ExitReason) {
        self.is_over.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let Some(book) = self.book.get() else { return };
        let acts = std::mem::take(&mut lock(book).acts);
        for act in acts.into_values() {
            // An act may run code of a user, and its panic must not keep the end from the others.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| act(reason))) {
                let panic = panic_message(panic.as_ref());
                tracing::error!(panic, "what was to happen at the end of a process panicked");
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.book.get().map_or(0, |book| lock(book).acts.len())
    }

    fn take(&self, id: WatchId) -> Option<Act> {
        lock(self.book.get()?).acts.remove(&id.0)
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Watches {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watches").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn note(notes: &Arc<Mutex<Vec<String>>>, name: &'static str) -> Act {
        let notes = notes.clone();
        Box::new(move |reason| notes.lock().unwrap().push(format!("{name}: {reason}")))
    }

    #[test]
    fn watches_act_once_in_order_and_those_taken_back_not_at_all() {
        let (watches, notes) = (Watches::default(), Arc::default());
        let alive = || false;
        let ids = ["first", "second", "third"]
            .map(|name| watches.add(note(&notes, name), alive).ok().unwrap());

        let taken_back = [watches.remove(ids[1]), watches.remove(ids[1])];
        watches.end(&ExitReason::Killed);
        watches.end(&ExitReason::Killed);

        assert_eq!(taken_back, [true, false]);
        assert_eq!(*notes.lock().unwrap(), ["first: killed", "third: killed"]);
    }

    #[test]
    fn a_watch_that_panics_keeps_the_end_from_no_other() {
        let (watches, notes) = (Watches::default(), Arc::default());
        let alive = || false;
        let panics: Act = Box::new(|_| std::panic::resume_unwind(Box::new("planned")));
        assert!(watches.add(panics, alive).is_ok());
        assert!(watches.add(note(&notes, "second"), alive).is_ok());

        watches.end(&ExitReason::Normal);

        assert_eq!(*notes.lock().unwrap(), ["second: normal"]);
    }

    #[test]
    fn a_watch_that_races_with_the_end_either_acts_or_is_given_back() {
        for _ in 0..2_000 {
            let (watches, notes) = (Watches::default(), Arc::default());
            let ready = std::sync::Barrier::new(2);

            let added = std::thread::scope(|threads| {
                threads.spawn(|| {
                    ready.wait();
                    watches.end(&ExitReason::Normal);
                });
                ready.wait();
                watches.add(note(&notes, "watch"), || false).is_ok()
            });

            assert_eq!(notes.lock().unwrap().len(), usize::from(added));
        }
    }

    #[test]
    fn a_watch_on_a_process_that_is_over_is_given_back() {
        let (dead, never_up) = (Watches::default(), Watches::default());
        never_up.end(&ExitReason::Normal);

        assert!(dead.add(Box::new(|_| {}), || true).is_err());
        assert!(never_up.add(Box::new(|_| {}), || false).is_err());
    }
}
