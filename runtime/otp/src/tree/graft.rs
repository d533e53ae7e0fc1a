//! Grafts: what runs in another process of the operating system, shown where it belongs.
//!
//! A tree is drawn from what its own processes write into it. The processes of a domain that lives
//! elsewhere write into a tree over there; a picture of that is grafted onto this one, so that
//! whoever looks sees one tree and finds everything at the path it always had.

use std::fmt;
use std::sync::Arc;

use super::{Killed, Tree};
use crate::node::{Node, Status};

/// Asks for the death of the process at a path, and says whether it could be asked for.
type Kill = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What is shown below a place beside its own children.
#[derive(Clone)]
pub(super) struct Graft {
    pub(super) nodes: Vec<Node>,
    kill: Kill,
}

impl fmt::Debug for Graft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Graft").field(&self.nodes.len()).finish()
    }
}

impl Tree {
    /// Shows `nodes` below the place at `path`, after its own children, until they are replaced or
    /// taken off. Who kills one of them by its path has `kill` called with it.
    ///
    /// A picture is shown and no more: nothing of it is found by [`Tree::whereis`] or supervised
    /// from here. Nothing happens when there is no such place.
    pub fn graft(
        &self,
        path: &str,
        nodes: Vec<Node>,
        kill: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) {
        let graft = Box::new(Graft { nodes, kill: Arc::new(kill) });
        self.change(path, |record| record.graft = Some(graft));
    }

    /// Takes off what was grafted onto the place at `path`.
    pub fn ungraft(&self, path: &str) {
        self.change(path, |record| record.graft = None);
    }

    /// The grafted node at a path, and what it was grafted with.
    pub(super) fn grafted(&self, path: &str) -> Option<(Node, Graft)> {
        let book = self.book();
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            let graft = book.nodes.get(parent).and_then(|record| record.graft.as_ref());
            if let Some(graft) = graft {
                let nodes = graft.nodes.iter().flat_map(Node::walk);
                let node = nodes.into_iter().find(|node| node.path == path)?;
                return Some((node.clone(), Graft::clone(graft)));
            }
            above = parent;
        }
        None
    }

    pub(super) fn kill_grafted(&self, path: &str) -> Option<Killed> {
        let (node, graft) = self.grafted(path)?;
        let is_asked = node.status == Status::Running && (graft.kill)(path);
        is_asked.then_some(Killed { path: node.path, incarnation: node.incarnation })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{ChildSpec, Clock, Root, Strategy, SupervisorSpec, TreeError};

    /// A tree over there that has one worker below the place it is grafted onto here.
    async fn elsewhere() -> Root {
        let worker = ChildSpec::task("worker", |context| async move {
            context.stopping().await;
            Ok(())
        });
        let inner = SupervisorSpec::new(Strategy::OneForOne).child(worker);
        let top =
            SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::supervisor("far", inner));
        Root::start(top, Clock::system()).await.expect("it starts")
    }

    async fn here() -> Root {
        let far = ChildSpec::supervisor("far", SupervisorSpec::default());
        let top = SupervisorSpec::new(Strategy::OneForOne).child(far);
        Root::start(top, Clock::system()).await.expect("it starts")
    }

    #[tokio::test]
    async fn what_runs_elsewhere_is_found_and_killed_at_its_path_until_it_is_taken_off() {
        let (there, here) = (elsewhere().await, here().await);
        let tree = here.tree();
        let mut changes = tree.changes();
        let killed = Arc::new(Mutex::new(Vec::new()));
        let asked = killed.clone();
        let nodes = there.tree().find("root/far").expect("it is there").children;

        tree.graft("root/far", nodes, move |path| {
            asked.lock().unwrap().push(path.to_owned());
            true
        });

        assert!(changes.has_changed().unwrap(), "whoever draws the tree draws it again");
        changes.mark_unchanged();
        let drawn = tree.snapshot();
        assert!(drawn.walk().iter().any(|node| node.path == "root/far/worker"));
        assert_eq!(tree.find("root/far/worker"), there.tree().find("root/far/worker"));
        let told = tree.kill("root/far/worker").expect("it can be asked for");
        assert_eq!((told.path.as_str(), told.incarnation), ("root/far/worker", 1));
        assert_eq!(*killed.lock().unwrap(), ["root/far/worker"]);
        tree.ungraft("root/far");
        assert!(matches!(tree.kill("root/far/worker"), Err(TreeError::UnknownPath { .. })));
    }

    #[tokio::test]
    async fn what_cannot_be_asked_to_die_was_not_killed() {
        let (there, here) = (elsewhere().await, here().await);
        let nodes = there.tree().find("root/far").expect("it is there").children;

        here.tree().graft("root/far", nodes, |_| false);

        assert!(here.tree().kill("root/far/worker").is_err());
        assert!(here.tree().kill("root/far/nobody").is_err());
    }
}
