//! Signals: a flag that is raised once, and whoever waits for it.

use std::sync::atomic::Ordering;

use crate::sync::{AtomicBool, Notify};

/// A flag that is raised once and can be waited for.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    notify: Notify,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    pub(crate) async fn raised(&self) {
        if self.is_raised() {
            return;
        }
        let notified = self.notify.notified();
        let mut notified = std::pin::pin!(notified);
        // Enrolled before the second look, or a raise between look and wait would be missed.
        notified.as_mut().enable();
        if !self.is_raised() {
            notified.await;
        }
    }
}
