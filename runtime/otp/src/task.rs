//! Task supervisors: work that runs beside its owner, with a result, a limit on time and an end.
//!
//! A task is a temporary child of a dynamic supervisor: it is never restarted, shows in the tree
//! while it runs, and dies with its supervisor. [`TaskSupervisor::run`] gives a [`Task`], whose
//! result is awaited; [`TaskSupervisor::start_child`] forgets it; [`TaskSupervisor::stream`] runs
//! one task per item, so many at a time.
//!
//! # What ends with what
//!
//! A [`Task`] belongs to whoever holds it: when it is dropped, because its holder is done, failed
//! or was killed, the task ends at its next await with reason `shutdown`. The other way round
//! nothing is linked: how a task failed is a value for its holder, [`TaskError`], and a panic in it
//! is its own. So this is Elixir's `async` towards the task and `async_nolink` towards the caller;
//! and where Elixir's `await` exits the caller when time is over, here the task is ended and the
//! caller is told. There is no retry.
//!
//! A task does not notice that it is told to stop: it is ended at its next await. Work that has to
//! say farewell is a [`ChildSpec::task`] under a [`DynamicSupervisor`].
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use otp::{Clock, ExitReason, Root, Strategy, SupervisorSpec, TaskError, TaskSupervisor};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = SupervisorSpec::new(Strategy::OneForOne).child(TaskSupervisor::child("tasks", None));
//! let root = Root::start(spec, Clock::system()).await?;
//! let tasks = TaskSupervisor::at(root.tree(), "root/tasks");
//!
//! let answer = tasks.run(async { 6 * 7 }).await?;
//! assert_eq!(answer.await, Ok(42));
//!
//! // Broken on purpose: the panic ends the task and nothing else.
//! # std::panic::set_hook(Box::new(|_| {}));
//! let broken = tasks.run(async { [1, 2, 3].iter().position(|item| *item == 4).unwrap() }).await?;
//! assert!(matches!(broken.await, Err(TaskError::Exited(ExitReason::Failed(_)))));
//!
//! let hanging = tasks.run(std::future::pending::<()>()).await?;
//! let limit = Duration::from_millis(10);
//! assert_eq!(hanging.await_within(limit).await, Err(TaskError::TimedOut { ms: 10 }));
//!
//! // Two at a time, in the order of the items.
//! let squares = tasks.stream(1..=4_u64).max_concurrency(2);
//! let mut squares = squares.run(|item| async move { item * item });
//! let mut sum = 0;
//! while let Some(square) = squares.next().await {
//!     sum += square?;
//! }
//! assert_eq!(sum, 30);
//! # root.stop().await;
//! # Ok(())
//! # }
//! ```

mod stream;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::call::CALL_TIMEOUT;
use crate::child::{ChildSpec, Shutdown};
use crate::dynamic::DynamicSupervisor;
use crate::exit::{ExitReason, StartError};
use crate::incarnation::Pid;
use crate::request::{ChildCounts, ChildEntry, RequestError};
use crate::tree::Tree;

pub use stream::{OnTimeout, TaskStream, TaskStreamBuilder};

/// A task supervisor by its place in the tree, across restarts of it.
#[derive(Clone, Debug)]
pub struct TaskSupervisor(DynamicSupervisor);

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It ended without one: it panicked, was killed, or its supervisor was stopped.
    #[error("the task ended without a result: {0}")]
    Exited(ExitReason),
    /// It took longer than its holder wanted to wait, and has been ended.
    #[error("the task was not done within {ms} ms")]
    TimedOut {
        /// How long its holder waited.
        ms: u64,
    },
    /// It was not started.
    #[error("the task was not started: {0}")]
    Refused(#[from] RequestError),
}

impl TaskSupervisor {
    /// The child specification of a task supervisor, with at most `max_children` tasks at once.
    #[must_use]
    pub fn child(id: &str, max_children: Option<usize>) -> ChildSpec {
        DynamicSupervisor::child(id, max_children)
    }

    /// The task supervisor that lives at `path`, whenever it is up.
    #[must_use]
    pub fn at(tree: Tree, path: impl Into<Arc<str>>) -> Self {
        Self(DynamicSupervisor::at(tree, path))
    }

    /// Starts `work` and forgets it: nobody waits for a result, and it ends when it is done, when
    /// its process is killed, or when its supervisor is stopped.
    ///
    /// # Errors
    ///
    /// When there is no supervisor, or it has as many tasks as it may have.
    pub async fn start_child(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Pid, RequestError> {
        self.start(ChildSpec::task(TASK, move |context| async move {
            tokio::select! {
                biased;
                () = work => {}
                () = context.stopping() => {}
            }
            Ok(())
        }))
        .await
    }

    /// Starts `work`, whose result the [`Task`] will have.
    ///
    /// # Errors
    ///
    /// When there is no supervisor, or it has as many tasks as it may have.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Task<T>, RequestError> {
        let (mut sender, result) = oneshot::channel();
        let spec = ChildSpec::task(TASK, move |context| async move {
            let value = tokio::select! {
                biased;
                value = work => value,
                // Whatever is returned now, it is told to stop and ends with that reason.
                () = context.stopping() => return Ok(()),
                () = sender.closed() => return Err(ExitReason::Shutdown),
            };
            // A holder that has lost interest meanwhile needs no result.
            let _ = sender.send(value);
            Ok(())
        });
        Ok(Task { pid: self.start(spec).await?, result })
    }

    /// Runs one task per item of `items`; see [`TaskStreamBuilder`].
    pub fn stream<I: IntoIterator>(&self, items: I) -> TaskStreamBuilder<I::IntoIter> {
        TaskStreamBuilder::new(self.clone(), items.into_iter())
    }

    /// The tasks that run, newest first.
    pub async fn which_children(&self) -> Result<Vec<ChildEntry>, RequestError> {
        self.0.which_children().await
    }

    /// How many tasks run.
    pub async fn count_children(&self) -> Result<ChildCounts, RequestError> {
        self.0.count_children().await
    }

    async fn start(&self, spec: ChildSpec) -> Result<Pid, RequestError> {
        let started = self.0.start_numbered(spec).await?;
        started.ok_or(RequestError::StartFailed(StartError::Ignore))
    }
}

/// What all tasks are called, before their number.
const TASK: &str = "task";

/// A running task with a result of type `T`; dropping it ends the task.
///
/// Awaiting it waits for [`CALL_TIMEOUT`], as Elixir's `Task.await` does.
#[must_use = "dropping it ends the task"]
#[derive(Debug)]
pub struct Task<T> {
    pid: Pid,
    result: oneshot::Receiver<T>,
}

impl<T> Task<T> {
    /// The process of the task.
    #[must_use]
    pub const fn pid(&self) -> &Pid {
        &self.pid
    }

    /// Waits for the result, at most for `limit`, and ends the task then.
    ///
    /// # Errors
    ///
    /// [`TaskError::Exited`] when it ended without a result, [`TaskError::TimedOut`] when time was
    /// over; the task may still run until its next await then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the task.
    pub async fn await_within(mut self, limit: Duration) -> Result<T, TaskError> {
        self.yield_within(limit).await.unwrap_or_else(|| {
            let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            Err(TaskError::TimedOut { ms })
        })
    }

    /// Waits for the result, at most for `limit`, and lets the task go on then; `None` when it is
    /// not done. After a result there is no other: whoever looks again learns that the task has
    /// ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn yield_within(&mut self, limit: Duration) -> Option<Result<T, TaskError>> {
        timeout(limit, self.outcome()).await.ok()
    }

    /// Waits for the result for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`TaskError::Exited`] when it ended without a result.
    pub async fn await_forever(mut self) -> Result<T, TaskError> {
        self.outcome().await
    }

    /// Ends the task by a shutdown rule, waits until it is gone, and says what it ended with: its
    /// result if it was done before.
    ///
    /// # Errors
    ///
    /// The reason it ended for: `shutdown` when it was ended at an await, `killed` when it was
    /// killed.
    pub async fn shutdown(mut self, rule: Shutdown) -> Result<T, ExitReason> {
        if rule == Shutdown::BrutalKill {
            self.pid.kill();
        }
        self.result.close();
        if let Shutdown::Timeout(patience) = rule
            && timeout(patience, self.pid.gone()).await.is_err()
        {
            self.pid.kill();
        }
        let reason = self.pid.gone().await;
        self.result.try_recv().map_err(|_| reason)
    }

    async fn outcome(&mut self) -> Result<T, TaskError> {
        // A receiver that has given what it had must not be asked again.
        let value = if self.result.is_terminated() { None } else { (&mut self.result).await.ok() };
        match value {
            Some(value) => Ok(value),
            None => Err(TaskError::Exited(self.pid.gone().await)),
        }
    }
}

impl<T: Send + 'static> IntoFuture for Task<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// Waits for [`CALL_TIMEOUT`].
    fn into_future(self) -> Self::IntoFuture {
        self.await_within(CALL_TIMEOUT).boxed()
    }
}
