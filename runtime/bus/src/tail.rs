//! The tail: the [contract](crate::backend) kept by the bus of this node and its log.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kernel::Position;

use crate::backend::{Backend, BackendError, Start, Subscriber, SubscriptionSpec};
use crate::bridge::SourceError;
use crate::broadcast::Bus;
use crate::event::BusEvent;
use crate::subscription::{DurableError, DurableSubscription};

/// Where the places of subscriptions are kept.
pub trait Places: Send + Sync + fmt::Debug {
    /// The place kept under a name.
    fn find(&self, name: &str) -> BoxFuture<'static, Result<Option<Position>, SourceError>>;

    /// Keeps a place, unless a later one is kept already.
    fn keep(&self, name: &str, position: Position) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// Places that last as long as the process.
#[derive(Debug, Clone, Default)]
pub struct MemoryPlaces(Arc<Mutex<HashMap<String, Position>>>);

impl MemoryPlaces {
    fn places(&self) -> MutexGuard<'_, HashMap<String, Position>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places for MemoryPlaces {
    fn find(&self, name: &str) -> BoxFuture<'static, Result<Option<Position>, SourceError>> {
        std::future::ready(Ok(self.places().get(name).copied())).boxed()
    }

    fn keep(&self, name: &str, position: Position) -> BoxFuture<'static, Result<(), SourceError>> {
        let mut places = self.places();
        let kept = places.entry(name.to_owned()).or_insert(position);
        *kept = position.max(*kept);
        std::future::ready(Ok(())).boxed()
    }
}

/// Durable subscriptions on the bus of this node.
#[derive(Debug, Clone)]
pub struct Tail {
    bus: Bus,
    places: Arc<dyn Places>,
}

impl Tail {
    /// The events of `bus`, and the places of whoever follows them in `places`.
    #[must_use]
    pub fn new(bus: &Bus, places: impl Places + 'static) -> Self {
        Self { bus: bus.clone(), places: Arc::new(places) }
    }

    async fn place(&self, spec: &SubscriptionSpec) -> Result<Position, BackendError> {
        let kept = self.places.find(&spec.name).await.map_err(BackendError::Unavailable)?;
        if let Some(position) = kept {
            return Ok(position);
        }
        let position = match spec.start {
            Start::Origin => Position::ORIGIN,
            Start::After(position) => position,
            Start::Now => self.bus.head().await.map_err(BackendError::Unavailable)?,
        };
        // Kept before the first event comes: "now" must not become later with every attempt.
        self.places.keep(&spec.name, position).await.map_err(BackendError::Unavailable)?;
        Ok(position)
    }
}

impl Backend for Tail {
    fn subscribe<'a>(
        &'a self,
        spec: &'a SubscriptionSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Subscriber>, BackendError>> {
        async move {
            spec.check()?;
            let place = self.place(spec).await?;
            let events = self.bus.subscribe_durably(spec.filter.clone(), place);
            let name = spec.name.clone();
            let follower = Follower { name, events, places: self.places.clone() };
            Ok(Box::new(follower) as Box<dyn Subscriber>)
        }
        .boxed()
    }
}

#[derive(Debug)]
struct Follower {
    name: String,
    events: DurableSubscription,
    places: Arc<dyn Places>,
}

impl Subscriber for Follower {
    fn next_batch(
        &mut self,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<BusEvent>>, BackendError>> {
        async move { Ok(self.events.recv_batch(max).await?) }.boxed()
    }

    fn acknowledge(&mut self, position: Position) -> BoxFuture<'_, Result<(), BackendError>> {
        let kept = self.places.keep(&self.name, position);
        async move { kept.await.map_err(BackendError::Unavailable) }.boxed()
    }
}

impl From<DurableError> for BackendError {
    fn from(error: DurableError) -> Self {
        match error {
            DurableError::Unavailable(source) => Self::Unavailable(source),
            DurableError::Closed => Self::Closed,
        }
    }
}
