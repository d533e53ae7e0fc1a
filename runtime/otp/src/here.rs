//! Which task runs a process, so that nobody waits for himself.

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;

use crate::incarnation::Incarnation;

thread_local! {
    /// Work that no task of tokio's runs is known by its thread, and that by where this lies.
    static HERE: u8 = const { 0 };
}

/// The number that tells the work of this thread outside of all tasks from that of any task.
fn thread_number() -> u64 {
    // Tasks are counted from 1 and never come to the upper half.
    HERE.with(|here| std::ptr::from_ref(here).addr() as u64 | (1 << 63))
}

impl Incarnation {
    /// Notes the task that calls this as the one that runs the process.
    pub(crate) fn run_here(&self) {
        self.task.store(task_number(), Ordering::Relaxed);
    }

    /// Notes that the task that called [`Incarnation::run_here`] is done with the process.
    pub(crate) fn leave(&self) {
        self.task.store(0, Ordering::Relaxed);
    }

    /// Whether whoever calls this is run by the task of the process: it cannot wait for it.
    pub(crate) fn is_running_here(&self) -> bool {
        self.task.load(Ordering::Relaxed) == task_number()
    }
}

/// The number of the task that calls this.
fn task_number() -> u64 {
    /// Tokio shows the number of a task only to a hasher.
    struct Seen(u64);

    impl Hasher for Seen {
        fn write(&mut self, _: &[u8]) {}

        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    tokio::task::try_id().map_or_else(thread_number, |id| {
        let mut seen = Seen(u64::MAX);
        id.hash(&mut seen);
        seen.0
    })
}
