//! What one process keeps for those who look inside it.
//!
//! Nothing of this exists until somebody looks, or the process has a bounded mailbox. What is
//! wanted of a process waits here, and a token in its mailbox makes it look; so a process that is
//! suspended, and takes nothing out of its mailbox, can still be asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::call::Reply;
use crate::mailbox::{Mailbox, Queue};

/// What may be wanted of a process by those who look inside.
pub(crate) enum System {
    /// An answer as soon as it has left behind what it is doing.
    Pass(Reply<()>),
}

/// Somebody waits for [`System::Pass`].
const PASSING: u8 = 1;

/// What one process keeps for those who look inside it.
#[derive(Default)]
pub(crate) struct Inside {
    flags: AtomicU8,
    wanted: Mutex<VecDeque<System>>,
    arrived: Notify,
    mailbox: OnceLock<Mailbox>,
    queue: OnceLock<Arc<dyn Queue>>,
}

impl Inside {
    pub(crate) fn want(&self, system: System) {
        let is_passing = matches!(system, System::Pass(_));
        lock(&self.wanted).push_back(system);
        if is_passing {
            self.flags.fetch_or(PASSING, Ordering::Relaxed);
        }
        self.arrived.notify_one();
    }

    /// The next thing that is wanted.
    pub(crate) fn next(&self) -> Option<System> {
        lock(&self.wanted).pop_front()
    }

    /// The process goes on to its next message: those who wait for just that need wait no longer,
    /// however much lies before their token.
    pub(crate) fn go_on(&self) {
        if self.flags.load(Ordering::Relaxed) & PASSING == 0 {
            return;
        }
        self.flags.fetch_and(!PASSING, Ordering::Relaxed);
        let mut wanted = lock(&self.wanted);
        for system in std::mem::take(&mut *wanted) {
            match system {
                System::Pass(reply) => reply.send(()),
            }
        }
    }

    /// Notes how the mailbox is to be; the first word counts.
    pub(crate) fn set_mailbox(&self, mailbox: Mailbox) {
        let _ = self.mailbox.set(mailbox);
    }

    pub(crate) fn mailbox(&self) -> Mailbox {
        self.mailbox.get().copied().unwrap_or_default()
    }

    /// Shows the bounded mailbox of the process.
    pub(crate) fn show_queue(&self, queue: Arc<dyn Queue>) {
        // A process has one mailbox.
        let _ = self.queue.set(queue);
    }

    pub(crate) fn queue(&self) -> Option<&dyn Queue> {
        self.queue.get().map(|queue| &**queue)
    }

    /// The process is no more: nobody is answered, and nothing waits any longer.
    pub(crate) fn end(&self) {
        lock(&self.wanted).clear();
        if let Some(queue) = self.queue() {
            queue.close();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held cannot have left it half-written: it holds plain values.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
