//! Timers: something that happens later, once or again and again, unless its owner is gone by then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::clock::{instant_after, later};
use crate::incarnation::Incarnation;

/// The shortest period of something that happens again and again.
pub const PERIOD_MIN: Duration = Duration::from_millis(1);

/// Something that will happen; dropping it cancels it, and so does the end of its owner.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use otp::{Actor, ChildSpec, Clock, Context, ExitReason};
/// use otp::{Root, StartError, SupervisorSpec, Timer};
///
/// /// Ends when its time has come.
/// struct Fuse(Option<Timer>);
///
/// impl Actor for Fuse {
///     type Message = &'static str;
///
///     async fn init(&mut self, context: &Context<&'static str>) -> Result<(), StartError> {
///         self.0 = Some(context.send_after(Duration::from_millis(5), "bang"));
///         Ok(())
///     }
///
///     async fn handle(
///         &mut self,
///         word: &'static str,
///         _: &Context<&'static str>,
///     ) -> Result<(), ExitReason> {
///         Err(ExitReason::failed(word))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let spec = SupervisorSpec::default().child(ChildSpec::worker("fuse", || Fuse(None)));
/// let root = Root::start(spec, Clock::system()).await?;
///
/// let fuse = root.tree().pid("root/fuse").expect("it is up");
/// assert_eq!(fuse.gone().await, ExitReason::failed("bang"));
/// # root.stop().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a timer that is dropped never fires"]
#[derive(Debug)]
pub struct Timer {
    task: Option<AbortHandle>,
    due: Due,
}

/// When it happens next; nothing when it has happened for the last time or never will.
#[derive(Clone, Debug)]
struct Due(Arc<Mutex<Option<Instant>>>);

impl Due {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        // It holds a plain value; a panic cannot have left it half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(due: Option<Instant>) -> Option<Duration> {
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }
}

impl Timer {
    /// Does `act` after `delay`, unless `owner` is gone by then.
    pub(crate) fn after(
        delay: Duration,
        owner: Arc<Incarnation>,
        act: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self::start(delay, owner, |due, first| async move {
            tokio::time::sleep_until(first).await;
            // Whoever cancels takes the instant; only one of the two can have it.
            let taken = due.lock().take();
            if taken.is_some() {
                act();
            }
        })
    }

    /// Does `act` every `period`, at least 1 ms, from one period on until `owner` is gone.
    pub(crate) fn every(
        period: Duration,
        owner: Arc<Incarnation>,
        mut act: impl FnMut() + Send + 'static,
    ) -> Self {
        let period = period.max(PERIOD_MIN);
        Self::start(period, owner, move |due, first| async move {
            let mut next = first;
            loop {
                tokio::time::sleep_until(next).await;
                next = later(next, period);
                // Beats that were slept through are left out, not made up for.
                next = next.max(Instant::now());
                let is_due = due.lock().as_mut().map(|due| *due = next).is_some();
                if !is_due {
                    return;
                }
                act();
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the task ends with its owner")]
    fn start<W: Future<Output = ()> + Send + 'static>(
        delay: Duration,
        owner: Arc<Incarnation>,
        work: impl FnOnce(Due, Instant) -> W,
    ) -> Self {
        let first = instant_after(delay);
        let due = Due(Arc::new(Mutex::new(Some(first))));
        let work = work(due.clone(), first);
        let shown = due.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                () = owner.gone().raised() => *shown.lock() = None,
            }
        });
        Self { task: Some(task.abort_handle()), due }
    }

    /// Cancels it and says how much time was left; `None` when it has fired already, or never will
    /// because its owner is gone. What was cancelled does not happen, however late that was.
    #[expect(clippy::must_use_candidate, reason = "mostly nobody asks how late it was")]
    pub fn cancel(self) -> Option<Duration> {
        let due = self.due.lock().take();
        Due::left(due)
    }

    /// How much time is left until it fires (next); `None` when it has, or never will.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        Due::left(*self.due.lock())
    }

    /// Lets it happen although nobody keeps the timer; the end of its owner still cancels it.
    pub fn detach(mut self) {
        self.task = None;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            *self.due.lock() = None;
            task.abort();
        }
    }
}
