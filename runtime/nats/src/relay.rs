//! The relay: passes every sealed event on to the stream, in order.
//!
//! Where it goes on is what the stream says: behind its last event. A server that was killed before
//! it had written what it acknowledged gets that again, and an event that it has is not sent twice.
//! The place it keeps is for whoever watches, and for a stream whose limits have emptied it.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusEvent, DurableSubscription, Places, TopicFilter};
use kernel::{Position, Timestamp};
use otp::{ChildSpec, ExitReason, Process, RunContext};

use crate::stream::{End, Outlet};
use crate::{JetStream, NatsError};

/// The name its place is kept under.
const NAME: &str = "nats";

/// Events on their way to the server at once.
const IN_FLIGHT_MAX: usize = 256;

/// How often a relay looks whether its turn has come or gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The first and the longest wait after the server did not do as it was asked.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is told of a relay's progress.
pub type OnRelayed = Arc<dyn Fn(Position, Option<Timestamp>) + Send + Sync>;

/// What the relay needs.
#[derive(Clone)]
pub struct Relay {
    /// The address of the server.
    pub url: Arc<str>,
    /// The events to pass on.
    pub bus: Bus,
    /// Where its place is kept.
    pub places: Arc<dyn Places>,
    /// Whether it is this node's turn: one node relays for all.
    pub is_turn: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Told how far it has got, and when the last event it has passed on was recorded. Must not
    /// block.
    pub on_relayed: OnRelayed,
}

impl Relay {
    /// The relay as a child.
    #[must_use]
    pub fn child(self) -> ChildSpec {
        ChildSpec::process("relay", move || Relaying { relay: self.clone() })
    }
}

struct Relaying {
    relay: Relay,
}

impl Process for Relaying {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut wait = WAITS.0;
        while !context.is_stopping() {
            let pause = match self.serve(context, &mut wait).await {
                Ok(()) => LOOK_INTERVAL,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        wait_ms = wait.as_millis(),
                        "events wait to be passed on to NATS"
                    );
                    let longer = (wait * 2).min(WAITS.1);
                    std::mem::replace(&mut wait, longer)
                }
            };
            tokio::select! {
                () = context.stopping() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }
}

impl Relaying {
    /// Passes events on for as long as it is this node's turn.
    async fn serve(&self, context: &RunContext, wait: &mut Duration) -> Result<(), NatsError> {
        let Relay { url, bus, places, is_turn, on_relayed } = &self.relay;
        if !is_turn() {
            return Ok(());
        }
        let nats = JetStream::connect(url).await?;
        let mut outlet = Outlet::open(&nats.context).await?;
        let after = match outlet.end {
            End::At(position) => position,
            End::New => Position::ORIGIN,
            End::Emptied => {
                let kept = places.find(NAME).await.map_err(NatsError::Source)?;
                kept.unwrap_or(Position::ORIGIN)
            }
        };
        tracing::info!(after = after.0, "passing events on to NATS");
        on_relayed(after, None);
        let mut events = bus.subscribe_durably(TopicFilter::All, after);
        while !context.is_stopping() && is_turn() {
            let batch = tokio::select! {
                batch = next_batch(&mut events) => batch?,
                () = context.stopping() => break,
                () = tokio::time::sleep(LOOK_INTERVAL) => continue,
            };
            outlet.publish(&batch).await?;
            *wait = WAITS.0;
            if let Some(last) = batch.last() {
                places.keep(NAME, last.position).await.map_err(NatsError::Source)?;
                on_relayed(last.position, Some(last.recorded_at));
            }
        }
        Ok(())
    }
}

async fn next_batch(events: &mut DurableSubscription) -> Result<Vec<Arc<BusEvent>>, NatsError> {
    events.recv_batch(IN_FLIGHT_MAX).await.map_err(|error| NatsError::Source(error.into()))
}
