//! Ends: how the end of a process becomes known, once, whoever makes it known.
//!
//! Every process keeps a guard next to its state, so that no end goes untold. A watchdog may be
//! first, with a process that cannot end; then whatever the guard would tell later is old news.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{Death, Incarnation};
use crate::child::ChildKind;
use crate::exit::ExitReason;
use crate::supervisor::Message;
use crate::watchdog::Listed;

impl Incarnation {
    /// Whether its start was made known.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Makes the start known; told by the tree, under its lock.
    pub(crate) fn be_up(&self) {
        self.is_up.store(true, Ordering::Release);
    }

    /// Whether its end was made known, by itself or by the watchdog that gave it up.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Makes the end known, once; told by the tree, under its lock. Says whether this was it.
    pub(crate) fn be_over(&self) -> bool {
        !self.is_over.swap(true, Ordering::AcqRel)
    }

    /// Makes the end known with all that hangs on it, except that the process is gone. False when
    /// it was known already.
    fn end(&self, reason: ExitReason, gave_up: bool) -> bool {
        let Some(sequence) = self.tree.exited(self, &reason) else {
            return false;
        };
        if self.is_up() {
            // Only one end is ever made known.
            let death = Death { reason, at: Instant::now(), sequence, gave_up };
            let _ = self.death.set(Box::new(death));
        }
        if let Some(inside) = self.inside() {
            inside.end();
        }
        self.watches.end(&self.reason());
        true
    }

    /// Gives up a process that cannot be ended: it counts as failed from now on, and is killed as
    /// soon as that is possible. False when it has ended by itself.
    pub(crate) fn declare_dead(&self, reason: &str) -> bool {
        let was_alive = self.end(ExitReason::failed(reason), false);
        self.kill();
        was_alive
    }

    /// Nothing is waited for of a process that was given up.
    pub(crate) fn vanish(&self) {
        self.gone().raise();
    }

    /// Tells the parent, at last and once, that nothing is left of the process.
    pub(crate) fn farewell(self: &Arc<Self>) {
        if self.has_left.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(quarters) = self.own_quarters() {
            quarters.close();
        }
        self.gone().raise();
        // A supervisor that told its child to stop waits for `gone` and needs no message.
        if let Some(parent) = &self.parent
            && self.is_up()
            && self.told().is_none()
        {
            // A parent that cannot be told is dead itself.
            let _ = parent.cast(Message::Exited(self.seat, self.clone()));
        }
    }
}

/// Kept by a process next to its state; dropping it is the exit.
pub(crate) struct ExitGuard {
    incarnation: Arc<Incarnation>,
    /// Its place on the roll of the watchdog, if it is watched.
    listed: Option<Listed>,
    reason: Option<ExitReason>,
    gave_up: bool,
    orphans: Vec<Arc<Incarnation>>,
}

impl ExitGuard {
    pub(crate) fn new(incarnation: Arc<Incarnation>) -> Self {
        let mut listed = None;
        if let Some(slice) = incarnation.slice() {
            listed = incarnation.tree.keeper().enlist(slice, &incarnation);
            if listed.is_none() {
                // Born behind a bulkhead that was given up meanwhile; nobody waits for it.
                incarnation.be_over();
                // It may take no name that would outlive it, for its end will not be told.
                incarnation.watches.end(&incarnation.reason());
                incarnation.vanish();
            }
        }
        Self { incarnation, listed, reason: None, gave_up: false, orphans: Vec::new() }
    }

    /// Makes the start known; from here on the end will be too.
    pub(crate) fn up(&mut self, reference: Box<dyn Any + Send + Sync>, cause: Option<u64>) {
        let incarnation = &self.incarnation;
        incarnation.tree.started(incarnation, reference, cause, |number| {
            incarnation.number.store(number, Ordering::Relaxed);
        });
    }

    /// Records why the process ends; without it, it was killed.
    pub(crate) fn record(&mut self, reason: ExitReason) {
        self.reason = Some(reason);
    }

    pub(crate) fn record_giving_up(&mut self) {
        self.gave_up = true;
    }

    /// Leaves behind children of a supervisor that had no time to stop them.
    pub(crate) fn abandon(&mut self, orphans: Vec<Arc<Incarnation>>) {
        self.orphans = orphans;
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let incarnation = self.incarnation.clone();
        drop(self.listed.take());
        let reason = self.reason.take().unwrap_or(ExitReason::Killed);
        if !incarnation.end(reason, self.gave_up) {
            // It was given up: its death is known, and its place belongs to another.
            return;
        }
        let farewell = Farewell(incarnation);
        let orphans = std::mem::take(&mut self.orphans);
        if !orphans.is_empty() {
            bring_down(orphans, farewell);
        }
    }
}

/// Tells the parent, at last, that nothing is left of a process.
struct Farewell(Arc<Incarnation>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.farewell();
    }
}

/// Brings down the children of a killed supervisor: workers are killed, supervisors stop theirs
/// in good order. The parent hears of the death when they are gone, so that old and new
/// incarnations never overlap.
#[expect(clippy::disallowed_methods, reason = "whoever would supervise this is dead")]
fn bring_down(orphans: Vec<Arc<Incarnation>>, farewell: Farewell) {
    for orphan in &orphans {
        match orphan.kind {
            ChildKind::Worker => orphan.put_down(),
            ChildKind::Supervisor => orphan.tell(ExitReason::Killed),
        }
    }
    // Without a runtime nothing runs any more that could be waited for.
    if Handle::try_current().is_ok() {
        tokio::spawn(async move {
            for orphan in orphans {
                orphan.gone().raised().await;
            }
            drop(farewell);
        });
    }
}
