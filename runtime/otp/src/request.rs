//! Requests: what may be asked of a running supervisor, and its answers.
//!
//! Requests wait in the mailbox of the supervisor behind exits and other requests, are served one
//! at a time, and have no timeout: an answer that comes late is still the truth, a timeout is not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::call::{CallError, Question, Reply};
use crate::changes::Changes;
use crate::child::{ChildKind, ChildSpec, Restart, Shutdown};
use crate::exit::{ExitReason, StartError};
use crate::incarnation::{Incarnation, Pid};
use crate::specification::{SpecError, SupervisorSpec};
use crate::supervisor::Message;
use crate::sys;

/// Why a supervisor does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is dead.
    #[error("no such supervisor")]
    NoProc,
    /// The request comes from what the supervisor itself is doing, from the start of a child for
    /// example, and could never be served while that waits.
    #[error("a supervisor cannot wait for itself")]
    CallingSelf,
    /// It died before it answered.
    #[error("the supervisor ended before it answered: {0}")]
    Exited(ExitReason),
    /// It has no such child.
    #[error("there is no such child")]
    NotFound,
    /// The child is running.
    #[error("the child is running")]
    Running,
    /// The child is between two attempts to start it.
    #[error("the child is being restarted")]
    Restarting,
    /// A child of that id is listed, but not running.
    #[error("a child of that id is listed already")]
    AlreadyPresent,
    /// A child of that id is running.
    #[error("a child of that id is running already: {0:?}")]
    AlreadyStarted(Pid),
    /// The child did not start; nothing is kept of it.
    #[error("the child did not start: {0}")]
    StartFailed(StartError),
    /// The specification contradicts itself or the supervisor.
    #[error(transparent)]
    Refused(#[from] SpecError),
    /// Its children are instances of one specification, for which this makes no sense.
    #[error("not possible under a simple `one_for_one` supervisor")]
    SimpleOneForOne,
    /// A dynamic supervisor has as many children as it may have.
    #[error("there are {limit} children already, which is the limit")]
    MaxChildren {
        /// The limit.
        limit: usize,
    },
}

/// A child as named in a request: by its id, or by its process.
#[derive(Clone, Debug)]
pub enum ChildName {
    /// The id of its specification.
    Id(String),
    /// One incarnation of it.
    Process(Pid),
}

impl From<&str> for ChildName {
    fn from(id: &str) -> Self {
        Self::Id(id.to_owned())
    }
}

impl From<Pid> for ChildName {
    fn from(pid: Pid) -> Self {
        Self::Process(pid)
    }
}

/// What a child is doing, as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It has a process, which may have died a moment ago.
    Running(Pid),
    /// It has no process and none is wanted; OTP says `undefined`.
    Stopped,
    /// A start failed and will be repeated.
    Restarting,
    /// It is left down for a while.
    Quarantined,
}

/// One line of [`SupervisorRef::which_children`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildEntry {
    /// Its id.
    pub id: String,
    /// What it is doing.
    pub state: ChildState,
    /// Whether it supervises others.
    pub kind: ChildKind,
}

/// The answer to [`SupervisorRef::count_children`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCounts {
    /// Specifications.
    pub specs: usize,
    /// Processes that are alive.
    pub active: usize,
    /// Children that supervise, running or not.
    pub supervisors: usize,
    /// Children that do not, running or not.
    pub workers: usize,
}

/// The answer to [`SupervisorRef::get_childspec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildDescription {
    /// Its id.
    pub id: String,
    /// After which exits it is started again.
    pub restart: Restart,
    /// Whether its end may end its supervisor.
    pub significant: bool,
    /// How it is told to stop.
    pub shutdown: Shutdown,
    /// Whether it supervises others.
    #[serde(rename = "type")]
    pub kind: ChildKind,
}

impl ChildDescription {
    pub(crate) fn of(spec: &ChildSpec) -> Self {
        Self {
            id: spec.id.to_string(),
            restart: spec.restart,
            significant: spec.significant,
            shutdown: spec.shutdown,
            kind: spec.kind,
        }
    }
}

type Answer<T> = Reply<Result<T, RequestError>>;

/// A request in the mailbox of a supervisor.
pub(crate) enum Request {
    StartChild(Box<ChildSpec>, Answer<Option<Pid>>),
    StartNumbered(Box<ChildSpec>, Answer<Option<Pid>>),
    StartInstance(String, Answer<Option<Pid>>),
    TerminateChild(ChildName, Answer<()>),
    RestartChild(String, Answer<Option<Pid>>),
    DeleteChild(String, Answer<()>),
    WhichChildren(Answer<Vec<ChildEntry>>),
    CountChildren(Answer<ChildCounts>),
    GetChildspec(ChildName, Answer<ChildDescription>),
    Suspend(Suspension, Answer<()>),
    LiftQuarantine(String),
    Reconfigure(Box<SupervisorSpec>, Answer<Changes>),
}

pub(crate) type Suspension = tokio::sync::oneshot::Receiver<std::convert::Infallible>;

/// A supervisor that looks at nothing until this is dropped.
#[must_use = "dropping it resumes the supervisor"]
#[derive(Debug)]
pub struct Suspended {
    _resume: tokio::sync::oneshot::Sender<std::convert::Infallible>,
}

/// A reference to one incarnation of a supervisor.
///
/// # Examples
///
/// ```
/// use otp::{ChildSpec, Clock, RequestError, Root, SupervisorSpec};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let root = Root::start(SupervisorSpec::default(), Clock::system()).await?;
/// let supervisor = root.supervisor().expect("it is up");
/// let child = || ChildSpec::supervisor("late", SupervisorSpec::default());
///
/// let pid = supervisor.start_child(child()).await?.expect("it wants to start");
/// assert_eq!(supervisor.start_child(child()).await, Err(RequestError::AlreadyStarted(pid)));
/// assert_eq!(supervisor.delete_child("late").await, Err(RequestError::Running));
/// supervisor.terminate_child("late").await?;
/// supervisor.delete_child("late").await?;
/// assert_eq!(supervisor.count_children().await?.specs, 0);
/// # root.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SupervisorRef {
    inner: ractor::ActorRef<Message>,
    incarnation: Arc<Incarnation>,
}

impl SupervisorRef {
    pub(crate) const fn new(
        inner: ractor::ActorRef<Message>,
        incarnation: Arc<Incarnation>,
    ) -> Self {
        Self { inner, incarnation }
    }

    /// Starts a child and lists it as the last one. `None` means that it did not want to start.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Option<Pid>, RequestError> {
        self.ask(|reply| Request::StartChild(Box::new(spec), reply)).await
    }

    /// Starts a child like [`SupervisorRef::start_child`] under an id that no other child has: that
    /// of the specification, followed by a number, as in `task#7`.
    pub async fn start_numbered(&self, spec: ChildSpec) -> Result<Option<Pid>, RequestError> {
        self.ask(|reply| Request::StartNumbered(Box::new(spec), reply)).await
    }

    /// Starts one more instance of the only specification of a simple `one_for_one` supervisor. Its
    /// id is the argument with a number, as in `ada#7`, and a `|` for every slash.
    pub async fn start_instance(&self, argument: &str) -> Result<Option<Pid>, RequestError> {
        let argument = argument.to_owned();
        self.ask(|reply| Request::StartInstance(argument, reply)).await
    }

    /// Stops a child by its shutdown rule and keeps its specification, unless it is temporary or
    /// the supervisor dynamic. Under a simple `one_for_one` supervisor a child is named by process.
    pub async fn terminate_child(&self, child: impl Into<ChildName>) -> Result<(), RequestError> {
        let child = child.into();
        self.ask(|reply| Request::TerminateChild(child, reply)).await
    }

    /// Starts a child that is not running.
    pub async fn restart_child(&self, id: &str) -> Result<Option<Pid>, RequestError> {
        let id = id.to_owned();
        self.ask(|reply| Request::RestartChild(id, reply)).await
    }

    /// Forgets a child that is not running.
    pub async fn delete_child(&self, id: &str) -> Result<(), RequestError> {
        let id = id.to_owned();
        self.ask(|reply| Request::DeleteChild(id, reply)).await
    }

    /// The children, newest started first.
    pub async fn which_children(&self) -> Result<Vec<ChildEntry>, RequestError> {
        self.ask(Request::WhichChildren).await
    }

    /// How many children there are.
    pub async fn count_children(&self) -> Result<ChildCounts, RequestError> {
        self.ask(Request::CountChildren).await
    }

    /// The completed specification of a child.
    pub async fn get_childspec(
        &self,
        child: impl Into<ChildName>,
    ) -> Result<ChildDescription, RequestError> {
        let child = child.into();
        self.ask(|reply| Request::GetChildspec(child, reply)).await
    }

    /// Gives the supervisor another specification while it runs, as OTP's `code_change` does.
    ///
    /// The flags are replaced and hold from the next exit on; restarts already counted still count.
    /// A child that `spec` names is given its new specification and keeps its process; what is new
    /// is listed without being started; what `spec` does not name stays, behind the others. Nothing
    /// is started, stopped or restarted. Under a simple `one_for_one` supervisor all instances go
    /// by the new specification from now on, and under a dynamic one each child keeps its own.
    ///
    /// A later incarnation of the supervisor is again made as its own child specification says; one
    /// that should outlast it belongs there too (see [`ChildSpec::supervisor_from`]).
    ///
    /// # Errors
    ///
    /// [`RequestError::Refused`] when `spec` contradicts itself, or would make another kind of
    /// supervisor of this one; then nothing is changed.
    #[doc(alias = "code_change")]
    pub async fn reconfigure(&self, spec: SupervisorSpec) -> Result<Changes, RequestError> {
        self.ask(|reply| Request::Reconfigure(Box::new(spec), reply)).await
    }

    /// Lets everything that happens to the supervisor wait until the answer is dropped, or until
    /// it is told to stop.
    pub async fn suspend(&self) -> Result<Suspended, RequestError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.ask(|reply| Request::Suspend(receiver, reply)).await?;
        Ok(Suspended { _resume: sender })
    }

    /// The process of the supervisor.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid(self.incarnation.clone())
    }

    pub(crate) fn lift(&self, id: &str) -> Result<(), RequestError> {
        self.cast(Request::LiftQuarantine(id.to_owned()))
    }

    fn cast(&self, request: Request) -> Result<(), RequestError> {
        self.incarnation.backlog().fetch_add(1, Ordering::Relaxed);
        self.inner.cast(Message::Request(request)).map_err(|_| {
            self.incarnation.backlog().fetch_sub(1, Ordering::Relaxed);
            RequestError::NoProc
        })?;
        sys::sent::<Request>(&self.incarnation);
        Ok(())
    }

    async fn ask<T: Send>(
        &self,
        request: impl FnOnce(Answer<T>) -> Request + Send,
    ) -> Result<T, RequestError> {
        if self.incarnation.is_running_here() {
            return Err(RequestError::CallingSelf);
        }
        let (reply, question) = Question::to(&self.incarnation);
        self.cast(request(reply))?;
        match question.answer().await {
            Ok(answer) => answer,
            Err(CallError::Exited(reason)) => Err(RequestError::Exited(reason)),
            // Requests are neither dropped nor limited in time, so nothing else is left.
            Err(_) => Err(RequestError::NoProc),
        }
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid().fmt(formatter)
    }
}
