//! Transports: the two ways on which a session and its client reach each other, a WebSocket and
//! polling. What a session says and hears is the same on both.

use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes};

use crate::frame::Outgoing;
use crate::polled::Polled;
use crate::sockets::Patience;
use crate::wire::{Goodbye, SlowConsumer, Wire};

/// The way to one client.
#[expect(
    clippy::large_enum_variant,
    reason = "each stands once in the task of its connection, and most are the large one"
)]
pub(crate) enum Transport {
    WebSocket(Wire),
    LongPoll(Polled),
}

impl Transport {
    /// Puts a message into the queue. Bytes are sent only where they can be taken.
    pub(crate) fn send(&mut self, outgoing: &Outgoing) -> Result<(), SlowConsumer> {
        match self {
            Self::WebSocket(wire) => wire.send(outgoing.message()),
            Self::LongPoll(polled) => polled.send(outgoing.text()),
        }
    }

    /// Puts the text of a frame into the queue that others are sent too.
    pub(crate) fn send_shared(&mut self, text: Utf8Bytes) -> Result<(), SlowConsumer> {
        match self {
            Self::WebSocket(wire) => wire.send(Message::Text(text)),
            Self::LongPoll(polled) => polled.send(text.to_string()),
        }
    }

    /// Whether there is room for things that could as well wait where they are.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::WebSocket(wire) => wire.has_room(),
            Self::LongPoll(polled) => polled.has_room(),
        }
    }

    /// Whether the client has read nothing for that long although something waits for it. One that
    /// polls has not, until it polls no more.
    pub(crate) fn is_stuck(&self, for_max: Duration) -> bool {
        match self {
            Self::WebSocket(wire) => wire.is_stuck(for_max),
            Self::LongPoll(_) => false,
        }
    }

    /// Whether the client is given up, which was silent for that long.
    pub(crate) fn is_gone(&self, silent: Duration, patience: Patience) -> bool {
        match self {
            Self::WebSocket(_) => silent > patience.silent,
            Self::LongPoll(polled) => polled.is_gone(patience.unpolled),
        }
    }

    /// Writes what is queued, and reads the next message when `reads`. `None` when the connection
    /// is over, and a goodbye when what the client sent cannot be read.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self, reads: bool) -> Option<Result<Message, Goodbye>> {
        match self {
            Self::WebSocket(wire) => wire.next(reads).await,
            Self::LongPoll(polled) => polled.next(reads).await,
        }
    }

    /// Closes, with a word where there is one: a client that polls finds its session gone.
    pub(crate) async fn close(self, goodbye: Goodbye) {
        match self {
            Self::WebSocket(wire) => wire.close(goodbye).await,
            Self::LongPoll(polled) => polled.close(),
        }
    }
}
