//! The handling of one message, as a future of its own.
//!
//! Every idle actor has room for the future that handles a message, several times over in
//! ractor's loop. So this is no `async fn`: it keeps the future of the actor, what is needed after
//! it, and nothing twice; whatever is rare lies in a box.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, ready};

use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use ractor::ActorProcessingErr;

use super::{Actor, Context, attend, looked_at};
use crate::exit::{ExitReason, called};
use crate::incarnation::Incarnation;
use crate::inside::Inside;
use crate::mailbox::Delivery;

/// How the handling of a message ended; the error is the message of a panic.
pub(super) type Outcome = Result<Result<(), ExitReason>, String>;

pin_project! {
    /// What is being done about one delivery.
    #[project = StepProjected]
    enum Step<'a, W> {
        /// The actor handles a message.
        Work { #[pin] work: W },
        /// The same under the eyes of somebody; or those who look inside are served, which is no
        /// message and has no outcome.
        Rare { rare: BoxFuture<'a, Option<Outcome>> },
        /// It is done already.
        Done { outcome: Option<Outcome> },
    }
}

pin_project! {
    /// The handling of one delivery; the actor is stopped when that goes wrong.
    pub(super) struct Handling<'a, M, W> {
        #[pin]
        step: Step<'a, W>,
        incarnation: &'a Incarnation,
        leaving: &'a mut Option<ExitReason>,
        myself: ractor::ActorRef<Delivery<M>>,
    }
}

/// Begins to handle a delivery to `actor`.
pub(super) fn handle<'a, A: Actor>(
    actor: &'a mut A,
    context: &'a Context<A::Message>,
    leaving: &'a mut Option<ExitReason>,
    myself: ractor::ActorRef<Delivery<A::Message>>,
    delivery: Delivery<A::Message>,
) -> Handling<'a, A::Message, impl Future<Output = Result<(), ExitReason>> + Send + use<'a, A>> {
    let incarnation = &*context.incarnation;
    let step = match message_of(delivery, context) {
        Read::Message(message) => begin(actor, message, context),
        Read::Nothing(outcome) => Step::Done { outcome },
        Read::System => {
            let myself = myself.clone();
            let rare = async move {
                attend(actor, context, &myself).await;
                None
            };
            Step::Rare { rare: Box::pin(rare) }
        }
    };
    Handling { step, incarnation, leaving, myself }
}

/// What a delivery turns out to be.
enum Read<M> {
    Message(M),
    Nothing(Option<Outcome>),
    System,
}

fn message_of<M: Send + 'static>(delivery: Delivery<M>, context: &Context<M>) -> Read<M> {
    match delivery {
        Delivery::Message(message) => Read::Message(message),
        Delivery::Queued => context.myself.take().map_or(Read::Nothing(None), Read::Message),
        Delivery::Down(down) => match called(down) {
            Ok(Some(message)) => Read::Message(message),
            Ok(None) => Read::Nothing(Some(Ok(Ok(())))),
            Err(panic) => Read::Nothing(Some(Err(panic))),
        },
        Delivery::System => Read::System,
    }
}

fn begin<'a, A: Actor>(
    actor: &'a mut A,
    message: A::Message,
    context: &'a Context<A::Message>,
) -> Step<'a, impl Future<Output = Result<(), ExitReason>> + Send + use<'a, A>> {
    let incarnation = &context.incarnation;
    let is_observed = incarnation.inside().is_some_and(Inside::go_on);
    if is_observed || incarnation.is_watched() {
        let rare = async move { Some(looked_at(actor, message, context, is_observed).await) };
        return Step::Rare { rare: Box::pin(rare) };
    }
    match called(|| actor.handle(message, context)) {
        Ok(work) => Step::Work { work },
        Err(panic) => Step::Done { outcome: Some(Err(panic)) },
    }
}

impl<M, W> Future for Handling<'_, M, W>
where
    M: Send + 'static,
    W: Future<Output = Result<(), ExitReason>>,
{
    type Output = Result<(), ActorProcessingErr>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = match this.step.project() {
            StepProjected::Work { work } => match called(|| work.poll(context)) {
                Ok(polled) => Some(Ok(ready!(polled))),
                Err(panic) => Some(Err(panic)),
            },
            StepProjected::Rare { rare } => ready!(rare.as_mut().poll(context)),
            StepProjected::Done { outcome } => outcome.take(),
        };
        let Some(outcome) = outcome else { return Poll::Ready(Ok(())) };
        this.incarnation.backlog().fetch_sub(1, Ordering::Relaxed);
        let reason = match outcome {
            Ok(Ok(())) => return Poll::Ready(Ok(())),
            Ok(Err(reason)) => reason,
            Err(panic) => ExitReason::Failed(panic),
        };
        **this.leaving = Some(reason);
        this.myself.stop(None);
        Poll::Ready(Ok(()))
    }
}
