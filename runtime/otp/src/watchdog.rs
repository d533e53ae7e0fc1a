//! Watchdogs: processes that hold a thread for longer than they should, reported and replaced.
//!
//! Nothing inside a runtime can see that its threads are held, so a plain thread looks from
//! outside. A watched process does no more for it than count the polls of its code, before and
//! after each; the watchdog looks every 10 ms, and a count that stands still inside a poll is a
//! thread that is held. A handler that awaits holds none, however long it takes.
//!
//! What cannot be interrupted can still be replaced. The process is declared dead, its supervisor
//! sees an ordinary exit, and the thread is abandoned: it keeps running until the poll it is in
//! ends, at the lowest priority, and whatever the code does until then still happens. It can send
//! messages and write to whatever it holds; it is no part of the tree any more, and dies at its
//! next await.
//!
//! Behind a [`Bulkhead`](crate::Bulkhead) the whole subtree is replaced, on new threads. On a
//! shared runtime only the worker is, and its thread is missing there until the poll ends. That is
//! the best that can be done there, not a good one: the thread may be the one that watches sockets
//! and timers for all the others, and then those stand still too.

mod keeper;

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

pub(crate) use keeper::{Keeper, Listed};

/// After which time a process that holds its thread is reported, and after which replaced.
///
/// Given to a child with [`ChildSpec::watchdog`](crate::ChildSpec::watchdog); it holds for
/// everything below that child too, unless a child there has its own. What lives behind a bulkhead
/// is always watched, by default as [`Watchdog::default`] says.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::{ChildSpec, SupervisorSpec, Watchdog};
///
/// let limits = Watchdog::default().replace_after(Duration::from_secs(1)).abandoned_max(1);
/// let watched = ChildSpec::supervisor("reports", SupervisorSpec::default()).watchdog(limits);
/// # assert_eq!(watched.id(), "reports");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    pub(crate) report_after: Duration,
    pub(crate) replace_after: Option<Duration>,
    pub(crate) abandoned_max: usize,
}

impl Default for Watchdog {
    /// Reports after 50 ms, replaces after 250 ms, leaves at most 3 threads behind.
    fn default() -> Self {
        Self {
            report_after: Duration::from_millis(50),
            replace_after: Some(Duration::from_millis(250)),
            abandoned_max: 3,
        }
    }
}

impl Watchdog {
    /// A watchdog that reports and never replaces.
    #[must_use]
    pub fn report_only() -> Self {
        Self { replace_after: None, ..Self::default() }
    }

    /// How long one poll may hold its thread before it is reported: 50 ms unless said otherwise.
    /// It is measured in steps of 10 ms.
    #[must_use]
    pub const fn report_after(mut self, limit: Duration) -> Self {
        self.report_after = limit;
        self
    }

    /// How long one poll may hold its thread before the process is replaced: 250 ms unless said
    /// otherwise.
    #[must_use]
    pub const fn replace_after(mut self, limit: Duration) -> Self {
        self.replace_after = Some(limit);
        self
    }

    /// How many threads of one bulkhead, or of one worker without, may be left behind at once: 3
    /// unless said otherwise. What overstays then is not replaced until one of them has ended.
    #[must_use]
    pub const fn abandoned_max(mut self, threads: usize) -> Self {
        self.abandoned_max = threads;
        self
    }
}

/// What a process does for its watchdog.
pub(crate) struct Slice {
    /// How many times its code has begun or ended a poll; odd inside one.
    turns: AtomicU64,
    doing: Mutex<Cow<'static, str>>,
    pub(crate) watchdog: Watchdog,
}

impl Slice {
    pub(crate) fn new(watchdog: Watchdog) -> Self {
        Self { turns: AtomicU64::new(0), doing: Mutex::new(Cow::Borrowed("init")), watchdog }
    }

    fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// What it is at: the name of a message, or of a part of its life.
    pub(crate) fn doing(&self) -> Cow<'static, str> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn turn(&self) -> Turn<'_> {
        // Only one poll of a process is ever under way, so nobody else counts meanwhile.
        let turns = self.turns() + 1;
        self.turns.store(turns, Ordering::Relaxed);
        Turn { slice: self, turns }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Slice").field(&self.doing()).finish()
    }
}

/// One poll; a panic ends it too.
struct Turn<'a> {
    slice: &'a Slice,
    turns: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.slice.turns.store(self.turns + 1, Ordering::Relaxed);
    }
}

pin_project! {
    /// Work under the eye of a watchdog. Every process holds one, so it is no `async fn`, which
    /// would keep room for its work twice.
    pub(crate) struct OnWatch<'a, W> {
        slice: Option<&'a Slice>,
        #[pin]
        work: W,
    }
}

/// `work`, called `doing`, under the eye of a watchdog, if there is one.
pub(crate) fn on_watch<W: Future>(
    slice: Option<&Slice>,
    doing: impl Into<Cow<'static, str>>,
    work: W,
) -> OnWatch<'_, W> {
    if let Some(slice) = slice {
        *slice.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing.into();
    }
    OnWatch { slice, work }
}

impl<W: Future> Future for OnWatch<'_, W> {
    type Output = W::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W::Output> {
        let this = self.project();
        let _turn = this.slice.map(Slice::turn);
        this.work.poll(context)
    }
}
