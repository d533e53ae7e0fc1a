//! The stream: made if it is missing, and added to in the one order there is.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use bus::BusEvent;
use futures_util::future::try_join_all;
use kernel::Position;
use std::sync::Arc;

use crate::NatsError;
use crate::wire::{STREAM, SUBJECTS, message_of, position_of, subject_of};

/// How long the stream keeps an event, unless its owner changes that.
const AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// How much the stream holds, unless its owner changes that.
const BYTES_MAX: i64 = 1024 * 1024 * 1024;

/// How long the server remembers the ids of events, to refuse one that comes twice.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// Where the stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It never had a message.
    New,
    /// Its messages have all been taken away by its limits.
    Emptied,
    /// With this event.
    At(Position),
}

/// The stream, for whoever adds to it.
#[derive(Debug)]
pub(crate) struct Outlet {
    context: Context,
    /// The last message on it.
    sequence: u64,
    pub(crate) end: End,
}

impl Outlet {
    /// Finds the stream, or makes it, and looks where it ends.
    pub(crate) async fn open(context: &Context) -> Result<Self, NatsError> {
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECTS.to_owned()],
            description: Some("sealed events of a Finnest platform, in order".to_owned()),
            storage: StorageType::File,
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_age: AGE_MAX,
            max_bytes: BYTES_MAX,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: 1,
            ..Config::default()
        };
        let stream = context.get_or_create_stream(config).await.map_err(NatsError::unavailable)?;
        let state = stream.get_info().await.map_err(NatsError::unavailable)?.state;
        let sequence = state.last_sequence;
        let end = match (sequence, state.messages) {
            (0, _) => End::New,
            (_, 0) => End::Emptied,
            _ => {
                let last =
                    stream.get_raw_message(sequence).await.map_err(NatsError::unavailable)?;
                let position = position_of(&last.headers).ok_or_else(|| NatsError::Foreign {
                    sequence,
                    why: "it has no position".to_owned(),
                })?;
                End::At(position)
            }
        };
        Ok(Self { context: context.clone(), sequence, end })
    }

    /// Adds events and waits until the server has all of them.
    ///
    /// Each is accepted only right behind the one before it. So a message that gets lost keeps
    /// those after it out, and of two relays at once only one gets ahead.
    pub(crate) async fn publish(&mut self, events: &[Arc<BusEvent>]) -> Result<(), NatsError> {
        let mut acknowledgements = Vec::with_capacity(events.len());
        for (last, event) in (self.sequence..).zip(events) {
            let sent = self.context.send_publish(subject_of(event), message_of(event, last)).await;
            acknowledgements.push(sent.map_err(NatsError::unavailable)?.into_future());
        }
        let stored = try_join_all(acknowledgements).await.map_err(NatsError::unavailable)?;
        self.sequence = stored.last().map_or(self.sequence, |last| last.sequence);
        Ok(())
    }
}
