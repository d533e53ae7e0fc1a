//! One life of a process: from its start to its exit, and who is told.
//!
//! A restarted child is another incarnation at the same path. Everything that must be known about
//! one life by others (is it alive, why did it end, has it been told to stop) is in this shared
//! cell, so nobody has to ask the process, which may be busy or dead.
//!
//! **Invariant:** whatever ends a process, its [`ExitGuard`] is dropped after its state, and there
//! its exit becomes known; unless a watchdog has given it up before, and then only there.

mod end;

use std::borrow::Cow;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use ractor::ActorCell;
use tokio::time::Instant;

use crate::bulkhead::Quarters;
use crate::call::Question;
use crate::child::ChildKind;
use crate::exit::ExitReason;
use crate::inside::{Inside, System};
use crate::mailbox::MailboxReport;
pub(crate) use crate::pid::Pid;
use crate::signal::{Signal, Signals};
use crate::supervisor::Message;
use crate::tree::Tree;
use crate::watch::{Act, WatchId, Watches};
use crate::watchdog::{OnWatch, Slice, Watchdog, on_watch};

pub(crate) use end::ExitGuard;

/// How a process ended.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    pub(crate) reason: ExitReason,
    pub(crate) at: Instant,
    /// The number of the supervision event that told it.
    pub(crate) sequence: u64,
    /// It was a supervisor that exceeded its intensity.
    pub(crate) gave_up: bool,
}

/// What a process lives in, and whence it comes.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    /// The threads it runs on, if they are not those of the root.
    pub(crate) quarters: Option<Arc<Quarters>>,
    pub(crate) watchdog: Option<Arc<Watchdog>>,
    /// Where its specification was made.
    pub(crate) spawned_at: Option<&'static Location<'static>>,
}

/// What only a process behind a bulkhead or under a watchdog has.
struct Around {
    quarters: Option<Arc<Quarters>>,
    watchdog: Option<Arc<Watchdog>>,
    slice: Option<Arc<Slice>>,
}

/// One life of a process. There are many, and a few bytes more would cost the next larger block.
pub(crate) struct Incarnation {
    pub(crate) path: Arc<str>,
    pub(crate) kind: ChildKind,
    pub(crate) argument: Option<Arc<str>>,
    pub(crate) tree: Tree,
    seat: u64,
    parent: Option<ractor::ActorRef<Message>>,
    around: Option<Box<Around>>,
    spawned_at: Option<&'static Location<'static>>,
    is_up: AtomicBool,
    is_over: AtomicBool,
    has_left: AtomicBool,
    number: AtomicU64,
    body: OnceLock<Body>,
    /// The tokio task that runs the process: its starter's, later its own.
    pub(crate) task: AtomicU64,
    told: OnceLock<Box<ExitReason>>,
    /// In a box, as is what comes with the end: most processes live.
    death: OnceLock<Box<Death>>,
    signals: Signals,
    watches: Watches,
    backlog: AtomicU64,
    inside: OnceLock<Box<Inside>>,
}

/// The ractor actor that lives a life.
struct Body {
    cell: ActorCell,
    /// Makes it look at what is wanted of it; a process without a mailbox never does.
    wake: Option<Wake>,
}

/// Puts the token for [`System`] into a mailbox, whatever its messages are.
pub(crate) type Wake = fn(&ActorCell) -> bool;

impl Incarnation {
    pub(crate) fn new(
        path: Arc<str>,
        kind: ChildKind,
        argument: Option<Arc<str>>,
        tree: Tree,
        parent: Option<(ractor::ActorRef<Message>, u64)>,
        surroundings: Surroundings,
    ) -> Arc<Self> {
        let (parent, seat) = parent.map_or((None, 0), |(parent, seat)| (Some(parent), seat));
        let Surroundings { quarters, watchdog, spawned_at } = surroundings;
        let is_bare = quarters.is_none() && watchdog.is_none();
        let around = (!is_bare).then(|| {
            let slice = watchdog.as_deref().map(|limits| Arc::new(Slice::new(*limits)));
            Box::new(Around { quarters, watchdog, slice })
        });
        Arc::new(Self {
            path,
            kind,
            argument,
            tree,
            seat,
            parent,
            around,
            spawned_at,
            is_up: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            number: AtomicU64::new(0),
            body: OnceLock::new(),
            task: AtomicU64::new(0),
            told: OnceLock::new(),
            death: OnceLock::new(),
            signals: Signals::default(),
            watches: Watches::default(),
            backlog: AtomicU64::new(0),
            inside: OnceLock::new(),
        })
    }

    /// The ractor actor that lives this life, known from the beginning of its start.
    pub(crate) fn occupy(&self, cell: ActorCell, wake: Option<Wake>) {
        // A second actor in one incarnation cannot be: a launch spawns exactly one.
        let _ = self.body.set(Body { cell, wake });
        self.run_here();
        // Either this sees that it was put down, or whoever puts it down sees the body.
        fence(Ordering::SeqCst);
        if self.is_over() || self.told() == Some(&ExitReason::Killed) {
            self.kill();
        } else {
            self.tree.starting(self);
        }
    }

    /// Whether there is a ractor actor that lives this life.
    pub(crate) fn is_occupied(&self) -> bool {
        self.body.get().is_some()
    }

    /// The bulkhead it lives behind, and so do its children unless they have their own.
    pub(crate) fn quarters(&self) -> Option<&Arc<Quarters>> {
        self.around.as_ref()?.quarters.as_ref()
    }

    /// What its watchdog goes by, and that of its children unless they have their own.
    pub(crate) fn watchdog(&self) -> Option<&Arc<Watchdog>> {
        self.around.as_ref()?.watchdog.as_ref()
    }

    fn slice(&self) -> Option<&Arc<Slice>> {
        self.around.as_ref()?.slice.as_ref()
    }

    /// The bulkhead that was made for it.
    pub(crate) fn own_quarters(&self) -> Option<&Arc<Quarters>> {
        self.quarters().filter(|quarters| *quarters.path() == self.path)
    }

    pub(crate) const fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.spawned_at
    }

    /// Whether the process has a watchdog.
    pub(crate) fn is_watched(&self) -> bool {
        self.slice().is_some()
    }

    /// `work`, called `doing`, under the eye of the watchdog, if the process has one.
    pub(crate) fn on_watch<W: Future>(
        &self,
        doing: impl Into<Cow<'static, str>>,
        work: W,
    ) -> OnWatch<'_, W> {
        on_watch(self.slice().map(|slice| &**slice), doing, work)
    }

    /// What is kept for those who look inside, if anybody ever did.
    pub(crate) fn inside(&self) -> Option<&Inside> {
        self.inside.get().map(|inside| &**inside)
    }

    /// What is kept for those who look inside, from now on.
    pub(crate) fn open(&self) -> &Inside {
        self.inside.get_or_init(Box::default)
    }

    pub(crate) fn has_mailbox(&self) -> bool {
        self.body.get().is_some_and(|body| body.wake.is_some())
    }

    /// Wants something of the process, which it does behind what waits in its mailbox, or at once
    /// when it is suspended. `false`: it is dead, or has no mailbox.
    pub(crate) fn want(&self, system: System) -> bool {
        let Some(Body { cell, wake: Some(wake) }) = self.body.get() else {
            return false;
        };
        self.open().want(system);
        wake(cell)
    }

    /// Waits until the process has left behind what it is doing. One that dies never does.
    pub(crate) async fn passed(self: &Arc<Self>) {
        let (reply, question) = Question::<()>::to(self);
        if !self.want(System::Pass(reply)) || question.received().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn mailbox(&self) -> MailboxReport {
        let length = self.backlog.load(Ordering::Relaxed);
        let mut report = MailboxReport { length, ..MailboxReport::default() };
        if let Some(queue) = self.inside().and_then(Inside::queue) {
            queue.describe(&mut report);
        }
        report
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.number() > 0 && self.death.get().is_none()
    }

    pub(crate) fn death(&self) -> Option<&Death> {
        self.death.get().map(|death| &**death)
    }

    /// Why it ended; `killed` while it is still on its way out.
    pub(crate) fn reason(&self) -> ExitReason {
        self.death.get().map_or(ExitReason::Killed, |death| death.reason.clone())
    }

    /// What its supervisor told it to stop for.
    pub(crate) fn told(&self) -> Option<&ExitReason> {
        self.told.get().map(|reason| &**reason)
    }

    /// Whether its supervisor wants it to end.
    pub(crate) fn is_told(&self) -> bool {
        self.told().is_some()
    }

    pub(crate) const fn stopping(&self) -> Signal<'_> {
        self.signals.stopping()
    }

    /// Raised when the process is dead and, if it was a supervisor, all below it are.
    pub(crate) const fn gone(&self) -> Signal<'_> {
        self.signals.gone()
    }

    /// Does `act` when the process dies; gives it back when it is dead.
    pub(crate) fn watch(&self, act: Act) -> Result<WatchId, Act> {
        self.watches.add(act, || self.death.get().is_some())
    }

    /// Takes a watch back; says whether it was still waiting.
    pub(crate) fn unwatch(&self, id: WatchId) -> bool {
        self.watches.remove(id)
    }

    #[cfg(test)]
    pub(crate) fn watch_count(&self) -> usize {
        self.watches.count()
    }

    pub(crate) fn backlog(&self) -> &AtomicU64 {
        &self.backlog
    }

    /// Tells the process to stop, on behalf of its supervisor.
    pub(crate) fn tell(&self, reason: ExitReason) {
        let _ = self.told.set(Box::new(reason.clone()));
        self.tree.moved();
        self.stopping().raise();
        let Some(Body { cell, .. }) = self.body.get() else { return };
        match self.kind {
            // Told in its mailbox, behind what is queued there, as OTP does. A message that
            // cannot be sent means that it is dead already.
            ChildKind::Supervisor => {
                let _ = cell.send_message(Message::Stop(reason));
            }
            ChildKind::Worker => cell.stop(None),
        }
    }

    /// Kills the process on behalf of its supervisor.
    pub(crate) fn put_down(&self) {
        let _ = self.told.set(Box::new(ExitReason::Killed));
        fence(Ordering::SeqCst);
        self.kill();
    }

    /// Kills the process: it ends at its next await, without any code of its own.
    pub(crate) fn kill(&self) {
        if let Some(Body { cell, .. }) = self.body.get() {
            cell.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_life_fits_a_block_of_256_bytes_with_its_reference_counts() {
        assert!(size_of::<Incarnation>() <= 256 - 2 * size_of::<usize>());
    }
}
