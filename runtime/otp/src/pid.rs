//! References to processes, whatever they are.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;

use crate::exit::ExitReason;
use crate::incarnation::Incarnation;
use crate::mailbox::MailboxReport;

/// A reference to one incarnation of a process; after its death it refers to nothing else.
#[derive(Clone)]
pub struct Pid(pub(crate) Arc<Incarnation>);

impl Pid {
    /// Where in the tree it lives or lived.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Which life at that path this is, counted from 1.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.0.number()
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Why it ended, if it did.
    #[must_use]
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.0.death().map(|death| death.reason.clone())
    }

    /// Where in the code it was specified: behind a supervisor, what OTP's `get_callback_module`
    /// tells. `None` for the root, which nobody lists as a child.
    #[must_use]
    pub fn specified_at(&self) -> Option<&'static Location<'static>> {
        self.0.spawned_at()
    }

    /// Waits until it is gone, with everything below it, and says why.
    pub async fn gone(&self) -> ExitReason {
        self.0.gone().raised().await;
        self.0.reason()
    }

    /// Kills it: it ends at its next await, without any code of its own.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// What its mailbox looks like: how full it is, since when, and how much it has lost.
    #[must_use]
    pub fn mailbox(&self) -> MailboxReport {
        self.0.mailbox()
    }
}

impl PartialEq for Pid {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Pid {}

impl Hash for Pid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{}#{}>", self.0.path, self.0.number())
    }
}
