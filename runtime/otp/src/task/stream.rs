//! Streams of tasks: one task per item, so many at a time.

use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::Duration;

use futures_util::stream::{BoxStream, Stream, StreamExt, iter};

use super::{TaskError, TaskSupervisor};
use crate::call::CALL_TIMEOUT;

/// What becomes of a stream when one of its tasks takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// It says so and ends, and so do all tasks that still run. Elixir exits the caller here.
    #[default]
    Exit,
    /// That task is killed, its place in the stream says so, and the stream goes on.
    KillTask,
}

/// A stream of tasks before it runs.
#[must_use = "nothing runs until `run` is called and its stream is polled"]
pub struct TaskStreamBuilder<I> {
    supervisor: TaskSupervisor,
    items: I,
    max_concurrency: usize,
    ordered: bool,
    timeout: Option<Duration>,
    on_timeout: OnTimeout,
}

impl<I> TaskStreamBuilder<I> {
    pub(super) fn new(supervisor: TaskSupervisor, items: I) -> Self {
        Self {
            supervisor,
            items,
            max_concurrency: available_parallelism().map_or(1, NonZeroUsize::get),
            ordered: true,
            timeout: Some(CALL_TIMEOUT),
            on_timeout: OnTimeout::default(),
        }
    }

    /// How many tasks there are at once, counting those whose result waits for an earlier one; at
    /// least one, and as many as the computer runs threads unless said otherwise.
    pub fn max_concurrency(mut self, tasks: usize) -> Self {
        self.max_concurrency = tasks.max(1);
        self
    }

    /// Results come as they are ready, not in the order of the items.
    pub const fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// How long each task may take, from its own start; [`CALL_TIMEOUT`] unless said otherwise.
    /// `None` is as long as it needs.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.timeout = limit.into();
        self
    }

    /// What becomes of the stream when one task takes too long.
    pub const fn on_timeout(mut self, on_timeout: OnTimeout) -> Self {
        self.on_timeout = on_timeout;
        self
    }
}

impl<I> TaskStreamBuilder<I>
where
    I: Iterator<Item: Send + 'static> + Send + 'static,
{
    /// The results of `work`, which is called once per item, inside the task.
    ///
    /// Items are taken only when there is room for one more task, and only while somebody waits for
    /// the next result; at most `max_concurrency` tasks and results are held at once. An item
    /// whose task is refused, as by `max_children`, is answered with [`TaskError::Refused`].
    /// Dropping the stream ends what runs.
    pub fn run<T, W>(self, work: impl Fn(I::Item) -> W + Send + Sync + 'static) -> TaskStream<T>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let Self { supervisor, items, max_concurrency, ordered, timeout, on_timeout } = self;
        let work = Arc::new(work);
        let outcomes = iter(items).map(move |item| {
            let (supervisor, work) = (supervisor.clone(), work.clone());
            async move {
                // Called inside the task, so that a panic of it is the task's own.
                let mut task = supervisor.run(async move { work(item).await }).await?;
                let Some(limit) = timeout else { return task.await_forever().await };
                if let Some(outcome) = task.yield_within(limit).await {
                    return outcome;
                }
                task.pid().kill();
                let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                Err(TaskError::TimedOut { ms })
            }
        });
        let outcomes = if ordered {
            outcomes.buffered(max_concurrency).boxed()
        } else {
            outcomes.buffer_unordered(max_concurrency).boxed()
        };
        TaskStream { outcomes: Some(outcomes), on_timeout }
    }
}

impl<I> fmt::Debug for TaskStreamBuilder<I> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TaskStreamBuilder")
            .field("max_concurrency", &self.max_concurrency)
            .field("ordered", &self.ordered)
            .field("timeout", &self.timeout)
            .field("on_timeout", &self.on_timeout)
            .finish_non_exhaustive()
    }
}

/// The results of a stream of tasks. Dropping it ends what runs.
#[must_use = "nothing runs until the stream is polled"]
pub struct TaskStream<T> {
    outcomes: Option<BoxStream<'static, Result<T, TaskError>>>,
    on_timeout: OnTimeout,
}

impl<T> TaskStream<T> {
    /// The next result, or `None` when there is none any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; but nothing is started, and no time limit noticed, until
    /// the stream is polled again.
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        StreamExt::next(self).await
    }
}

impl<T> Stream for TaskStream<T> {
    type Item = Result<T, TaskError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(outcomes) = &mut this.outcomes else {
            return Poll::Ready(None);
        };
        let next = std::task::ready!(outcomes.poll_next_unpin(context));
        let is_over = match &next {
            None => true,
            Some(Err(TaskError::TimedOut { .. })) => this.on_timeout == OnTimeout::Exit,
            Some(_) => false,
        };
        if is_over {
            // What still runs ends with it.
            this.outcomes = None;
        }
        Poll::Ready(next)
    }
}

impl<T> fmt::Debug for TaskStream<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_over = self.outcomes.is_none();
        formatter.debug_struct("TaskStream").field("is_over", &is_over).finish_non_exhaustive()
    }
}
