//! Processes that run a loop of their own: acceptors, consumers, anything that waits for the world.
//!
//! Such a process has no mailbox. It is told to stop through [`RunContext::stopping`], has its
//! patience to end in good order, and is dropped at its next await when that is over.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::ActorProcessingErr;

use crate::actor::start_error;
use crate::child::{Birth, Launch};
use crate::clock::Clock;
use crate::exit::{ExitReason, StartError, caught};
use crate::incarnation::{ExitGuard, Incarnation, Pid};
use crate::tree::Tree;

/// A process that runs its own loop. The value is its state.
///
/// # Examples
///
/// ```
/// use otp::{ChildSpec, Clock, ExitReason, Process, Root, RunContext, SupervisorSpec};
/// use tokio::net::TcpListener;
///
/// struct Door(TcpListener);
///
/// impl Process for Door {
///     async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
///         loop {
///             tokio::select! {
///                 () = context.stopping() => return Ok(()),
///                 guest = self.0.accept() => drop(guest.map_err(ExitReason::failed)?),
///             }
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// listener.set_nonblocking(true)?;
/// let door = ChildSpec::process("door", move || {
///     let again = listener.try_clone().and_then(TcpListener::from_std);
///     Door(again.expect("a descriptor is left"))
/// });
/// let root = Root::start(SupervisorSpec::default().child(door), Clock::system()).await?;
///
/// assert_eq!(root.stop().await, ExitReason::Shutdown);
/// # Ok(())
/// # }
/// ```
pub trait Process: Sized + Send + 'static {
    /// Makes it ready; its supervisor waits for this.
    fn init(
        &mut self,
        context: &RunContext,
    ) -> impl Future<Output = Result<(), StartError>> + Send {
        let _ = context;
        async { Ok(()) }
    }

    /// Works until it is done or told to stop. `Ok` is a normal end.
    fn run(&mut self, context: &RunContext) -> impl Future<Output = Result<(), ExitReason>> + Send;

    /// Says farewell, after the loop has ended; not after a kill.
    fn terminate(&mut self, reason: &ExitReason) -> impl Future<Output = ()> + Send {
        let _ = reason;
        async {}
    }
}

/// What a process can reach; clones belong to the same process.
#[derive(Clone)]
pub struct RunContext {
    incarnation: Arc<Incarnation>,
}

impl RunContext {
    /// Waits until the supervisor wants the process to stop.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: once it is wanted, every wait ends at once.
    pub async fn stopping(&self) {
        self.incarnation.stopping().raised().await;
    }

    /// Whether the supervisor wants the process to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.incarnation.stopping().is_raised()
    }

    /// Where in the tree the process lives.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.incarnation.path
    }

    /// The argument it was started with, under a simple `one_for_one` supervisor.
    #[must_use]
    pub fn argument(&self) -> Option<&str> {
        self.incarnation.argument.as_deref()
    }

    /// The tree it is part of.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.incarnation.tree
    }

    /// The wall clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.incarnation.tree.clock()
    }

    /// This process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid(self.incarnation.clone())
    }

    /// Shows the state of the process to those who look with [`crate::sys::get_state`].
    pub fn publish_state(&self, state: serde_json::Value) {
        self.incarnation.open().publish(state);
    }

    /// Shows how much work waits, where an actor shows its mailbox.
    pub fn report_backlog(&self, depth: u64) {
        self.incarnation.backlog().store(depth, Ordering::Relaxed);
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RunContext").field(&self.pid()).finish()
    }
}

/// Brings up a process made by `make`.
pub(crate) fn launch<P: Process>(make: impl Fn() -> P + Send + Sync + 'static) -> Launch {
    let make = Arc::new(make);
    Arc::new(move |birth| {
        let make = make.clone();
        Box::pin(async move {
            let host = Host(PhantomData);
            ractor::Actor::spawn(None, host, (make, birth)).await.map(drop).map_err(start_error)
        })
    })
}

/// Nobody can send this.
enum Never {}

struct Host<P, F>(PhantomData<fn() -> (P, F)>);

/// The fields are dropped in this order: an exit is made known when the process itself is no more.
struct State<P> {
    process: P,
    context: RunContext,
    guard: ExitGuard,
}

impl<P: Process, F: Fn() -> P + Send + Sync + 'static> ractor::Actor for Host<P, F> {
    type Msg = Never;
    type State = State<P>;
    type Arguments = (Arc<F>, Birth);

    async fn pre_start(
        &self,
        myself: ractor::ActorRef<Never>,
        (make, birth): Self::Arguments,
    ) -> Result<State<P>, ActorProcessingErr> {
        let incarnation = birth.incarnation;
        let mut guard = ExitGuard::new(incarnation.clone());
        incarnation.occupy(myself.get_cell(), None);
        let context = RunContext { incarnation };
        let process = caught(context.incarnation.on_watch("init", async {
            let mut process = make();
            process.init(&context).await?;
            Ok::<_, StartError>(process)
        }))
        .await
        .map_err(StartError::Panicked)??;
        guard.up(Box::new(context.pid()), birth.cause);
        Ok(State { process, context, guard })
    }

    /// The whole life happens here, because ractor lets a kill end it at any await and a stop only
    /// after it: being told to stop goes through the context.
    async fn post_start(
        &self,
        myself: ractor::ActorRef<Never>,
        state: &mut State<P>,
    ) -> Result<(), ActorProcessingErr> {
        let told = || state.context.incarnation.told().cloned();
        let incarnation = &state.context.incarnation;
        let running =
            incarnation.on_watch("run", async { state.process.run(&state.context).await });
        let reason = match caught(running).await {
            Ok(Ok(())) => told().unwrap_or(ExitReason::Normal),
            Ok(Err(reason)) => reason,
            Err(panic) => ExitReason::Failed(panic),
        };
        let farewell =
            incarnation.on_watch("terminate", async { state.process.terminate(&reason).await });
        let farewell = caught(farewell).await;
        state.guard.record(farewell.map_or_else(ExitReason::Failed, |()| reason));
        myself.stop(None);
        Ok(())
    }
}

/// A process around work that exists only once.
pub(crate) struct Task<F>(Option<F>);

impl<F> Task<F> {
    pub(crate) const fn new(work: Option<F>) -> Self {
        Self(work)
    }
}

impl<F, W> Process for Task<F>
where
    F: FnOnce(RunContext) -> W + Send + 'static,
    W: Future<Output = Result<(), ExitReason>> + Send + 'static,
{
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        // The work is gone with its first life; a second start has nothing to do.
        if self.0.is_some() { Ok(()) } else { Err(StartError::Ignore) }
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let Some(work) = self.0.take() else {
            return Ok(());
        };
        let work: Pin<Box<W>> = Box::pin(work(context.clone()));
        work.await
    }
}
