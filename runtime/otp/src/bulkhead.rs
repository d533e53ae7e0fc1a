//! Bulkheads: a subtree on threads of its own.
//!
//! Tokio takes a thread back only at an await. A handler that computes for seconds, or calls what
//! blocks, keeps its thread for as long; it may be the one that watches the sockets and timers of
//! the whole runtime, and a task it has just woken waits behind it although other threads idle.
//! Behind a bulkhead that happens to the subtree alone: the operating system shares the processor
//! between its threads and all others, as the BEAM does between processes.
//!
//! Only threads are divided. Mailboxes, calls, exits and the tree reach across as if there were one
//! runtime. Memory, descriptors and `abort` are still those of the one operating-system process.
//!
//! A child gets a new runtime at every start, so that a restart also replaces the threads. The
//! runtime ends when the child is gone, and what was asked of it through [`Bulkhead::run`] is done.

mod quarters;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Pid as ThreadId;
use tokio::runtime::{Builder, Runtime};

use crate::exit::{StartError, caught};
use crate::tree::Tree;
use crate::watchdog::{Slice, Watchdog, on_watch};

pub(crate) use quarters::Quarters;
use quarters::{Place, Stay};

/// How many bytes of a thread's name Linux keeps.
const THREAD_NAME_MAX: usize = 15;
/// How many threads a bulkhead may use for work that blocks, unless it says otherwise.
const BLOCKING_THREADS_MAX: usize = 16;

/// Threads of its own for one child and everything below it; clones are the same bulkhead.
///
/// Given to a child with [`ChildSpec::bulkhead`](crate::ChildSpec::bulkhead). A bulkhead belongs to
/// one child: under a second one, [`Bulkhead::run`] would reach whichever started last.
///
/// # Examples
///
/// ```
/// use otp::{Bulkhead, ChildSpec, Clock, Root, SupervisorSpec};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let report = ChildSpec::task("report", |context| async move {
///     context.stopping().await;
///     Ok(())
/// });
/// let threads = Bulkhead::new("report", 1);
/// let spec = SupervisorSpec::default().child(report.bulkhead(threads.clone()));
/// let root = Root::start(spec, Clock::system()).await?;
///
/// let name = async { std::thread::current().name().map(str::to_owned) };
/// assert_eq!(threads.run("name", name).await?.as_deref(), Some("report-0"));
/// # root.stop().await;
/// assert!(!threads.is_open());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead(Arc<Shared>);

struct Shared {
    name: String,
    threads: usize,
    blocking_threads_max: usize,
    current: Mutex<Option<Arc<Quarters>>>,
}

/// Why a bulkhead did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BulkheadError {
    /// Its child is not up, so there are no threads.
    #[error("the bulkhead {name:?} has no threads: its child is not up")]
    Closed {
        /// The name of the bulkhead.
        name: String,
    },
    /// Its threads were given up while the work was being done; how far it came is not known.
    #[error("the threads of the bulkhead {name:?} were given up: {reason}")]
    Abandoned {
        /// The name of the bulkhead.
        name: String,
        /// Why they were given up.
        reason: String,
    },
}

impl Bulkhead {
    /// A bulkhead with so many threads, called `<name>-0` and so on.
    ///
    /// Two threads let one handler spin without a sound from the others; one is the least memory.
    ///
    /// # Panics
    ///
    /// When there are no threads.
    #[must_use]
    pub fn new(name: impl Into<String>, threads: usize) -> Self {
        assert!(threads > 0, "a bulkhead without threads can run nothing");
        Self::with(name.into(), threads, BLOCKING_THREADS_MAX)
    }

    /// How many threads it may use for work that blocks: 16 unless said otherwise.
    ///
    /// # Panics
    ///
    /// When there are none: names of hosts are looked up and files are read there.
    #[must_use]
    pub fn blocking_threads_max(self, threads: usize) -> Self {
        assert!(threads > 0, "a bulkhead cannot do without threads for work that blocks");
        Self::with(self.0.name.clone(), self.0.threads, threads)
    }

    fn with(name: String, threads: usize, blocking_threads_max: usize) -> Self {
        let current = Mutex::default();
        Self(Arc::new(Shared { name, threads, blocking_threads_max, current }))
    }

    /// Its name, which its threads bear too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many threads it has.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// Whether its child has been started and not ended since, so that it has threads.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.current().is_some()
    }

    /// Does `work` on the threads of the bulkhead, under the eye of its watchdog, which calls it
    /// `name`.
    ///
    /// A panic in `work` goes on in the caller. A child that ends lets the work finish; one that is
    /// abandoned does not.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the work at its next await.
    pub async fn run<W>(&self, name: &'static str, work: W) -> Result<W::Output, BulkheadError>
    where
        W: Future<Output: Send + 'static> + Send + 'static,
    {
        let closed = || BulkheadError::Closed { name: self.0.name.clone() };
        let quarters = self.current().clone().ok_or_else(closed)?;
        let stay = Stay::new(&quarters).ok_or_else(closed)?;
        let slice = Arc::new(Slice::new(quarters.watchdog()));
        let listed = quarters.tree().keeper().enlist_work(&slice, &quarters).ok_or_else(closed)?;
        let mut task = quarters.spawn(async move {
            // Dropped with the task and not with its caller, which may go away before.
            let (_stay, _listed) = (stay, listed);
            on_watch(Some(&slice), name, work).await
        });
        tokio::select! {
            biased;
            outcome = &mut task.0 => match outcome {
                Ok(output) => Ok(output),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(quarters.lost(&self.0.name)),
            },
            () = quarters.abandoned() => Err(quarters.lost(&self.0.name)),
        }
    }

    /// Makes the threads for one life of the child at `path`.
    pub(crate) async fn open(
        &self,
        path: Arc<str>,
        tree: &Tree,
        watchdog: Watchdog,
        outer: Option<Arc<Quarters>>,
    ) -> Result<Arc<Quarters>, StartError> {
        let threads = Arc::new(Mutex::new(HashSet::new()));
        // Tokio panics when the operating system has no thread left to give.
        let runtime = caught(async { self.build(&threads) })
            .await
            .map_err(StartError::failed)?
            .map_err(|error| StartError::failed(format!("no runtime for a bulkhead: {error}")))?;
        let place = Place { path, tree: tree.clone(), watchdog, outer };
        Ok(Arc::new(Quarters::new(self, place, runtime, threads)))
    }

    fn build(&self, threads: &Arc<Mutex<HashSet<ThreadId>>>) -> std::io::Result<Runtime> {
        let name = self.0.name.clone();
        let made = AtomicUsize::new(0);
        let (begun, ended) = (threads.clone(), threads.clone());
        Builder::new_multi_thread()
            .worker_threads(self.0.threads)
            .max_blocking_threads(self.0.blocking_threads_max)
            .thread_name_fn(move || thread_name(&name, made.fetch_add(1, Ordering::Relaxed)))
            .on_thread_start(move || {
                lock(&begun).insert(rustix::thread::gettid());
            })
            .on_thread_stop(move || {
                lock(&ended).remove(&rustix::thread::gettid());
            })
            .enable_all()
            .build()
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Quarters>>> {
        lock(&self.0.current)
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bulkhead({:?}, {} threads)", self.0.name, self.0.threads)
    }
}

/// A name of which the number is still to be seen where names are cut.
fn thread_name(name: &str, number: usize) -> String {
    let number = format!("-{number}");
    let mut end = name.len().min(THREAD_NAME_MAX.saturating_sub(number.len()));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{number}", &name[..end])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_thread_keeps_its_number_where_names_are_cut() {
        let names = [("pulse", 0), ("a_very_long_domain", 12), ("żółć_żółć_żółć", 3)];

        let names = names.map(|(name, number)| thread_name(name, number));

        assert_eq!(names, ["pulse-0", "a_very_long_-12", "żółć_żó-3"]);
    }
}
