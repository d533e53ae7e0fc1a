//! Polled: the session's end of the long-poll transport.
//!
//! Requests come and go, the session stays. Each request is handed to it with a way back: a poll
//! waits here until there is something to say, a post until its messages have found room.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ws::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::wire::{Goodbye, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, SlowConsumer};

/// The most messages that one request carries, in either direction.
pub(crate) const BATCH_MAX: usize = 100;
/// Above this many waiting messages nothing more is fetched that can wait where it is.
const QUEUE_MESSAGES_EASY: usize = 64;

/// A request of the client, with the way back to it.
pub(crate) enum Asked {
    /// What is there to say?
    Poll(oneshot::Sender<Vec<String>>),
    /// These messages. Answered when they have been taken over.
    Post(Vec<Message>, oneshot::Sender<()>),
}

/// The session's end.
pub(crate) struct Polled {
    asked: mpsc::Receiver<Asked>,
    /// The poll that is held open.
    waiting: Option<oneshot::Sender<Vec<String>>>,
    /// A post that came while messages of the one before it were not yet read.
    held: Option<(Vec<Message>, oneshot::Sender<()>)>,
    incoming: VecDeque<Message>,
    queue: VecDeque<String>,
    queued_bytes: usize,
    /// When the client was last there.
    last_at: Instant,
}

impl Polled {
    /// A session's end, and where its requests are handed in.
    pub(crate) fn new() -> (Self, mpsc::Sender<Asked>) {
        let (hand_in, asked) = mpsc::channel(4);
        let polled = Self {
            asked,
            waiting: None,
            held: None,
            incoming: VecDeque::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            last_at: Instant::now(),
        };
        (polled, hand_in)
    }

    pub(crate) fn send(&mut self, text: String) -> Result<(), SlowConsumer> {
        if self.queue.len() >= QUEUE_MESSAGES_MAX
            || self.queued_bytes + text.len() > QUEUE_BYTES_MAX
        {
            return Err(SlowConsumer);
        }
        self.queued_bytes += text.len();
        self.queue.push_back(text);
        Ok(())
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MESSAGES_EASY && self.queued_bytes < QUEUE_BYTES_MAX / 4
    }

    /// Whether no poll is there, nor was for that long.
    pub(crate) fn is_gone(&self, for_max: Duration) -> bool {
        self.waiting.is_none() && self.last_at.elapsed() > for_max
    }

    /// Answers the poll that waits as soon as there is something to say, and gives the next message
    /// when `reads`; `None` when nobody can hand in anything any more.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self, reads: bool) -> Option<Result<Message, Goodbye>> {
        poll_fn(|cx| {
            loop {
                self.answer(cx);
                if reads && let Some(message) = self.take() {
                    return Poll::Ready(Some(Ok(message)));
                }
                match self.asked.poll_recv(cx) {
                    Poll::Ready(Some(asked)) => self.ask(asked),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn ask(&mut self, asked: Asked) {
        self.last_at = Instant::now();
        match asked {
            // An earlier poll is answered that there was nothing, as its client is not there.
            Asked::Poll(back) => self.waiting = Some(back),
            Asked::Post(messages, back) if self.incoming.is_empty() => {
                self.incoming.extend(messages);
                // Whoever does not wait for it any more has sent it all the same.
                let _ = back.send(());
            }
            // A second one that is held is dropped, and its client told to try again.
            Asked::Post(messages, back) => self.held = Some((messages, back)),
        }
    }

    fn take(&mut self) -> Option<Message> {
        if self.incoming.is_empty()
            && let Some((messages, back)) = self.held.take()
        {
            self.ask(Asked::Post(messages, back));
        }
        self.incoming.pop_front()
    }

    fn answer(&mut self, cx: &mut Context<'_>) {
        let Some(mut back) = self.waiting.take() else { return };
        if back.poll_closed(cx).is_ready() {
            // Its time was over, or the client went.
            self.last_at = Instant::now();
            return;
        }
        if self.queue.is_empty() {
            self.waiting = Some(back);
            return;
        }
        let count = self.queue.len().min(BATCH_MAX);
        let batch: Vec<String> = self.queue.drain(..count).collect();
        self.queued_bytes -= batch.iter().map(String::len).sum::<usize>();
        self.last_at = Instant::now();
        if let Err(batch) = back.send(batch) {
            self.queued_bytes += batch.iter().map(String::len).sum::<usize>();
            batch.into_iter().rev().for_each(|text| self.queue.push_front(text));
        }
    }

    /// Says what there is to say to the poll that waits, if one does.
    pub(crate) fn close(mut self) {
        if let Some(back) = self.waiting.take()
            && !self.queue.is_empty()
        {
            // Whoever is not there any more joins again elsewhere.
            let _ = back.send(self.queue.drain(..).collect());
        }
    }
}
