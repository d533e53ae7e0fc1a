//! Projections: read models a domain builds from events, its own or others'.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kernel::{Event, EventType, Recorded};
use store::SealedEvent;

use crate::refusal::{Error, Result};
use crate::tx::Tx;

/// A read model: its persistent name, the version of its logic, and the tables it fills.
pub trait Projection: Send + Sync + 'static {
    /// The persistent name.
    const NAME: &'static str;
    /// Raised when the logic changes, so that operators know to replay.
    const VERSION: u16 = 1;
    /// The tables it fills, in the domain's own schema.
    const TABLES: &'static [&'static str];
}

/// What a projection does with one type of event.
pub trait Project<E: Event>: Projection {
    /// Applies one event. Rows and cursor commit together, so it is applied exactly once, in order.
    fn project(tx: &mut Tx<'_>, event: &Recorded<E>) -> impl Future<Output = Result<()>> + Send;
}

/// Begins the declaration of a projection: name the events it follows with [`Projecting::on`].
#[must_use]
pub fn projection<P: Projection>() -> Projecting<P> {
    Projecting { handlers: Vec::new(), projection: PhantomData }
}

/// A projection and the events it follows.
pub struct Projecting<P> {
    handlers: Vec<Handler>,
    projection: PhantomData<fn() -> P>,
}

type ProjectFn = for<'a, 'b> fn(&'a SealedEvent, &'a mut Tx<'b>) -> BoxFuture<'a, Result<()>>;

#[derive(Clone, Copy)]
struct Handler {
    event: EventType,
    project: ProjectFn,
}

impl<P: Projection> Projecting<P> {
    /// Follows events of type `E`.
    #[must_use]
    pub fn on<E: Event>(mut self) -> Self
    where
        P: Project<E>,
    {
        let project: ProjectFn = |sealed, tx| {
            Box::pin(async move {
                let event = sealed.recorded::<E>().map_err(Error::failure)?;
                P::project(tx, &event).await
            })
        };
        self.handlers.push(Handler { event: E::TYPE, project });
        self
    }

    pub(crate) fn erase(self) -> ProjectionDeclaration {
        ProjectionDeclaration { name: P::NAME, tables: P::TABLES, handlers: self.handlers.into() }
    }
}

/// A projection with its type erased.
#[derive(Clone)]
pub(crate) struct ProjectionDeclaration {
    pub(crate) name: &'static str,
    pub(crate) tables: &'static [&'static str],
    handlers: Arc<[Handler]>,
}

impl ProjectionDeclaration {
    pub(crate) fn events(&self) -> impl Iterator<Item = EventType> {
        self.handlers.iter().map(|handler| handler.event)
    }

    pub(crate) async fn apply(&self, sealed: &SealedEvent, tx: &mut Tx<'_>) -> Result<()> {
        let handler = self.handlers.iter().find(|handler| {
            handler.event.name == sealed.event_type
                && handler.event.domain.as_str() == sealed.domain
        });
        match handler {
            Some(handler) => (handler.project)(sealed, tx).await,
            None => Ok(()),
        }
    }
}
