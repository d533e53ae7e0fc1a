//! The wire: one WebSocket, read and written by the same task, with a bounded queue before it.
//!
//! A task that waits until a slow client has read would meanwhile do nothing else, neither answer
//! its other channels nor finish the transactions it began. So writing goes on beside reading, and
//! what cannot be written waits in a queue. The queue is bounded: a client that does not read is
//! cut off, and nobody else pays for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{Sink as _, Stream as _};
use tokio::time::Instant;

/// The most messages that wait for the client to read.
pub(crate) const QUEUE_MESSAGES_MAX: usize = 256;
/// The most bytes that wait for the client to read.
pub(crate) const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Above this many waiting messages nothing more is fetched that can wait where it is.
const QUEUE_MESSAGES_EASY: usize = 64;
/// How long the other side has to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The client does not read as fast as it is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client does not read what it is sent")]
pub(crate) struct SlowConsumer;

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// The client has said nothing for too long, not even a heartbeat.
    Idle,
    /// What it sent is no frame.
    BadFrame,
    /// What it sent as text is not UTF-8.
    BadText,
    /// What it sent is larger than a message may be.
    TooLarge,
    /// It does not read; it may come back and resume.
    SlowConsumer,
    /// An operator ended the connection; the client may come back.
    Disconnected,
    /// What the client connected with has ended.
    Ended,
    /// The server stops; another one, or the same, will be there.
    Restart,
}

impl Goodbye {
    /// Code and words of the close frame. Never 1000: older clients do not come back after that.
    const fn frame(self) -> (u16, &'static str) {
        match self {
            Self::Idle => (1001, "idle"),
            Self::BadFrame => (1007, "a frame is [join_ref, ref, topic, event, payload]"),
            Self::BadText => (1007, "text is UTF-8"),
            Self::TooLarge => (1009, "a message has at most 1 MiB"),
            Self::Disconnected => (1001, "disconnected by an operator"),
            Self::Ended => (4001, "the credential has ended"),
            Self::SlowConsumer => (4008, "slow consumer"),
            Self::Restart => (1012, "the server restarts"),
        }
    }
}

/// Why `error`, which reading ended with, is to be told to the client; `None` when the connection
/// is broken. The types behind it are of a crate that axum does not show, so their words must do.
fn unreadable(error: &axum::Error) -> Option<Goodbye> {
    let said = error.to_string();
    if said.starts_with("Space limit exceeded") {
        Some(Goodbye::TooLarge)
    } else if said.starts_with("UTF-8 encoding error") {
        Some(Goodbye::BadText)
    } else {
        None
    }
}

/// One connection and what waits to be written to it.
pub(crate) struct Wire {
    socket: WebSocket,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    stuck_since: Option<Instant>,
}

impl Wire {
    pub(crate) fn new(socket: WebSocket) -> Self {
        Self { socket, queue: VecDeque::new(), queued_bytes: 0, stuck_since: None }
    }

    /// Puts a message into the queue.
    pub(crate) fn send(&mut self, message: Message) -> Result<(), SlowConsumer> {
        let bytes = length(&message);
        if self.queue.len() >= QUEUE_MESSAGES_MAX || self.queued_bytes + bytes > QUEUE_BYTES_MAX {
            return Err(SlowConsumer);
        }
        self.queued_bytes += bytes;
        self.queue.push_back(message);
        Ok(())
    }

    /// Whether there is room for things that could as well wait where they are.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MESSAGES_EASY && self.queued_bytes < QUEUE_BYTES_MAX / 4
    }

    /// Whether the client has read nothing for that long although something waits for it.
    pub(crate) fn is_stuck(&self, for_max: Duration) -> bool {
        self.stuck_since.is_some_and(|since| since.elapsed() > for_max)
    }

    /// Writes what is queued, and reads the next message when `reads`. `None` when the connection
    /// is over, and a goodbye when what the client sent cannot be read.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self, reads: bool) -> Option<Result<Message, Goodbye>> {
        poll_fn(|cx| {
            if self.poll_write(cx).is_err() {
                return Poll::Ready(None);
            }
            if !reads {
                return Poll::Pending;
            }
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => Poll::Ready(Some(Ok(message))),
                Poll::Ready(Some(Err(error))) => Poll::Ready(unreadable(&error).map(Err)),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), axum::Error> {
        let mut has_moved = false;
        let mut is_blocked = false;
        while !self.queue.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    is_blocked = true;
                    break;
                }
            }
            let Some(message) = self.queue.pop_front() else {
                break;
            };
            self.queued_bytes -= length(&message);
            Pin::new(&mut self.socket).start_send(message)?;
            has_moved = true;
        }
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(flushed) => flushed?,
            Poll::Pending => is_blocked = true,
        }
        if !is_blocked {
            self.stuck_since = None;
        } else if has_moved || self.stuck_since.is_none() {
            self.stuck_since = Some(Instant::now());
        }
        Ok(())
    }

    /// Closes with a word, and waits a little for the other side to agree.
    pub(crate) async fn close(mut self, goodbye: Goodbye) {
        let (code, reason) = goodbye.frame();
        if goodbye == Goodbye::SlowConsumer {
            // Whoever does not read would have to read all this before the close.
            self.queue.clear();
        }
        self.queue.push_back(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
        let agreed = async {
            while self.next(true).await.is_some() {}
            // After what could not be read nothing more is, and the word may still be unwritten.
            poll_fn(|cx| Pin::new(&mut self.socket).poll_flush(cx)).await
        };
        let _ = tokio::time::timeout(CLOSE_WITHIN, agreed).await;
    }
}

fn length(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}
