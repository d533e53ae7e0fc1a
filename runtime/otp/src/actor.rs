//! Actors: processes with a mailbox that handle one message at a time.
//!
//! An actor is a value; the adapter below runs it on ractor. Everything that may fail at the start
//! happens in [`Actor::init`], which its supervisor awaits. A panic ends the actor, never more.

mod handling;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorProcessingErr, SpawnErr};

use crate::call::ActorRef;
use crate::child::{Birth, Launch};
use crate::clock::Clock;
use crate::exit::{ExitReason, StartError, called, caught};
use crate::incarnation::{ExitGuard, Incarnation, Pid};
use crate::mailbox::{Bounded, Delivery};
use crate::monitor::{self, Down, MonitorRef};
use crate::sys::{observed, short_name};
use crate::timer::Timer;
use crate::tree::Tree;
use handling::Outcome;

/// A process with a mailbox. The value is its state.
pub trait Actor: Sized + Send + 'static {
    /// What it understands.
    type Message: Send + 'static;

    /// Makes it ready; its supervisor waits for this.
    fn init(
        &mut self,
        context: &Context<Self::Message>,
    ) -> impl Future<Output = Result<(), StartError>> + Send {
        let _ = context;
        async { Ok(()) }
    }

    /// Handles one message. An error ends the actor with that reason.
    fn handle(
        &mut self,
        message: Self::Message,
        context: &Context<Self::Message>,
    ) -> impl Future<Output = Result<(), ExitReason>> + Send;

    /// What others may see of its state, for [`crate::sys::get_state`]; nothing unless said
    /// otherwise. It is asked for between two messages, so it should be quick, and leave out what
    /// is secret.
    fn state(&self) -> Option<serde_json::Value> {
        None
    }

    /// What a message is called by those who look at the actor with [`crate::sys`], and by its
    /// [`Watchdog`](crate::Watchdog); the name of its type unless said otherwise. Nobody asks while
    /// nobody looks or watches.
    fn describe(message: &Self::Message) -> Cow<'static, str> {
        let _ = message;
        Cow::Borrowed(short_name::<Self::Message>())
    }

    /// Says farewell, after a stop or a failure; not after a kill.
    fn terminate(&mut self, reason: &ExitReason) -> impl Future<Output = ()> + Send {
        let _ = reason;
        async {}
    }
}

/// What an actor can reach.
pub struct Context<M> {
    myself: ActorRef<M>,
    incarnation: Arc<Incarnation>,
}

impl<M: Send + 'static> Context<M> {
    /// Where in the tree the actor lives.
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

    /// A reference to this incarnation of the actor.
    #[must_use]
    pub fn myself(&self) -> ActorRef<M> {
        self.myself.clone()
    }

    /// The process of the actor.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid(self.incarnation.clone())
    }

    /// Sends a message to itself later; dropping the timer, or the end of the actor, cancels it.
    ///
    /// A bounded mailbox that is full then loses it, and counts it as lost.
    pub fn send_after(&self, delay: Duration, message: M) -> Timer {
        let myself = self.myself();
        Timer::after(delay, self.incarnation.clone(), move || {
            // An actor that died meanwhile needs no message.
            let _ = myself.cast(message);
        })
    }

    /// Sends itself the `message` made from the [`Down`] of `target` when that dies, or at once
    /// when it is dead. See [`MonitorRef`] for how to take it back. A bounded mailbox takes it
    /// however full it is.
    pub fn monitor(
        &self,
        target: &Pid,
        message: impl FnOnce(Down) -> M + Send + 'static,
    ) -> MonitorRef {
        let myself = self.myself();
        monitor::set(target, Some(&self.pid()), move |down| {
            myself.report(Box::new(move || down.reference.read().then(|| message(down))));
        })
    }

    /// Sends itself what `message` makes every `period`, for the first time when one has passed;
    /// dropping the timer, or the end of the actor, ends it. A period is at least 1 ms, and beats
    /// that could not be kept are left out.
    pub fn send_every(
        &self,
        period: Duration,
        mut message: impl FnMut() -> M + Send + 'static,
    ) -> Timer {
        let myself = self.myself();
        Timer::every(period, self.incarnation.clone(), move || {
            // An actor that died meanwhile needs no message.
            let _ = myself.cast(message());
        })
    }
}

impl<M> Clone for Context<M> {
    fn clone(&self) -> Self {
        Self { myself: self.myself.clone(), incarnation: self.incarnation.clone() }
    }
}

impl<M> fmt::Debug for Context<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Context").field(&self.myself).finish()
    }
}

/// Brings up an actor made by `make`.
pub(crate) fn launch<A: Actor>(make: impl Fn() -> A + Send + Sync + 'static) -> Launch {
    let make = Arc::new(make);
    Arc::new(move |birth| {
        let make = make.clone();
        Box::pin(async move {
            let host = Host(PhantomData);
            ractor::Actor::spawn(None, host, (make, birth)).await.map(drop).map_err(start_error)
        })
    })
}

/// The reason a start failed for, out of ractor's box.
pub(crate) fn start_error(error: SpawnErr) -> StartError {
    match error {
        SpawnErr::StartupFailed(cause) => match cause.downcast::<StartError>() {
            Ok(error) => *error,
            Err(cause) => StartError::failed(cause),
        },
        other => StartError::failed(other),
    }
}

struct Host<A, F>(PhantomData<fn() -> (A, F)>);

/// The fields are dropped in this order: an exit is made known when the actor itself is no more.
struct State<A: Actor> {
    actor: A,
    context: Context<A::Message>,
    leaving: Option<ExitReason>,
    guard: ExitGuard,
}

impl<A: Actor, F: Fn() -> A + Send + Sync + 'static> ractor::Actor for Host<A, F> {
    type Msg = Delivery<A::Message>;
    type State = State<A>;
    type Arguments = (Arc<F>, Birth);

    async fn pre_start(
        &self,
        myself: ractor::ActorRef<Self::Msg>,
        (make, birth): Self::Arguments,
    ) -> Result<State<A>, ActorProcessingErr> {
        let incarnation = birth.incarnation;
        let mut guard = ExitGuard::new(incarnation.clone());
        incarnation.occupy(myself.get_cell(), Some(wake::<A::Message>));
        let bounded = bounded(&incarnation);
        let myself = ActorRef::new(myself, incarnation.clone(), bounded);
        let context = Context { myself, incarnation };
        let actor = caught(context.incarnation.on_watch("init", async {
            let mut actor = make();
            actor.init(&context).await?;
            Ok::<_, StartError>(actor)
        }))
        .await
        .map_err(StartError::Panicked)??;
        context.incarnation.leave();
        guard.up(Box::new(context.myself()), birth.cause);
        Ok(State { actor, context, leaving: None, guard })
    }

    async fn post_start(
        &self,
        _: ractor::ActorRef<Self::Msg>,
        state: &mut State<A>,
    ) -> Result<(), ActorProcessingErr> {
        state.context.incarnation.run_here();
        Ok(())
    }

    fn handle(
        &self,
        myself: ractor::ActorRef<Self::Msg>,
        delivery: Self::Msg,
        state: &mut State<A>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        let State { actor, context, leaving, .. } = state;
        handling::handle(actor, context, leaving, myself, delivery)
    }

    async fn post_stop(
        &self,
        _: ractor::ActorRef<Self::Msg>,
        state: &mut State<A>,
    ) -> Result<(), ActorProcessingErr> {
        let told = || state.context.incarnation.told().cloned();
        let reason = state.leaving.take().or_else(told).unwrap_or(ExitReason::Normal);
        let incarnation = &state.context.incarnation;
        let farewell =
            incarnation.on_watch("terminate", async { state.actor.terminate(&reason).await });
        let farewell = caught(farewell).await;
        state.guard.record(farewell.map_or_else(ExitReason::Failed, |()| reason));
        Ok(())
    }
}

/// Handles a message of an actor that is observed, or watched by a watchdog.
async fn looked_at<A: Actor>(
    actor: &mut A,
    message: A::Message,
    context: &Context<A::Message>,
    is_observed: bool,
) -> Outcome {
    let incarnation = &context.incarnation;
    let (name, handling) = called(|| (A::describe(&message), actor.handle(message, context)))?;
    let doing = if incarnation.is_watched() { name.clone() } else { Cow::default() };
    let work = caught(incarnation.on_watch(doing, handling));
    if is_observed { observed(incarnation, name, work).await } else { work.await }
}

/// Does what is wanted by those who look inside, and while suspended nothing else but obey.
async fn attend<A: Actor>(
    actor: &mut A,
    context: &Context<A::Message>,
    myself: &ractor::ActorRef<Delivery<A::Message>>,
) {
    let inside = context.incarnation.open();
    loop {
        inside.serve(|| actor.state());
        if !inside.is_suspended() {
            return;
        }
        tokio::select! {
            biased;
            () = context.incarnation.stopping().raised() => {
                // Told here as well: else a message might come before the stop.
                myself.stop(None);
                return;
            }
            () = inside.arrived() => {}
        }
    }
}

/// Puts the token into the mailbox of an actor that makes it look at what is wanted of it.
fn wake<M: Send + 'static>(cell: &ActorCell) -> bool {
    cell.send_message(Delivery::<M>::System).is_ok()
}

/// The bounded mailbox that a specification asks for.
fn bounded<M: Send + 'static>(incarnation: &Incarnation) -> Option<Arc<Bounded<M>>> {
    let inside = incarnation.inside()?;
    let bounded = Arc::new(Bounded::new(inside.mailbox())?);
    inside.show_queue(bounded.clone());
    Some(bounded)
}
