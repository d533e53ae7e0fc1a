//! The root: a supervision tree as one value that can be started, watched and stopped.

use std::fmt;
use std::sync::Arc;

use crate::child::{Birth, ChildKind, ChildSpec};
use crate::clock::Clock;
use crate::exit::{ExitReason, StartError};
use crate::incarnation::{Incarnation, Pid, Surroundings};
use crate::request::SupervisorRef;
use crate::specification::SupervisorSpec;
use crate::tree::{ROOT_PATH, Tree};

/// A running tree. Dropping the value leaves the tree running; [`Root::stop`] stops it.
#[derive(Clone)]
pub struct Root {
    incarnation: Arc<Incarnation>,
    tree: Tree,
}

impl Root {
    /// Starts the root supervisor and, in order, everything below it; done when all of it is up.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future brings down what has been started so far.
    pub async fn start(spec: SupervisorSpec, clock: Clock) -> Result<Self, StartError> {
        Self::start_in(Tree::new(clock), spec).await
    }

    /// Like [`Root::start`], in a tree that somebody already listens to (see [`Root::prepare`]).
    ///
    /// # Errors
    ///
    /// Those of [`Root::start`], and when a root is up in this tree.
    pub async fn start_in(tree: Tree, spec: SupervisorSpec) -> Result<Self, StartError> {
        if tree.pid(ROOT_PATH).is_some() {
            return Err(StartError::failed("a root is up in this tree already"));
        }
        let child = ChildSpec::supervisor(ROOT_PATH, spec);
        let path: Arc<str> = Arc::from(ROOT_PATH);
        tree.list(None, 0, &path, &child);
        let surroundings = Surroundings::default();
        let incarnation =
            Incarnation::new(path, ChildKind::Supervisor, None, tree.clone(), None, surroundings);
        let birth = Birth { incarnation: incarnation.clone(), cause: None };
        if let Err(error) = (child.launch)(birth).await {
            tree.start_failed(ROOT_PATH, &error, None);
            return Err(error);
        }
        Ok(Self { incarnation, tree })
    }

    /// An empty tree to subscribe to before anything is started in it.
    #[must_use]
    pub fn prepare(clock: Clock) -> Tree {
        let tree = Tree::new(clock);
        let root = ChildSpec::supervisor(ROOT_PATH, SupervisorSpec::default());
        tree.list(None, 0, &Arc::from(ROOT_PATH), &root);
        tree
    }

    /// A handle on the tree.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// The root supervisor, if it is up.
    #[must_use]
    pub fn supervisor(&self) -> Option<SupervisorRef> {
        self.tree.supervisor(ROOT_PATH)
    }

    /// The process of the root supervisor.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid(self.incarnation.clone())
    }

    /// Stops everything, newest first, each with its own patience, and says how the root ended.
    pub async fn stop(self) -> ExitReason {
        self.incarnation.tell(ExitReason::Shutdown);
        self.exited().await
    }

    /// Waits until the root and everything below it is gone and says how it ended.
    pub async fn exited(&self) -> ExitReason {
        self.pid().gone().await
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Root").field(&self.pid()).finish()
    }
}
