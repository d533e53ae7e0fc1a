//! Mailboxes: what waits for an actor, and what happens when too much does.
//!
//! A mailbox is unbounded unless its specification says otherwise, as in OTP: then a cast never
//! waits and never fails while the actor lives, and the memory is the only limit. A bounded one
//! keeps its messages here instead of in the queue of the actor, which holds only a token for each;
//! so the oldest can be taken out again, and a million casts at a sleeping actor cost no more
//! memory than the capacity.
//!
//! **Invariant:** a bounded mailbox never holds more messages than tokens were sent for it.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::exit::called;

/// What comes out of the queue of an actor.
pub(crate) enum Delivery<M> {
    /// A message to an unbounded mailbox.
    Message(M),
    /// One more message is in the bounded mailbox.
    Queued,
    /// What a monitor reports, which never counts as one too many.
    Down(Late<M>),
    /// Somebody who looks inside the actor wants something of it.
    System,
}

/// A message that is made when it is read, unless it has been taken back by then.
pub(crate) type Late<M> = Box<dyn FnOnce() -> Option<M> + Send>;

/// What a full mailbox does with one more message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// It refuses the message, and the sender is told.
    #[default]
    Refuse,
    /// It drops the message. The sender is told only if it waits for an answer.
    DropNewest,
    /// It drops the message that has waited longest and takes the new one.
    DropOldest,
}

/// How many messages may wait for an actor, and what happens to one too many.
///
/// # Examples
///
/// ```
/// use std::num::NonZeroUsize;
/// use otp::{Actor, ChildSpec, Context, ExitReason, Mailbox, Overflow};
///
/// struct Gauge;
///
/// impl Actor for Gauge {
///     type Message = f64;
///
///     async fn handle(&mut self, _: f64, _: &Context<f64>) -> Result<(), ExitReason> {
///         Ok(())
///     }
/// }
///
/// // Old readings are worth less than new ones.
/// let room = NonZeroUsize::new(64).expect("not zero");
/// let mailbox = Mailbox::bounded(room).overflow(Overflow::DropOldest);
/// let gauge = ChildSpec::worker("gauge", || Gauge).mailbox(mailbox);
/// # assert_eq!(gauge.id(), "gauge");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    capacity: Option<NonZeroUsize>,
    overflow: Overflow,
}

impl Mailbox {
    /// As many as there is memory for.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self { capacity: None, overflow: Overflow::Refuse }
    }

    /// At most `capacity`, beside the one that is being handled; one more is refused, unless
    /// [`Mailbox::overflow`] says otherwise. Stops and requests of `sys` are never refused.
    #[must_use]
    pub const fn bounded(capacity: NonZeroUsize) -> Self {
        Self { capacity: Some(capacity), overflow: Overflow::Refuse }
    }

    /// What happens to one too many; without a meaning for an unbounded mailbox.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// What a mailbox looks like at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxReport {
    /// How many messages wait, including the one being handled.
    pub length: u64,
    /// How many may wait beside the one being handled; `None` without a limit.
    pub capacity: Option<usize>,
    /// How long the oldest has waited; known of bounded mailboxes, when something waits.
    pub oldest: Option<Duration>,
    /// How many messages were refused or dropped since the actor came up.
    pub lost: u64,
}

/// The messages that wait in a bounded mailbox.
pub(crate) struct Bounded<M> {
    capacity: usize,
    overflow: Overflow,
    held: Mutex<Held<M>>,
}

struct Held<M> {
    waiting: VecDeque<Letter<M>>,
    lost: u64,
    is_closed: bool,
}

struct Letter<M> {
    since: Instant,
    message: M,
    loss: Option<Loss>,
}

/// Raised when a message was dropped by its mailbox, for the caller who waits for the answer.
pub(crate) type Loss = Arc<AtomicBool>;

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It waits, and needs a token.
    Waits,
    /// It waits in the place of an older one, and on its token.
    Replaces,
    Refused,
    Dropped,
    /// The actor is no more.
    Closed,
}

impl<M> Bounded<M> {
    pub(crate) fn new(mailbox: Mailbox) -> Option<Self> {
        let held = Held { waiting: VecDeque::new(), lost: 0, is_closed: false };
        Some(Self {
            capacity: mailbox.capacity?.get(),
            overflow: mailbox.overflow,
            held: Mutex::new(held),
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn push(&self, message: M, loss: Option<Loss>) -> Outcome {
        let letter = Letter { since: Instant::now(), message, loss };
        let mut held = self.held();
        if held.is_closed {
            return Outcome::Closed;
        }
        if held.waiting.len() < self.capacity {
            held.waiting.push_back(letter);
            return Outcome::Waits;
        }
        held.lost += 1;
        match self.overflow {
            Overflow::Refuse => Outcome::Refused,
            Overflow::DropNewest => Outcome::Dropped,
            Overflow::DropOldest => {
                let oldest = held.waiting.pop_front();
                held.waiting.push_back(letter);
                // Dropped after the lock: a message may send one from its own drop.
                drop(held);
                if let Some(loss) = oldest.as_ref().and_then(|oldest| oldest.loss.as_ref()) {
                    loss.store(true, Ordering::Release);
                }
                Outcome::Replaces
            }
        }
    }

    /// The message that has waited longest.
    pub(crate) fn pop(&self) -> Option<M> {
        self.held().waiting.pop_front().map(|letter| letter.message)
    }

    fn held(&self) -> MutexGuard<'_, Held<M>> {
        // A panic while it was held cannot have left it half-written: nothing foreign runs there.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bounded mailbox, whatever its messages are.
pub(crate) trait Queue: Send + Sync + RefUnwindSafe {
    /// Fills in what only the queue knows.
    fn describe(&self, report: &mut MailboxReport);

    /// Drops what waits and takes nothing more.
    fn close(&self);
}

impl<M: Send> Queue for Bounded<M> {
    fn describe(&self, report: &mut MailboxReport) {
        let held = self.held();
        report.capacity = Some(self.capacity);
        report.oldest = held.waiting.front().map(|letter| letter.since.elapsed());
        report.lost = held.lost;
    }

    fn close(&self) {
        let mut held = self.held();
        held.is_closed = true;
        let left = std::mem::take(&mut held.waiting);
        drop(held);
        for letter in left {
            // A message is a user's, and its panic must not keep the end from the others.
            if let Err(panic) = called(|| drop(letter)) {
                tracing::error!(panic, "a message that was not handled panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(capacity: usize, overflow: Overflow) -> Bounded<u32> {
        let capacity = NonZeroUsize::new(capacity).unwrap();
        Bounded::new(Mailbox::bounded(capacity).overflow(overflow)).unwrap()
    }

    fn drain(mailbox: &Bounded<u32>) -> Vec<u32> {
        std::iter::from_fn(|| mailbox.pop()).collect()
    }

    fn check(overflow: Overflow, outcome: &Outcome, left: &[u32]) {
        let mailbox = bounded(2, overflow);

        let outcomes = [1, 2, 3].map(|message| mailbox.push(message, None));

        let mut report = MailboxReport::default();
        mailbox.describe(&mut report);
        assert_eq!(outcomes[..2], [Outcome::Waits, Outcome::Waits]);
        assert_eq!(outcomes[2], *outcome);
        assert_eq!((report.capacity, report.lost), (Some(2), 1));
        assert_eq!(drain(&mailbox), left);
    }

    #[test]
    fn each_overflow_loses_another_message() {
        check(Overflow::Refuse, &Outcome::Refused, &[1, 2]);
        check(Overflow::DropNewest, &Outcome::Dropped, &[1, 2]);
        check(Overflow::DropOldest, &Outcome::Replaces, &[2, 3]);
    }

    #[test]
    fn a_million_messages_take_the_room_of_the_capacity() {
        let mailbox = bounded(8, Overflow::DropOldest);

        for message in 0..1_000_000 {
            mailbox.push(message, None);
        }

        assert!(mailbox.held().waiting.capacity() <= 16);
        assert_eq!(drain(&mailbox), (999_992..1_000_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_closed_mailbox_is_empty_and_takes_nothing() {
        let mailbox = bounded(2, Overflow::Refuse);
        mailbox.push(1, None);

        mailbox.close();

        assert_eq!(mailbox.push(2, None), Outcome::Closed);
        assert_eq!(drain(&mailbox), [0; 0]);
    }
}
