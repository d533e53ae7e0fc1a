//! A follower: one named subscription to the stream, by a durable pull consumer.
//!
//! A consumer that redelivers does so in the midst of what is new, and one whose client was cut off
//! goes on behind what that client never got. So a consumer serves one unbroken delivery: whoever
//! subscribes, and whoever notices a break, makes the next one, which begins right behind what was
//! acknowledged, and then takes the one before away. Its name ends in `-a` and `-b` by turns; as
//! long as there are two, the one that is further counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info, PullConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{Context, Message};
use bus::BusEvent;
use bus::backend::{BackendError, Start, Subscriber, SubscriptionSpec};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use kernel::Position;

use crate::NatsError;
use crate::wire::{STREAM, event_of, position_of, subjects_of};

/// Events that may be handed out and not acknowledged; a follower that has so many gets no more.
const IN_FLIGHT_MAX: i64 = 10_000;

/// Events asked for at once.
const PULLED_MAX: usize = 256;

/// After so long without an acknowledgement the server delivers again, which is taken for a break.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_mins(1);

/// How long the server waits with a request until there is an event.
const ASKED_FOR: Duration = Duration::from_secs(30);

/// How often the server says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Follower {
    context: Context,
    spec: SubscriptionSpec,
    delivery: Option<Delivery>,
    /// The last event handed out.
    position: Position,
    /// Events that came while an acknowledgement was looked for.
    early: VecDeque<Arc<BusEvent>>,
}

/// What one consumer delivers.
struct Delivery {
    messages: pull::Stream,
    /// The number of its last message.
    number: u64,
    /// The last event it has delivered.
    seen: Position,
    unacknowledged: VecDeque<(Position, Acker)>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Delivery").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Follower {
    pub(crate) async fn open(
        context: Context,
        spec: SubscriptionSpec,
    ) -> Result<Self, BackendError> {
        let mut follower = Self {
            context,
            spec,
            delivery: None,
            position: Position::ORIGIN,
            early: VecDeque::new(),
        };
        follower.delivery().await?;
        Ok(follower)
    }

    /// The unbroken delivery; another one if there is none.
    async fn delivery(&mut self) -> Result<&mut Delivery, BackendError> {
        if self.delivery.is_none() {
            let consumer = self.renew().await?;
            let messages = consumer
                .stream()
                .max_messages_per_batch(PULLED_MAX)
                .expires(ASKED_FOR)
                .heartbeat(HEARTBEAT)
                .messages()
                .await
                .map_err(unavailable)?;
            let unacknowledged = VecDeque::new();
            let seen = Position::ORIGIN;
            self.delivery = Some(Delivery { messages, number: 0, seen, unacknowledged });
        }
        Ok(self.delivery.as_mut().expect("it was made above"))
    }

    /// Makes a consumer that begins right behind what was acknowledged, and removes the one before.
    async fn renew(&self) -> Result<PullConsumer, BackendError> {
        let stream = self.context.get_stream(STREAM).await.map_err(unavailable)?;
        let names = ["a", "b"].map(|turn| format!("{}-{turn}", self.spec.name));
        let mut there = Vec::new();
        for name in &names {
            if let Some(info) = find(&stream, name).await? {
                there.push((name, floor(&info)));
            }
        }
        // There are two if a renewal was interrupted, and neither forgets what was acknowledged.
        let latest = there.iter().max_by_key(|(_, floor)| *floor).copied();
        let (name, sequence) = match latest {
            None => (&names[0], first_sequence(&stream, self.spec.start).await?),
            Some((taken, floor)) if *taken == names[0] => (&names[1], floor + 1),
            Some((_, floor)) => (&names[0], floor + 1),
        };
        if there.iter().any(|(other, _)| *other == name) {
            stream.delete_consumer(name).await.map_err(unavailable)?;
        }
        let config = pull::Config {
            durable_name: Some(name.clone()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) },
            ack_policy: AckPolicy::All,
            ack_wait: ACKNOWLEDGED_WITHIN,
            max_ack_pending: IN_FLIGHT_MAX,
            filter_subject: subjects_of(&self.spec.filter),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(unavailable)?;
        for (other, _) in there.iter().filter(|(other, _)| *other != name) {
            stream.delete_consumer(other).await.map_err(unavailable)?;
        }
        Ok(consumer)
    }

    /// Waits for the next message; answers its event if that was not handed out before.
    async fn pull(&mut self) -> Result<Option<Arc<BusEvent>>, BackendError> {
        let position = self.position;
        let delivery = self.delivery().await?;
        let message = match delivery.messages.next().await {
            Some(Ok(message)) => delivery.receive(message),
            Some(Err(error)) => Err(unavailable(error)),
            None => Err(unavailable("the server has ended the delivery")),
        };
        let received = message.inspect_err(|_| self.delivery = None)?;
        Ok(Some(received).filter(|event| event.position > position))
    }

    fn hand_out(&mut self, event: Arc<BusEvent>) -> Arc<BusEvent> {
        self.position = event.position;
        event
    }
}

impl Delivery {
    fn receive(&mut self, message: Message) -> Result<Arc<BusEvent>, BackendError> {
        let info = message.info().map_err(unavailable)?;
        let (number, sequence, times) =
            (info.consumer_sequence, info.stream_sequence, info.delivered);
        if times != 1 || number != self.number + 1 {
            return Err(unavailable("the delivery has a gap"));
        }
        self.number = number;
        let event = event_of(&message.payload)
            .map_err(|why| unavailable(NatsError::Foreign { sequence, why }))?;
        self.seen = event.position;
        let (_, acker) = message.split();
        self.unacknowledged.push_back((event.position, acker));
        Ok(event)
    }
}

impl Subscriber for Follower {
    fn next_batch(
        &mut self,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<BusEvent>>, BackendError>> {
        async move {
            let mut batch = Vec::new();
            while batch.len() < max {
                if let Some(event) = self.early.pop_front() {
                    batch.push(self.hand_out(event));
                } else if batch.is_empty() {
                    if let Some(event) = self.pull().await? {
                        batch.push(self.hand_out(event));
                    }
                } else {
                    match self.pull().now_or_never() {
                        Some(Ok(Some(event))) => batch.push(self.hand_out(event)),
                        Some(Ok(None)) => {}
                        Some(Err(_)) | None => break,
                    }
                }
            }
            Ok(batch)
        }
        .boxed()
    }

    fn acknowledge(&mut self, position: Position) -> BoxFuture<'_, Result<(), BackendError>> {
        async move {
            // After a break, what was handed out comes again and can be acknowledged only then.
            let handed_out = position.min(self.position);
            while self.delivery().await?.seen < handed_out {
                if let Some(event) = self.pull().await? {
                    self.early.push_back(event);
                }
            }
            let delivery = self.delivery().await?;
            let done = delivery.unacknowledged.partition_point(|(other, _)| *other <= position);
            if let Some((_, acker)) = delivery.unacknowledged.get(done.wrapping_sub(1)) {
                acker.double_ack().await.map_err(unavailable)?;
                delivery.unacknowledged.drain(..done);
            }
            Ok(())
        }
        .boxed()
    }
}

/// Where the consumer of this name stands, if there is one.
async fn find(stream: &Stream, name: &str) -> Result<Option<Info>, BackendError> {
    match stream.consumer_info(name).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

/// The last message that need not be delivered again.
fn floor(info: &Info) -> u64 {
    let begun = match info.config.deliver_policy {
        DeliverPolicy::ByStartSequence { start_sequence } => start_sequence.saturating_sub(1),
        _ => 0,
    };
    info.ack_floor.stream_sequence.max(begun)
}

/// The message with which a subscription begins that has no place yet.
async fn first_sequence(stream: &Stream, start: Start) -> Result<u64, BackendError> {
    let state = stream.get_info().await.map_err(unavailable)?.state;
    let (mut low, mut high) = (state.first_sequence, state.last_sequence + 1);
    let after = match start {
        Start::Origin => return Ok(low),
        Start::Now => return Ok(high),
        Start::After(after) => after,
    };
    if state.messages > 0 {
        let first = position_at(stream, low).await?;
        if first.0 > after.0 + 1 {
            return Err(BackendError::Gone { after, first });
        }
    }
    // The first message behind the wanted position; positions rise along the stream.
    while low < high {
        let middle = low.midpoint(high);
        if position_at(stream, middle).await? > after {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

async fn position_at(stream: &Stream, sequence: u64) -> Result<Position, BackendError> {
    let message = stream.get_raw_message(sequence).await.map_err(unavailable)?;
    position_of(&message.headers).ok_or_else(|| {
        unavailable(NatsError::Foreign { sequence, why: "it has no position".to_owned() })
    })
}

fn unavailable(error: impl Into<async_nats::Error>) -> BackendError {
    BackendError::Unavailable(error.into())
}
