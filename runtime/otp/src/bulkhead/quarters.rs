//! Quarters: the runtime of a bulkhead during one life of its child.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use futures_util::future::BoxFuture;
use rustix::process::Pid as ThreadId;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

use super::{Bulkhead, BulkheadError, lock};
use crate::child::{Birth, Launch};
use crate::exit::StartError;
use crate::incarnation::Incarnation;
use crate::signal::Signals;
use crate::tree::Tree;
use crate::watchdog::Watchdog;

/// The least of the processor that an abandoned thread can be left with.
const NICEST: i32 = 19;

/// Where in a tree quarters are.
pub(super) struct Place {
    /// The path of the child.
    pub(super) path: Arc<str>,
    pub(super) tree: Tree,
    pub(super) watchdog: Watchdog,
    /// The quarters that the supervisor of the child lives in, if it lives in any.
    pub(super) outer: Option<Arc<Quarters>>,
}

/// The runtime of a bulkhead during one life of its child.
pub(crate) struct Quarters {
    place: Place,
    child: OnceLock<Weak<Incarnation>>,
    bulkhead: Bulkhead,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    threads: Arc<Mutex<HashSet<ThreadId>>>,
    /// Work from outside that is being done here.
    guests: AtomicUsize,
    is_closing: AtomicBool,
    is_condemned: AtomicBool,
    reason: OnceLock<String>,
    signals: Signals,
}

impl Quarters {
    pub(super) fn new(
        bulkhead: &Bulkhead,
        place: Place,
        runtime: Runtime,
        threads: Arc<Mutex<HashSet<ThreadId>>>,
    ) -> Self {
        Self {
            place,
            child: OnceLock::new(),
            bulkhead: bulkhead.clone(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            threads,
            guests: AtomicUsize::new(0),
            is_closing: AtomicBool::new(false),
            is_condemned: AtomicBool::new(false),
            reason: OnceLock::new(),
            signals: Signals::default(),
        }
    }

    /// The path of the child that they were made for.
    pub(crate) const fn path(&self) -> &Arc<str> {
        &self.place.path
    }

    /// Brings a child up here. Whoever waits learns of its start, or that it was given up.
    pub(crate) fn launch(
        self: &Arc<Self>,
        launch: &Launch,
        birth: Birth,
    ) -> BoxFuture<'static, Result<(), StartError>> {
        let quarters = self.clone();
        let unborn = Unborn(birth.incarnation.clone());
        // Quarters are made for one start.
        let _ = self.child.set(Arc::downgrade(&birth.incarnation));
        let up = launch(birth);
        *self.bulkhead.current() = Some(self.clone());
        Box::pin(async move {
            let mut task = quarters.spawn(async move {
                let _unborn = unborn;
                up.await
            });
            tokio::select! {
                biased;
                outcome = &mut task.0 => outcome.unwrap_or_else(|error| {
                    Err(StartError::failed(format!("its threads ended: {error}")))
                }),
                () = quarters.signals.gone().raised() => Err(StartError::failed(quarters.reason())),
            }
        })
    }

    /// The child that they were made for.
    pub(crate) fn child(&self) -> Option<Arc<Incarnation>> {
        self.child.get()?.upgrade()
    }

    pub(crate) const fn tree(&self) -> &Tree {
        &self.place.tree
    }

    pub(super) const fn watchdog(&self) -> Watchdog {
        self.place.watchdog
    }

    /// Waits until they are given up.
    pub(super) async fn abandoned(&self) {
        self.signals.gone().raised().await;
    }

    /// Whether new processes here, or behind a bulkhead within, are born dead.
    pub(crate) fn is_condemned(&self) -> bool {
        self.is_condemned.load(Ordering::Acquire)
            || self.place.outer.as_ref().is_some_and(|outer| outer.is_condemned())
    }

    /// From here on nothing is started here any more.
    pub(crate) fn condemn(&self) {
        self.is_condemned.store(true, Ordering::Release);
    }

    /// The child is gone: the threads end as soon as nobody needs them.
    pub(crate) fn close(self: &Arc<Self>) {
        self.leave_bulkhead();
        self.is_closing.store(true, Ordering::SeqCst);
        if self.guests.load(Ordering::SeqCst) == 0 {
            self.end();
        }
    }

    /// The child has been given up: what still runs here has the lowest priority, ends at its next
    /// await, and nobody waits for it.
    pub(crate) fn abandon(self: &Arc<Self>, reason: &str) {
        self.leave_bulkhead();
        let _ = self.reason.set(reason.to_owned());
        for thread in lock(&self.threads).iter() {
            // A thread that is gone by now, or may not be slowed, does no harm by that.
            let _ = rustix::process::setpriority_process(Some(*thread), NICEST);
        }
        self.end();
        self.signals.gone().raise();
    }

    fn leave_bulkhead(self: &Arc<Self>) {
        let mut current = self.bulkhead.current();
        // Dropped after the lock: it may be the last reference to the runtime.
        let left = current.take_if(|current| Arc::ptr_eq(current, self));
        drop(current);
        drop(left);
    }

    fn end(&self) {
        // Taken before it is ended: the lock is not to be held by tasks that are dropped with it.
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            // A runtime that is merely dropped waits for its threads, and panics inside another.
            runtime.shutdown_background();
        }
    }

    fn reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_else(|| "its threads ended".to_owned())
    }

    pub(super) fn lost(&self, name: &str) -> BulkheadError {
        BulkheadError::Abandoned { name: name.to_owned(), reason: self.reason() }
    }

    pub(super) fn spawn<W>(&self, work: W) -> Tethered<W::Output>
    where
        W: Future<Output: Send + 'static> + Send + 'static,
    {
        Tethered(self.handle.spawn(work))
    }
}

impl Drop for Quarters {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Quarters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Quarters").field(&self.place.path).finish()
    }
}

/// A task that is aborted when nobody waits for it any more.
pub(super) struct Tethered<T>(pub(super) JoinHandle<T>);

impl<T> Drop for Tethered<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An incarnation on its way to its runtime. If that ends first, it never lived.
struct Unborn(Arc<Incarnation>);

impl Drop for Unborn {
    fn drop(&mut self) {
        if !self.0.is_occupied() {
            self.0.farewell();
        }
    }
}

/// Work from outside, for which the threads stay although the child is gone.
pub(super) struct Stay(Arc<Quarters>);

impl Stay {
    /// None when the threads are ending already.
    pub(super) fn new(quarters: &Arc<Quarters>) -> Option<Self> {
        quarters.guests.fetch_add(1, Ordering::SeqCst);
        let stay = Self(quarters.clone());
        // Either this sees the closing, or the closing sees the guest.
        (!stay.0.is_closing.load(Ordering::SeqCst)).then_some(stay)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let last = self.0.guests.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.is_closing.load(Ordering::SeqCst) {
            self.0.end();
        }
    }
}
