//! Dynamic supervisors: children that come and go at run time, as connections or attempts do.
//!
//! A dynamic supervisor is an ordinary supervisor process without a list: every child is started
//! by a request with a specification of its own, none depends on another, and all are stopped at
//! once when the supervisor stops. That takes as long as the greatest patience among them, not the
//! sum: one timer runs for each distinct patience, and what is left of its children then is killed.
//!
//! What differs from Elixir's `DynamicSupervisor`: a child keeps its id here, because it is a place
//! in the [`Tree`] and can be terminated by it, so two children cannot share one. Where ids do not
//! matter, [`DynamicSupervisor::start_numbered`] makes one up. Extra arguments are a value that is
//! given to a function which makes the specification ([`DynamicSupervisor::with`]); both are typed,
//! and since a specification makes its process anew from what it holds, restarts see the same.
//!
//! # Examples
//!
//! ```
//! use otp::{
//!     ChildSpec, Clock, DynamicSupervisor, Restart, RequestError, Root, Strategy, SupervisorSpec,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = SupervisorSpec::new(Strategy::OneForOne)
//!     .child(DynamicSupervisor::child("visitors", Some(2)));
//! let root = Root::start(spec, Clock::system()).await?;
//! let visitors = DynamicSupervisor::at(root.tree(), "root/visitors");
//! // Every visitor is told the same greeting and has a name of its own.
//! let visitors = visitors.with("good morning", |greeting: &str, name: &str| {
//!     let label = format!("{greeting}, {name}");
//!     ChildSpec::task(name, |context| async move { Ok(context.stopping().await) }).label(&label)
//! });
//!
//! let ada = visitors.start_child("ada").await?.expect("a task wants to start");
//! visitors.start_child("grace").await?;
//! let refused = visitors.start_child("edsger").await;
//! visitors.supervisor().terminate_child(ada.clone()).await?;
//!
//! assert_eq!(refused, Err(RequestError::MaxChildren { limit: 2 }));
//! assert_eq!(root.tree().find("root/visitors/grace").unwrap().label, "good morning, grace");
//! assert_eq!(visitors.supervisor().terminate_child(ada).await, Err(RequestError::NotFound));
//! # root.stop().await;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use crate::child::ChildSpec;
use crate::incarnation::Pid;
use crate::request::{ChildCounts, ChildEntry, ChildName, RequestError, SupervisorRef};
use crate::specification::SupervisorSpec;
use crate::tree::Tree;

/// A dynamic supervisor by its place in the tree, across restarts of it.
#[derive(Clone, Debug)]
pub struct DynamicSupervisor {
    tree: Tree,
    path: Arc<str>,
}

impl DynamicSupervisor {
    /// The child specification of a dynamic supervisor, with at most `max_children`.
    ///
    /// It tolerates three restarts within five seconds; for other limits make it of
    /// [`SupervisorSpec::dynamic`].
    #[must_use]
    pub fn child(id: &str, max_children: Option<usize>) -> ChildSpec {
        let spec = SupervisorSpec::dynamic();
        let spec = match max_children {
            Some(limit) => spec.max_children(limit),
            None => spec,
        };
        ChildSpec::supervisor(id, spec)
    }

    /// The dynamic supervisor that lives at `path`, whenever it is up.
    #[must_use]
    pub fn at(tree: Tree, path: impl Into<Arc<str>>) -> Self {
        Self { tree, path: path.into() }
    }

    /// The same supervisor for children that `make` specifies, each from `extra` and arguments of
    /// its own.
    #[must_use]
    pub fn with<E, A>(
        self,
        extra: E,
        make: impl Fn(E, A) -> ChildSpec + Send + Sync + 'static,
    ) -> Starter<A>
    where
        E: Clone + Send + Sync + 'static,
    {
        let make = Arc::new(move |arguments| make(extra.clone(), arguments));
        Starter { supervisor: self, make }
    }

    /// Starts a child under an id of its own. `None` means that it did not want to start.
    ///
    /// # Errors
    ///
    /// [`RequestError::MaxChildren`] when there are as many children as may be, those included that
    /// are between two attempts to start them. Restarts are never refused.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Option<Pid>, RequestError> {
        self.supervisor()?.start_child(spec).await
    }

    /// Starts a child under an id that no other child has: that of the specification, followed by
    /// a number, as in `connection#7`.
    pub async fn start_numbered(&self, spec: ChildSpec) -> Result<Option<Pid>, RequestError> {
        self.supervisor()?.start_numbered(spec).await
    }

    /// Stops a child, named by its id or its process, by its shutdown rule and forgets it.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotFound`] when it is no child, in particular when it has ended.
    pub async fn terminate_child(&self, child: impl Into<ChildName>) -> Result<(), RequestError> {
        self.supervisor()?.terminate_child(child).await
    }

    /// The children, newest started first.
    pub async fn which_children(&self) -> Result<Vec<ChildEntry>, RequestError> {
        self.supervisor()?.which_children().await
    }

    /// How many children there are; each is a specification of its own.
    pub async fn count_children(&self) -> Result<ChildCounts, RequestError> {
        self.supervisor()?.count_children().await
    }

    /// The supervisor that is up at the moment.
    ///
    /// # Errors
    ///
    /// [`RequestError::NoProc`] when none is.
    pub fn supervisor(&self) -> Result<SupervisorRef, RequestError> {
        self.tree.supervisor(&self.path).ok_or(RequestError::NoProc)
    }
}

/// Starts children under a dynamic supervisor from arguments of type `A`.
pub struct Starter<A> {
    supervisor: DynamicSupervisor,
    make: Arc<dyn Fn(A) -> ChildSpec + Send + Sync>,
}

impl<A> Starter<A> {
    /// Starts a child made from the extra value and these arguments; see
    /// [`DynamicSupervisor::start_child`].
    pub async fn start_child(&self, arguments: A) -> Result<Option<Pid>, RequestError> {
        let spec = (self.make)(arguments);
        self.supervisor.start_child(spec).await
    }

    /// Starts a child like [`Starter::start_child`], under an id made up by
    /// [`DynamicSupervisor::start_numbered`].
    pub async fn start_numbered(&self, arguments: A) -> Result<Option<Pid>, RequestError> {
        let spec = (self.make)(arguments);
        self.supervisor.start_numbered(spec).await
    }

    /// The supervisor of these children.
    #[must_use]
    pub const fn supervisor(&self) -> &DynamicSupervisor {
        &self.supervisor
    }
}

impl<A> Clone for Starter<A> {
    fn clone(&self) -> Self {
        Self { supervisor: self.supervisor.clone(), make: self.make.clone() }
    }
}

impl<A> fmt::Debug for Starter<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Starter").field(&self.supervisor).finish()
    }
}
