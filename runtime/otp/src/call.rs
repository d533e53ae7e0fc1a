//! References to actors, casts and calls.
//!
//! A call ends in exactly one of four ways: an answer, no process, time over, or the exit reason
//! of a callee that died meanwhile. Waiting out a timeout for a dead callee is never one of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::exit::ExitReason;
use crate::incarnation::{Incarnation, Pid};

/// How long a call waits, where the caller has no better idea.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A reference to one incarnation of an actor with messages of type `M`.
pub struct ActorRef<M> {
    inner: ractor::ActorRef<M>,
    incarnation: Arc<Incarnation>,
}

/// There is no such process (any more); the message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such process")]
pub struct NoProc;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The callee was dead before the call.
    #[error("no such process")]
    NoProc,
    /// The callee did not answer in time; its answer, should it still come, is dropped.
    #[error("no answer within {ms} ms")]
    Timeout {
        /// How long the caller waited.
        ms: u64,
    },
    /// The callee died before it answered.
    #[error("the process ended before it answered: {0}")]
    Exited(ExitReason),
}

/// Where the answer to a call goes.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers the call. A caller that no longer waits is no concern of the callee.
    pub fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }

    /// Whether the caller has stopped waiting.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

impl<M: Send + 'static> ActorRef<M> {
    pub(crate) const fn new(inner: ractor::ActorRef<M>, incarnation: Arc<Incarnation>) -> Self {
        Self { inner, incarnation }
    }

    /// Puts a message into the mailbox and waits for nothing.
    pub fn cast(&self, message: M) -> Result<(), NoProc> {
        self.incarnation.backlog().fetch_add(1, Ordering::Relaxed);
        self.inner.cast(message).map_err(|_| {
            self.incarnation.backlog().fetch_sub(1, Ordering::Relaxed);
            NoProc
        })
    }

    /// Asks and waits for the answer, at most for `within`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the answer; the callee still handles the message.
    pub async fn call<T: Send>(
        &self,
        message: impl FnOnce(Reply<T>) -> M + Send,
        within: Duration,
    ) -> Result<T, CallError> {
        let question = self.ask(message)?;
        match tokio::time::timeout(within, question.answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout {
                ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    /// Sends the question at once; the answer may be awaited later.
    pub(crate) fn ask<T>(
        &self,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Result<Question<T>, CallError> {
        let (sender, receiver) = oneshot::channel();
        self.cast(message(Reply(sender))).map_err(|NoProc| CallError::NoProc)?;
        Ok(Question { receiver, callee: self.incarnation.clone() })
    }

    /// How many messages wait, including the one being handled.
    #[must_use]
    pub fn mailbox_len(&self) -> u64 {
        self.incarnation.backlog().load(Ordering::Relaxed)
    }

    /// Whether the actor is up.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.incarnation.is_alive()
    }

    /// The process behind this reference.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid(self.incarnation.clone())
    }
}

/// A question that has been asked.
pub(crate) struct Question<T> {
    receiver: oneshot::Receiver<T>,
    callee: Arc<Incarnation>,
}

impl<T> Question<T> {
    /// The answer, however long it takes, or the end of the callee.
    pub(crate) async fn answer(self) -> Result<T, CallError> {
        let Self { mut receiver, callee } = self;
        tokio::select! {
            biased;
            Ok(answer) = &mut receiver => Ok(answer),
            () = callee.gone().raised() => Err(CallError::Exited(callee.reason())),
        }
    }
}

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), incarnation: self.incarnation.clone() }
    }
}

impl<M> fmt::Debug for ActorRef<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Pid(self.incarnation.clone()).fmt(formatter)
    }
}
