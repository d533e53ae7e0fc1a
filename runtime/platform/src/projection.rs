//! Projections: read models a domain builds from events, its own or others'.
//!
//! What a projection writes is a function of the events and of nothing else, so its tables can be
//! made again from the log at any time and come out the same: beside the live ones, table by table,
//! compared and then swapped. That holds as long as a projection
//!
//! - names its tables without their schema, because the rebuild fills other tables of that name;
//! - takes each time from the event, as [`Tx::now`] does here, and draws nothing at random;
//! - tells and enqueues nothing, which is refused here anyway.

mod apply;
pub(crate) mod rebuilds;

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kernel::{Event, EventType, OrgId, Recorded};
use sqlx::PgConnection;
use store::SealedEvent;

pub(crate) use apply::apply;

use crate::refusal::{Error, Result};
use crate::tx::Tx;

/// A read model: its persistent name, the version of its logic, and the tables it fills.
pub trait Projection: Send + Sync + 'static {
    /// The persistent name.
    const NAME: &'static str;
    /// Raised when the logic changes, so that the tables are made again.
    const VERSION: u16 = 1;
    /// The tables it fills, in the domain's own schema. Their migration calls
    /// `events.projection_table` for each.
    const TABLES: &'static [&'static str];
    /// What happens when the tables were filled by an older version of the logic.
    const RENEWAL: Renewal = Renewal::AtStart;
}

/// When tables that were filled by an older version of the logic are made again.
///
/// Until then the live ones are followed on, by the new logic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// As soon as the new version starts, beside the live ones, which are then replaced.
    AtStart,
    /// When an operator asks for it; the list of projections says that it is needed.
    WhenAsked,
}

/// What a projection does with one type of event, at once.
///
/// The plain way: one or more statements for each event. [`Fold`] is the fast one.
pub trait Project<E: Event>: Projection {
    /// Applies one event. Rows and cursor commit together, so it is applied exactly once, in order.
    /// The instant of `tx` is the one at which the event was recorded.
    fn project(tx: &mut Tx<'_>, event: &Recorded<E>) -> impl Future<Output = Result<()>> + Send;
}

/// A projection that gathers what a batch of events changes, and writes it in a few statements.
///
/// How many events share a batch is nobody's promise: one when they come singly, thousands in a
/// rebuild. So two batches, one after the other, must leave the same rows as one of both.
pub trait Folding: Projection {
    /// What the events of one batch change, all of one organisation.
    type Changes: Default + Send + 'static;
    /// Writes them. Rows and cursor commit together.
    fn write(
        rows: &mut Rows<'_>,
        changes: Self::Changes,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// What a folding projection does with one type of event.
pub trait Fold<E: Event>: Folding {
    /// Adds what `event` changes to what those before it in the batch have changed.
    fn fold(changes: &mut Self::Changes, event: &Recorded<E>);
}

/// The rows of one organisation, to be written by a [`Folding`] projection.
///
/// It has no instant: a time in a row is that of the event that changed it.
pub struct Rows<'c> {
    connection: &'c mut PgConnection,
    org_id: OrgId,
}

impl Rows<'_> {
    /// The organisation whose events were folded.
    #[must_use]
    pub fn org_id(&self) -> OrgId {
        self.org_id
    }

    /// The connection, with role, tenant and search path set.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }
}

/// Begins the declaration of a projection: name the events it follows with [`Projecting::on`], or
/// with [`Projecting::fold`] if it folds.
#[must_use]
pub fn projection<P: Projection>() -> Projecting<P> {
    Projecting { handlers: Vec::new(), folding: None, projection: PhantomData }
}

/// A projection and the events it follows.
pub struct Projecting<P> {
    handlers: Vec<Handler>,
    folding: Option<FoldingFns>,
    projection: PhantomData<fn() -> P>,
}

type ProjectFn = for<'a, 'b> fn(&'a SealedEvent, &'a mut Tx<'b>) -> BoxFuture<'a, Result<()>>;
type Changes = Box<dyn Any + Send>;

#[derive(Clone, Copy)]
struct Handler {
    event: EventType,
    takes: Takes,
}

/// How a handler takes an event.
#[derive(Clone, Copy)]
enum Takes {
    AtOnce(ProjectFn),
    Gathering(fn(&SealedEvent, &mut Changes) -> Result<()>),
}

/// A folding projection's own type of changes, erased.
#[derive(Clone, Copy)]
struct FoldingFns {
    begin: fn() -> Changes,
    write: for<'a, 'c> fn(&'a mut Rows<'c>, Changes) -> BoxFuture<'a, Result<()>>,
}

/// Holds because only the functions of one projection meet in one declaration.
const OWN_CHANGES: &str = "a projection folds into changes of its own type";

impl<P: Projection> Projecting<P> {
    /// Follows events of type `E`, one at a time.
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
        self.handlers.push(Handler { event: E::TYPE, takes: Takes::AtOnce(project) });
        self
    }

    /// Follows events of type `E`, gathered by the batch.
    ///
    /// # Panics
    /// Never: a declaration holds the functions of one projection.
    #[must_use]
    pub fn fold<E: Event>(mut self) -> Self
    where
        P: Fold<E>,
    {
        let gather = |sealed: &SealedEvent, changes: &mut Changes| {
            let event = sealed.recorded::<E>().map_err(Error::failure)?;
            P::fold(changes.downcast_mut().expect(OWN_CHANGES), &event);
            Ok(())
        };
        self.handlers.push(Handler { event: E::TYPE, takes: Takes::Gathering(gather) });
        self.folding = Some(FoldingFns {
            begin: || Box::new(P::Changes::default()),
            write: |rows, changes| {
                let changes = changes.downcast().expect(OWN_CHANGES);
                Box::pin(async move { P::write(rows, *changes).await })
            },
        });
        self
    }

    pub(crate) fn erase(self) -> ProjectionDeclaration {
        ProjectionDeclaration {
            name: P::NAME,
            version: P::VERSION,
            tables: P::TABLES,
            renewal: P::RENEWAL,
            folding: self.folding,
            handlers: self.handlers.into(),
        }
    }
}

/// A projection with its type erased.
#[derive(Clone)]
pub(crate) struct ProjectionDeclaration {
    pub(crate) name: &'static str,
    pub(crate) version: u16,
    pub(crate) tables: &'static [&'static str],
    pub(crate) renewal: Renewal,
    folding: Option<FoldingFns>,
    handlers: Arc<[Handler]>,
}

impl ProjectionDeclaration {
    pub(crate) fn events(&self) -> impl Iterator<Item = EventType> {
        self.handlers.iter().map(|handler| handler.event)
    }

    /// Leaves out the events that `is_told` says no domain tells; answers whether any is left.
    pub(crate) fn follow_only(&mut self, is_told: impl Fn(EventType) -> bool) -> bool {
        self.handlers =
            self.handlers.iter().copied().filter(|handler| is_told(handler.event)).collect();
        !self.handlers.is_empty()
    }

    /// What is wrong with it, as far as that can be seen without a database.
    pub(crate) fn violations(&self, domain: kernel::DomainName) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |what| found.push(format!("{domain}.{} {what}", self.name));
        if !kernel::is_snake_case(self.name) {
            say("is no lower-case snake case");
        }
        if domain.as_str().len() + self.name.len() > NAMES_MAX {
            say("has too long a name: with that of its domain, at most 51 letters");
        }
        if self.version == 0 {
            say("has version 0; versions start at 1");
        }
        if self.tables.is_empty() {
            say("fills no table");
        }
        let is_gathering = |handler: &Handler| matches!(handler.takes, Takes::Gathering(_));
        if self.folding.is_some() && !self.handlers.iter().all(is_gathering) {
            say("folds some events and takes others at once, so it could not keep their order");
        }
        found
    }

    fn handler(&self, sealed: &SealedEvent) -> Option<Takes> {
        let is_of = |event: EventType| {
            event.name == sealed.event_type && event.domain.as_str() == sealed.domain
        };
        self.handlers.iter().find(|handler| is_of(handler.event)).map(|handler| handler.takes)
    }
}

/// What Postgres leaves of a name after `shadow_of_` and `__`.
const NAMES_MAX: usize = 51;
