//! Dynamic supervisors: children that come and go at run time, as connections or attempts do.
//!
//! A dynamic supervisor is an ordinary supervisor process without a list: every child is started
//! by a request with a specification of its own, none depends on another, and all are stopped at
//! once when the supervisor stops.

use crate::child::ChildSpec;
use crate::incarnation::Pid;
use crate::request::{RequestError, SupervisorRef};
use crate::specification::SupervisorSpec;
use crate::tree::Tree;

/// A dynamic supervisor by its place in the tree, across restarts of it.
#[derive(Clone, Debug)]
pub struct DynamicSupervisor {
    tree: Tree,
    path: String,
}

impl DynamicSupervisor {
    /// The child specification of a dynamic supervisor, with at most `max_children`.
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
    pub fn at(tree: Tree, path: impl Into<String>) -> Self {
        Self { tree, path: path.into() }
    }

    /// Starts a child under an id of its own. `None` means that it did not want to start.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Option<Pid>, RequestError> {
        self.supervisor()?.start_child(spec).await
    }

    /// Stops a child by its shutdown rule and forgets it.
    pub async fn terminate_child(&self, id: &str) -> Result<(), RequestError> {
        self.supervisor()?.terminate_child(id).await
    }

    /// The supervisor that is up at the moment.
    pub fn supervisor(&self) -> Result<SupervisorRef, RequestError> {
        self.tree.supervisor(&self.path).ok_or(RequestError::NoProc)
    }
}
