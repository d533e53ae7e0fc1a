//! What one process keeps for those who look inside it.
//!
//! Nothing of this exists until somebody looks, or the process has a bounded mailbox. What is
//! wanted of a process waits here, and a token in its mailbox makes it look; so a process that is
//! suspended, and takes nothing out of its mailbox, can still be asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use crate::call::Reply;
use crate::exit::called;
use crate::mailbox::{Mailbox, Queue};
use crate::sys::Observed;

/// What may be wanted of a process by those who look inside.
pub(crate) enum System {
    /// An answer as soon as it has left behind what it is doing.
    Pass(Reply<()>),
    /// Its state, if it offers one; or why describing it failed.
    State(Reply<Result<Option<Value>, String>>),
    Suspend(Reply<()>),
    Resume(Reply<()>),
}

/// Somebody waits for [`System::Pass`].
const PASSING: u8 = 1;
/// Nothing is handled but what is wanted here.
const SUSPENDED: u8 = 2;
/// Messages are counted, logged or traced.
const OBSERVED: u8 = 4;

/// What one process keeps for those who look inside it.
#[derive(Default)]
pub(crate) struct Inside {
    flags: AtomicU8,
    wanted: Mutex<VecDeque<System>>,
    arrived: Notify,
    observed: Mutex<Observed>,
    published: Mutex<Option<Value>>,
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

    /// Waits until something is wanted, unless it is already.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Does what is wanted; `state` describes the process.
    pub(crate) fn serve(&self, state: impl Fn() -> Option<Value>) {
        loop {
            let next = lock(&self.wanted).pop_front();
            match next {
                None => return,
                Some(System::Pass(reply)) => reply.send(()),
                Some(System::State(reply)) => {
                    reply.send(called(&state));
                }
                // Whoever gave up waiting does not know of it, and would not resume.
                Some(System::Suspend(reply)) if reply.is_abandoned() => {}
                Some(System::Suspend(reply)) => {
                    self.flags.fetch_or(SUSPENDED, Ordering::Relaxed);
                    reply.send(());
                }
                Some(System::Resume(reply)) => {
                    self.flags.fetch_and(!SUSPENDED, Ordering::Relaxed);
                    reply.send(());
                }
            }
        }
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & SUSPENDED != 0
    }

    /// The process goes on to its next message, and is told whether anybody looks at that. Those
    /// who wait for just that need wait no longer, however much lies before their token.
    pub(crate) fn go_on(&self) -> bool {
        let flags = self.flags.load(Ordering::Relaxed);
        if flags & PASSING != 0 {
            self.let_pass();
        }
        flags & OBSERVED != 0
    }

    fn let_pass(&self) {
        self.flags.fetch_and(!PASSING, Ordering::Relaxed);
        let mut wanted = lock(&self.wanted);
        for system in std::mem::take(&mut *wanted) {
            match system {
                System::Pass(reply) => reply.send(()),
                other => wanted.push_back(other),
            }
        }
    }

    /// Looks at, or changes, what is kept of the messages.
    pub(crate) fn observed<T>(&self, change: impl FnOnce(&mut Observed) -> T) -> T {
        let mut observed = lock(&self.observed);
        let outcome = change(&mut observed);
        let flag = if observed.is_wanted() { OBSERVED } else { 0 };
        if self.flags.load(Ordering::Relaxed) & OBSERVED != flag {
            // Only changed under the lock, so the flag is what is wanted last.
            self.flags.fetch_xor(OBSERVED, Ordering::Relaxed);
        }
        outcome
    }

    pub(crate) fn publish(&self, state: Value) {
        let before = lock(&self.published).replace(state);
        drop(before);
    }

    pub(crate) fn published(&self) -> Option<Value> {
        lock(&self.published).clone()
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
        self.observed(Observed::end);
        if let Some(queue) = self.queue() {
            queue.close();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held cannot have left it half-written: it holds plain values.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
