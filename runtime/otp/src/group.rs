//! Process groups: many processes under one name, as Erlang's `pg`.
//!
//! A group exists while it has members. A process may be a member of many groups, and of one
//! several times; its memberships end with it. A [`Groups`] is a scope: groups of the same name in
//! two of them have nothing to do with each other. There is one node, so all members are local.
//!
//! ```
//! use otp::{Actor, ActorRef, ChildSpec, Clock, Context, ExitReason, Groups, Root, StartError};
//! use otp::{Strategy, SupervisorSpec};
//!
//! type Rooms = Groups<&'static str, ActorRef<&'static str>>;
//!
//! struct Guest(Rooms);
//!
//! impl Actor for Guest {
//!     type Message = &'static str;
//!
//!     async fn init(&mut self, context: &Context<Self::Message>) -> Result<(), StartError> {
//!         self.0.join("kitchen", &context.myself()).map_err(StartError::failed)
//!     }
//!
//!     async fn handle(
//!         &mut self,
//!         _: Self::Message,
//!         _: &Context<Self::Message>,
//!     ) -> Result<(), ExitReason> {
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rooms = Rooms::new();
//! let guest = |id, rooms: Rooms| ChildSpec::worker(id, move || Guest(rooms.clone()));
//! let spec = SupervisorSpec::new(Strategy::OneForOne);
//! let spec = spec.child(guest("ann", rooms.clone())).child(guest("bob", rooms.clone()));
//! let root = Root::start(spec, Clock::system()).await?;
//!
//! assert_eq!(rooms.cast_all(&"kitchen", &"dinner is ready"), 2);
//! root.stop().await;
//! assert_eq!(rooms.which_groups(), [""; 0]);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::hash::Hash;

use tokio::sync::broadcast::error::RecvError;

use crate::call::{ActorRef, NoProc};
use crate::incarnation::Pid;
use crate::registry::{Listener, Registry, RegistryEvent};

/// What a group can consist of: anything that stands for a process.
pub trait Member: Clone + Send + Sync + 'static {
    /// The process it stands for.
    fn pid(&self) -> Pid;
}

impl Member for Pid {
    fn pid(&self) -> Pid {
        self.clone()
    }
}

impl<M: Send + 'static> Member for ActorRef<M> {
    fn pid(&self) -> Pid {
        Self::pid(self)
    }
}

/// A scope of groups with names of type `G`; clones are handles on the same scope.
pub struct Groups<G: Eq + Hash + Clone, T = Pid>(Registry<G, T>);

/// A change of the members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent<G, T> {
    /// There is a new member, or a member has joined once more.
    Joined {
        /// The name of the group.
        group: G,
        /// The member.
        member: T,
    },
    /// A member has left, or died; once for each time it had joined.
    Left {
        /// The name of the group.
        group: G,
        /// The member.
        member: T,
    },
}

impl<G, T> Groups<G, T>
where
    G: Eq + Hash + Clone + Send + Sync + 'static,
    T: Member,
{
    /// A scope without groups.
    #[must_use]
    pub fn new() -> Self {
        Self(Registry::duplicate())
    }

    /// Makes `member` a member, once more if it is one already, until its end.
    pub fn join(&self, group: G, member: &T) -> Result<(), NoProc> {
        // Without unique keys there is no other refusal.
        self.0.register(&member.pid(), group, member.clone()).map_err(|_| NoProc)
    }

    /// Takes one membership of `pid` back, the oldest; says whether there was one.
    pub fn leave(&self, group: &G, pid: &Pid) -> bool {
        self.0.unregister_one(group, pid)
    }

    /// The members of a group, each as often as it has joined, in the order of joining.
    #[must_use]
    pub fn members(&self, group: &G) -> Vec<T> {
        self.0.lookup(group).into_iter().map(|(_, member)| member).collect()
    }

    /// The members on this node, which are all.
    #[must_use]
    pub fn local_members(&self, group: &G) -> Vec<T> {
        self.members(group)
    }

    /// The groups that have members, the one with the oldest membership first.
    #[must_use]
    pub fn which_groups(&self) -> Vec<G> {
        self.0.all_keys()
    }

    /// The members of a group, as [`Groups::members`], and what changes from just then on. There
    /// need not be such a group yet.
    #[must_use]
    pub fn monitor(&self, group: &G) -> (Vec<T>, GroupMonitor<G, T>) {
        let (members, changes) = self.0.listen_after(Some(group));
        let members = members.into_iter().map(|(_, member)| member).collect();
        (members, GroupMonitor { group: Some(group.clone()), changes })
    }

    /// All members of all groups in the order of joining, and what changes from just then on.
    #[must_use]
    pub fn monitor_scope(&self) -> (Vec<(G, T)>, GroupMonitor<G, T>) {
        let (members, changes) = self.0.listen_after(None);
        (members, GroupMonitor { group: None, changes })
    }
}

impl<G, M> Groups<G, ActorRef<M>>
where
    G: Eq + Hash + Clone + Send + Sync + 'static,
    M: Clone + Send + 'static,
{
    /// Puts a copy of `message` into the mailbox of every member, as often as it has joined; says
    /// how many copies were taken.
    pub fn cast_all(&self, group: &G, message: &M) -> usize {
        let members = self.members(group).into_iter();
        members.filter(|member| member.cast(message.clone()).is_ok()).count()
    }
}

impl<G, T> Default for Groups<G, T>
where
    G: Eq + Hash + Clone + Send + Sync + 'static,
    T: Member,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<G: Eq + Hash + Clone, T> Clone for Groups<G, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<G: Eq + Hash + Clone, T> fmt::Debug for Groups<G, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Groups").finish_non_exhaustive()
    }
}

/// The changes of one group, or of all in a scope.
#[derive(Debug)]
pub struct GroupMonitor<G, T> {
    group: Option<G>,
    changes: Listener<G, T>,
}

impl<G: Eq + Clone, T: Clone> GroupMonitor<G, T> {
    /// Waits for the next change.
    ///
    /// # Errors
    ///
    /// `Lagged` when it fell more than [`LISTENER_BACKLOG`](crate::LISTENER_BACKLOG) changes of the
    /// scope behind and has missed some: monitor anew to know the members. `Closed` when nobody has
    /// the scope any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Result<GroupEvent<G, T>, RecvError> {
        loop {
            let event = match self.changes.recv().await? {
                RegistryEvent::Registered { key: group, value: member, .. } => {
                    GroupEvent::Joined { group, member }
                }
                RegistryEvent::Unregistered { key: group, value: member, .. } => {
                    GroupEvent::Left { group, member }
                }
            };
            let (GroupEvent::Joined { group, .. } | GroupEvent::Left { group, .. }) = &event;
            if self.group.as_ref().is_none_or(|it| it == group) {
                return Ok(event);
            }
        }
    }
}
