//! Signals: flags that are raised once, and whoever waits for them.

use std::sync::atomic::Ordering;

use crate::sync::{AtomicU8, Notify};

const STOPPING: u8 = 1;
const GONE: u8 = 2;

/// The two signals of a process. There are many processes, so both share what wakes those who
/// wait; whoever is woken by the other signal goes on waiting.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    raised: AtomicU8,
    notify: Notify,
}

impl Signals {
    /// The process is to stop.
    pub(crate) const fn stopping(&self) -> Signal<'_> {
        Signal { signals: self, flag: STOPPING }
    }

    /// The process is gone, with all below it.
    pub(crate) const fn gone(&self) -> Signal<'_> {
        Signal { signals: self, flag: GONE }
    }
}

/// A flag that is raised once and can be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal<'a> {
    signals: &'a Signals,
    flag: u8,
}

impl Signal<'_> {
    pub(crate) fn raise(self) {
        self.signals.raised.fetch_or(self.flag, Ordering::Release);
        self.signals.notify.notify_waiters();
    }

    pub(crate) fn is_raised(self) -> bool {
        self.signals.raised.load(Ordering::Acquire) & self.flag != 0
    }

    pub(crate) async fn raised(self) {
        while !self.is_raised() {
            let notified = self.signals.notify.notified();
            let mut notified = std::pin::pin!(notified);
            // Enrolled before the second look, or a raise between look and wait would be missed.
            notified.as_mut().enable();
            if !self.is_raised() {
                notified.await;
            }
        }
    }
}
