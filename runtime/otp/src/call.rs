//! References to actors, casts and calls.
//!
//! A call ends in exactly one way: with an answer, or with the reason why there is none. Waiting
//! out a timeout for a callee that is dead, or for an answer that nobody can give any more, is
//! never one of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::exit::ExitReason;
use crate::incarnation::{Incarnation, Pid};
use crate::mailbox::{Bounded, Delivery, Late, Loss, MailboxReport, Outcome};
use crate::sys;

/// How long a call waits, where the caller has no better idea.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A reference to one incarnation of an actor with messages of type `M`.
pub struct ActorRef<M> {
    inner: ractor::ActorRef<Delivery<M>>,
    incarnation: Arc<Incarnation>,
    bounded: Option<Arc<Bounded<M>>>,
}

/// There is no such process (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such process")]
pub struct NoProc;

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// There is no such process (any more).
    #[error("no such process")]
    NoProc,
    /// As many messages wait as may, and one more is refused.
    #[error("the mailbox is full: {capacity} messages wait")]
    Full {
        /// How many may wait.
        capacity: usize,
    },
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The callee was dead before the call.
    #[error("no such process")]
    NoProc,
    /// The mailbox of the callee refused the question.
    #[error("the mailbox is full: {capacity} messages wait")]
    Full {
        /// How many may wait.
        capacity: usize,
    },
    /// The mailbox of the callee was full and dropped the question.
    #[error("the question was dropped from a full mailbox")]
    Dropped,
    /// The caller is the callee, which could never answer while it waits.
    #[error("a process cannot call itself")]
    CallingSelf,
    /// The callee did not answer in time; its answer, should it still come, is dropped.
    #[error("no answer within {ms} ms")]
    Timeout {
        /// How long the caller waited.
        ms: u64,
    },
    /// The callee goes on, but has dropped its end of the call without an answer.
    #[error("the process goes on without an answer")]
    NoReply,
    /// The callee died before it answered.
    #[error("the process ended before it answered: {0}")]
    Exited(ExitReason),
}

impl From<CastError> for CallError {
    fn from(error: CastError) -> Self {
        match error {
            CastError::NoProc => Self::NoProc,
            CastError::Full { capacity } => Self::Full { capacity },
        }
    }
}

/// Where the answer to a call goes. It can be kept, or handed to whoever will know the answer.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers the call. A caller that no longer waits is no concern of the callee.
    pub fn send(self, answer: T) {
        sys::answered::<T>();
        let _ = self.0.send(answer);
    }

    /// Whether the caller has stopped waiting.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

impl<M: Send + 'static> ActorRef<M> {
    pub(crate) const fn new(
        inner: ractor::ActorRef<Delivery<M>>,
        incarnation: Arc<Incarnation>,
        bounded: Option<Arc<Bounded<M>>>,
    ) -> Self {
        Self { inner, incarnation, bounded }
    }

    /// Puts a message into the mailbox and waits for nothing.
    ///
    /// # Errors
    ///
    /// When the actor is dead, or its mailbox full and of the kind that refuses.
    pub fn cast(&self, message: M) -> Result<(), CastError> {
        match &self.bounded {
            None => self.deliver(Delivery::Message(message)),
            Some(bounded) => self.post(bounded, message, None).map(drop),
        }
    }

    /// Asks and waits for the answer, at most for `within`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the answer; the callee still handles the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use otp::{Actor, CallError, ChildSpec, Clock, Context, ExitReason};
    /// use otp::{Reply, Root, SupervisorSpec};
    ///
    /// struct Oracle;
    ///
    /// impl Actor for Oracle {
    ///     type Message = Reply<u64>;
    ///
    ///     async fn handle(
    ///         &mut self,
    ///         asked: Reply<u64>,
    ///         _: &Context<Reply<u64>>,
    ///     ) -> Result<(), ExitReason> {
    ///         asked.send(42);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let spec = SupervisorSpec::default().child(ChildSpec::worker("oracle", || Oracle));
    /// let root = Root::start(spec, Clock::system()).await?;
    /// let oracle = root.tree().whereis::<Reply<u64>>("root/oracle").expect("it is up");
    ///
    /// let limit = Duration::from_secs(1);
    /// assert_eq!(oracle.call(|reply| reply, limit).await, Ok(42));
    /// root.stop().await;
    /// // Nobody waits for a callee that is dead.
    /// assert_eq!(oracle.call(|reply| reply, limit).await, Err(CallError::NoProc));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call<T: Send>(
        &self,
        message: impl FnOnce(Reply<T>) -> M + Send,
        within: Duration,
    ) -> Result<T, CallError> {
        if self.incarnation.is_running_here() {
            return Err(CallError::CallingSelf);
        }
        let question = self.ask(message)?;
        match tokio::time::timeout(within, question.answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout {
                ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    /// Asks and waits for the answer, at most for [`CALL_TIMEOUT`], which is 5 s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the answer; the callee still handles the message.
    pub async fn request<T: Send>(
        &self,
        message: impl FnOnce(Reply<T>) -> M + Send,
    ) -> Result<T, CallError> {
        self.call(message, CALL_TIMEOUT).await
    }

    /// Sends the question at once; the answer may be awaited later.
    pub(crate) fn ask<T>(
        &self,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Result<Question<T>, CallError> {
        let (reply, mut question) = Question::to(&self.incarnation);
        match &self.bounded {
            None => self.deliver(Delivery::Message(message(reply)))?,
            Some(bounded) => {
                let loss = Loss::new(AtomicBool::new(false));
                question.loss = Some(loss.clone());
                if self.post(bounded, message(reply), Some(loss))? == Outcome::Dropped {
                    return Err(CallError::Dropped);
                }
            }
        }
        Ok(question)
    }

    /// Puts what a monitor reports into the mailbox, however full that is.
    pub(crate) fn report(&self, down: Late<M>) {
        // An actor that died meanwhile needs no report.
        let _ = self.deliver(Delivery::Down(down));
    }

    fn deliver(&self, delivery: Delivery<M>) -> Result<(), CastError> {
        self.incarnation.backlog().fetch_add(1, Ordering::Relaxed);
        self.inner.cast(delivery).map_err(|_| {
            self.incarnation.backlog().fetch_sub(1, Ordering::Relaxed);
            CastError::NoProc
        })?;
        sys::sent::<M>(&self.incarnation);
        Ok(())
    }

    fn post(
        &self,
        bounded: &Bounded<M>,
        message: M,
        loss: Option<Loss>,
    ) -> Result<Outcome, CastError> {
        let outcome = bounded.push(message, loss);
        match outcome {
            // A message whose token is not taken is dropped at the exit that is on its way.
            Outcome::Waits => self.deliver(Delivery::Queued)?,
            Outcome::Replaces | Outcome::Dropped => {}
            Outcome::Refused => return Err(CastError::Full { capacity: bounded.capacity() }),
            Outcome::Closed => return Err(CastError::NoProc),
        }
        Ok(outcome)
    }

    /// Takes the message out of a bounded mailbox that a token stands for.
    pub(crate) fn take(&self) -> Option<M> {
        self.bounded.as_ref()?.pop()
    }

    /// How many messages wait, including the one being handled.
    #[must_use]
    pub fn mailbox_len(&self) -> u64 {
        self.incarnation.backlog().load(Ordering::Relaxed)
    }

    /// What the mailbox looks like: how full it is, since when, and how much it has lost.
    #[must_use]
    pub fn mailbox(&self) -> MailboxReport {
        self.incarnation.mailbox()
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
    loss: Option<Loss>,
}

impl<T> Question<T> {
    /// A question and where its answer goes.
    pub(crate) fn to(callee: &Arc<Incarnation>) -> (Reply<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (Reply(sender), Self { receiver, callee: callee.clone(), loss: None })
    }

    /// The answer, if there ever is one.
    pub(crate) async fn received(self) -> Option<T> {
        self.receiver.await.ok()
    }

    /// The answer, however long it takes, or why there will be none.
    pub(crate) async fn answer(self) -> Result<T, CallError> {
        let Self { mut receiver, callee, loss } = self;
        tokio::select! {
            biased;
            answer = &mut receiver => match answer {
                Ok(answer) => Ok(answer),
                Err(_) if loss.is_some_and(|loss| loss.load(Ordering::Acquire)) => {
                    Err(CallError::Dropped)
                }
                // In a box: it is rare, and every call that waits would have room for it.
                Err(_) => Err(Box::pin(Self::without_answer(&callee)).await),
            },
            () = callee.gone().raised() => Err(CallError::Exited(callee.reason())),
        }
    }

    /// The callee has let go of the question: because it ends, which will be known in a moment, or
    /// although it goes on, which is known when it looks at what comes next.
    async fn without_answer(callee: &Arc<Incarnation>) -> CallError {
        tokio::select! {
            biased;
            () = callee.gone().raised() => CallError::Exited(callee.reason()),
            () = callee.passed() => CallError::NoReply,
        }
    }
}

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            incarnation: self.incarnation.clone(),
            bounded: self.bounded.clone(),
        }
    }
}

impl<M> fmt::Debug for ActorRef<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Pid(self.incarnation.clone()).fmt(formatter)
    }
}
