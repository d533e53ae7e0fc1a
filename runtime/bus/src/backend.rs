//! The contract: what whoever acts on events may rely on, however they reach it.
//!
//! A subscription has a name, under which its place is kept. Events come in the order of their
//! positions, so in that of every organisation, each at least once: what was not acknowledged comes
//! again, in order, when somebody subscribes under that name anew. A name belongs to one
//! subscriber at a time.
//!
//! | backend | events from | place kept in |
//! |---|---|---|
//! | [`Tail`](crate::Tail) within one process | the local sealer's head | memory |
//! | [`Tail`](crate::Tail) on a shared log | the log, woken by its leader | the log's database |
//! | the `nats` crate | a stream in NATS | a durable consumer there |
//!
//! One suite of tests holds all three to it.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kernel::Position;

use crate::bridge::SourceError;
use crate::event::BusEvent;
use crate::topic_filter::TopicFilter;

/// Where a subscription begins that has no place yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the first event there is.
    Origin,
    /// With the next event.
    Now,
    /// With the first event after this position.
    After(Position),
}

/// What to subscribe to, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSpec {
    /// The name its place is kept under: lower-case letters, digits, `_` and `-`.
    pub name: String,
    /// What it is to hear; not to be changed while the name is in use.
    pub filter: TopicFilter,
    /// Where it begins when it has no place yet.
    pub start: Start,
}

/// Somewhere events can be followed.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Goes on where the name was left, or begins.
    ///
    /// # Errors
    /// [`BackendError`].
    fn subscribe<'a>(
        &'a self,
        spec: &'a SubscriptionSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Subscriber>, BackendError>>;
}

/// One subscription, in the hands of who acts on its events.
pub trait Subscriber: Send + fmt::Debug {
    /// Waits for events, and answers those that are there, one at least and `max` at most.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`], after which asking again goes on from the same place.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    fn next_batch(&mut self, max: usize)
    -> BoxFuture<'_, Result<Vec<Arc<BusEvent>>, BackendError>>;

    /// Keeps in mind that everything up to `position` is done with. It is kept when this returns.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`], after which those events may come again.
    fn acknowledge(&mut self, position: Position) -> BoxFuture<'_, Result<(), BackendError>>;
}

/// Events cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Whoever holds the events or the places does not answer now.
    #[error("events cannot be followed just now")]
    Unavailable(#[source] SourceError),
    /// The events right after the wanted place are not kept any more.
    #[error("events are kept from position {first} on, and those after {after} are wanted")]
    Gone {
        /// The place that was wanted.
        after: Position,
        /// The first event there is.
        first: Position,
    },
    /// The name cannot be one.
    #[error("`{0}` cannot name a subscription: use a-z, 0-9, _ and -, 64 of them at most")]
    Name(String),
    /// The bus is gone.
    #[error("the bus is closed")]
    Closed,
}

impl SubscriptionSpec {
    /// Refuses a name that some backend could not keep.
    ///
    /// # Errors
    /// [`BackendError::Name`].
    pub fn check(&self) -> Result<(), BackendError> {
        let of_name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        };
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(of_name) {
            return Err(BackendError::Name(self.name.clone()));
        }
        Ok(())
    }
}
