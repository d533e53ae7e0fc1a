//! Loom's primitives under the names of the real ones, and models of the two it does not have.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::Ordering;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, fence};
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// A cell that is written once; whether a thread sees that it was is up to loom.
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    is_set: AtomicBool,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self { value: std::sync::OnceLock::new(), is_set: AtomicBool::new(false) }
    }
}

impl<T> OnceLock<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        self.is_set.load(Ordering::Acquire).then(|| self.value.get()).flatten()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(make);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

/// As tokio's: it wakes those that are enrolled at that moment, and nobody later.
#[derive(Default)]
pub(crate) struct Notify(Mutex<Vec<Arc<Enrolled>>>);

#[derive(Default)]
struct Enrolled(Mutex<(bool, Option<Waker>)>);

pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    enrolled: Option<Arc<Enrolled>>,
}

impl Notify {
    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified { notify: self, enrolled: None }
    }

    pub(crate) fn notify_waiters(&self) {
        let enrolled = std::mem::take(&mut *self.0.lock().expect("no holder panics"));
        for one in enrolled {
            let waker = {
                let mut one = one.0.lock().expect("no holder panics");
                one.0 = true;
                one.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl std::fmt::Debug for Notify {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Notify").finish_non_exhaustive()
    }
}

impl Notified<'_> {
    pub(crate) fn enable(mut self: Pin<&mut Self>) -> bool {
        let one = self.enroll();
        let one = one.0.lock().expect("no holder panics");
        one.0
    }

    fn enroll(&mut self) -> Arc<Enrolled> {
        let notify = self.notify;
        let one = self.enrolled.get_or_insert_with(|| {
            let one = Arc::new(Enrolled::default());
            notify.0.lock().expect("no holder panics").push(one.clone());
            one
        });
        one.clone()
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let one = self.enroll();
        let mut one = one.0.lock().expect("no holder panics");
        if one.0 {
            return Poll::Ready(());
        }
        one.1 = Some(context.waker().clone());
        Poll::Pending
    }
}
