//! Monitors: hearing of the death of a process without being its supervisor.
//!
//! A monitor is one-way and has a reference of its own; there may be any number of them between
//! two processes. One on a process that is dead already reports [`DownReason::NoProc`] at once. An
//! actor gets a message of its own type ([`Context::monitor`](crate::Context::monitor)), anybody
//! else awaits the end ([`Pid::monitor`]). A report is made when the process itself is dead and
//! before its supervisor hears of it; [`Pid::gone`] also waits for everything below it.
//!
//! ```
//! use otp::{ChildSpec, Clock, DownReason, ExitReason, Root, Strategy, SupervisorSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let job = ChildSpec::task("job", |context| async move {
//!     context.stopping().await;
//!     Ok(())
//! });
//! let root = Root::start(SupervisorSpec::new(Strategy::OneForOne).child(job), Clock::system());
//! let root = root.await?;
//! let job = root.tree().pid("root/job").ok_or("the job is up")?;
//!
//! let mut monitor = job.monitor();
//! job.kill();
//! assert_eq!(monitor.down().await.reason, DownReason::Exited(ExitReason::Killed));
//! assert_eq!(job.monitor().down().await.reason, DownReason::NoProc);
//! # root.stop().await;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::exit::ExitReason;
use crate::incarnation::Pid;
use crate::watch::WatchId;

/// The end of a process, as one monitor reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The monitor that reports it.
    pub reference: MonitorId,
    /// The process that was monitored.
    pub pid: Pid,
    /// What became of it.
    pub reason: DownReason,
}

/// What became of a monitored process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// It was dead before the monitor was set, or never came up.
    NoProc,
    /// It ended while it was monitored.
    Exited(ExitReason),
}

impl fmt::Display for DownReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProc => formatter.write_str("noproc"),
            Self::Exited(reason) => reason.fmt(formatter),
        }
    }
}

/// Tells one monitor from all others. Equal only to its own clones.
#[derive(Clone)]
pub struct MonitorId(Arc<Link>);

impl PartialEq for MonitorId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MonitorId {}

impl Hash for MonitorId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for MonitorId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "monitor of {:?}", self.0.target)
    }
}

/// A monitor set by an actor; dropping it takes the monitor back, as [`MonitorRef::demonitor`].
///
/// The end of the actor takes it back too, wherever the reference is kept.
#[must_use = "a monitor that is dropped reports nothing"]
#[derive(Debug)]
pub struct MonitorRef(Option<MonitorId>);

impl MonitorRef {
    /// The reference that its [`Down`] will carry.
    ///
    /// # Panics
    ///
    /// Never: only a monitor that is used up has none.
    #[must_use]
    pub fn id(&self) -> MonitorId {
        self.0.clone().expect("a monitor has its reference until it is used up")
    }

    /// Takes the monitor back, and its message out of the mailbox, as OTP does when told to flush:
    /// after this the actor will not handle it. `false` means that it has handled it before.
    #[expect(clippy::must_use_candidate, reason = "done for its effect; the answer is extra")]
    pub fn demonitor(mut self) -> bool {
        self.0.take().is_some_and(|id| id.take_back())
    }

    /// Lets it report although nobody keeps the reference; the end of the actor still takes it
    /// back.
    #[expect(clippy::must_use_candidate, reason = "done for its effect; the answer is extra")]
    pub fn detach(mut self) -> MonitorId {
        let id = self.id();
        self.0 = None;
        id
    }
}

impl Drop for MonitorRef {
    fn drop(&mut self) {
        if let Some(id) = &self.0 {
            id.take_back();
        }
    }
}

/// A monitor to wait for, set by [`Pid::monitor`]; dropping it takes it back.
#[must_use = "a monitor that is dropped reports nothing"]
#[derive(Debug)]
pub struct Monitor {
    reference: MonitorRef,
    report: oneshot::Receiver<Down>,
    down: Option<Down>,
}

impl Monitor {
    /// The reference that its [`Down`] will carry.
    #[must_use]
    pub fn id(&self) -> MonitorId {
        self.reference.id()
    }

    /// Waits for the end of the process. Once it has come, every further wait ends at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Panics
    ///
    /// Never: a monitor that is kept reports in the end.
    pub async fn down(&mut self) -> Down {
        if let Some(down) = &self.down {
            return down.clone();
        }
        let down = (&mut self.report).await.expect("a monitor that is kept reports");
        self.down.insert(down).clone()
    }
}

impl Pid {
    /// Watches for the end of the process, from outside of any actor.
    pub fn monitor(&self) -> Monitor {
        let (sender, report) = oneshot::channel();
        let reference = set(self, None, move |down| {
            // Nobody waits for it any more.
            let _ = sender.send(down);
        });
        Monitor { reference, report, down: None }
    }
}

/// One monitor between a process and whoever monitors it.
struct Link {
    target: Pid,
    state: Mutex<State>,
}

/// What is called with the end of the target.
type Report = Box<dyn FnOnce(Down) + Send>;

struct State {
    /// Gone once the monitor has reported or was taken back.
    report: Option<Report>,
    /// Its report was handled, or never will be.
    is_settled: bool,
    on_target: Option<WatchId>,
    /// The process whose end takes the monitor back, with the watch for that.
    on_watcher: Option<(Pid, WatchId)>,
}

/// Calls `report` at the end of `target`, unless `watcher` ends before.
pub(crate) fn set(
    target: &Pid,
    watcher: Option<&Pid>,
    report: impl FnOnce(Down) + Send + 'static,
) -> MonitorRef {
    let state = State {
        report: Some(Box::new(report)),
        is_settled: false,
        on_target: None,
        on_watcher: None,
    };
    let id = MonitorId(Arc::new(Link { target: target.clone(), state: Mutex::new(state) }));
    let (at_its_end, at_our_end) = (id.clone(), id.clone());
    // Held until both watches are noted: an end that comes meanwhile waits, and takes back both.
    let mut state = id.0.state();
    let on_target = target.0.watch(Box::new(move |reason| {
        at_its_end.report(DownReason::Exited(reason.clone()));
    }));
    let Ok(on_target) = on_target else {
        drop(state);
        id.report(DownReason::NoProc);
        return MonitorRef(Some(id));
    };
    state.on_target = Some(on_target);
    if let Some(watcher) = watcher {
        match watcher.0.watch(Box::new(move |_| drop(at_our_end.0.close()))) {
            Ok(on_watcher) => state.on_watcher = Some((watcher.clone(), on_watcher)),
            Err(close) => {
                drop(state);
                close(&ExitReason::Normal);
                return MonitorRef(Some(id));
            }
        }
    }
    drop(state);
    MonitorRef(Some(id))
}

impl MonitorId {
    /// Lets its report be handled; says whether it still may be.
    pub(crate) fn read(&self) -> bool {
        !std::mem::replace(&mut self.0.state().is_settled, true)
    }

    /// Lets its report not be handled; says whether it still could have been.
    fn take_back(&self) -> bool {
        drop(self.0.close());
        self.read()
    }

    fn report(&self, reason: DownReason) {
        if let Some(report) = self.0.close() {
            report(Down { reference: self.clone(), pid: self.0.target.clone(), reason });
        }
    }
}

impl Link {
    /// Uses the monitor up; gives what it would have called, if it has not been called yet.
    fn close(&self) -> Option<Report> {
        let mut state = self.state();
        let report = state.report.take()?;
        let (on_target, on_watcher) = (state.on_target.take(), state.on_watcher.take());
        drop(state);
        if let Some(watch) = on_target {
            self.target.0.unwatch(watch);
        }
        if let Some((watcher, watch)) = on_watcher {
            watcher.0.unwatch(watch);
        }
        Some(report)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChildSpec, Clock, Root, Strategy, SupervisorSpec};

    async fn two() -> (Root, Pid, Pid) {
        let idle = |id| {
            ChildSpec::task(id, |context| async move {
                context.stopping().await;
                Ok(())
            })
        };
        let spec = SupervisorSpec::new(Strategy::OneForOne).child(idle("a")).child(idle("b"));
        let root = Root::start(spec, Clock::system()).await.unwrap();
        let (a, b) = (root.tree().pid("root/a").unwrap(), root.tree().pid("root/b").unwrap());
        (root, a, b)
    }

    #[tokio::test]
    async fn a_monitor_leaves_no_watch_behind_whichever_end_comes_first() {
        let (_root, a, b) = two().await;

        drop(set(&a, Some(&b), |_| {}));
        assert_eq!((a.0.watch_count(), b.0.watch_count()), (0, 0));

        set(&a, Some(&b), |_| {}).detach();
        assert_eq!((a.0.watch_count(), b.0.watch_count()), (1, 1));
        b.kill();
        b.gone().await;
        assert_eq!(a.0.watch_count(), 0);
    }

    #[tokio::test]
    async fn a_watcher_keeps_nothing_for_a_target_that_died() {
        let (_root, a, b) = two().await;
        set(&a, Some(&b), |_| {}).detach();

        a.kill();
        a.gone().await;

        assert_eq!(b.0.watch_count(), 0);
    }
}
