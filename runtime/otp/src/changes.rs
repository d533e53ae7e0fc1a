//! What a reconfiguration changed, for the operator who asked for it.

use crate::intensity::Intensity;
use crate::quarantine::QuarantineSchedule;
use crate::request::ChildDescription;
use crate::specification::{AutoShutdown, SupervisorSpec};
use crate::strategy::Strategy;

/// The answer to [`crate::SupervisorRef::reconfigure`]: before, after, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The flags until now.
    pub before: Flags,
    /// The flags from now on.
    pub after: Flags,
    /// Children that were there and have a new specification, in the order of the new list. Each
    /// keeps its process, or its lack of one.
    pub replaced: Vec<Replaced>,
    /// Ids of children that are new, in the order of the new list. None of them has been started.
    pub added: Vec<String>,
    /// Ids of listed children that the new specification does not name, in start order. They stay
    /// as they are, behind those it names.
    pub kept: Vec<String>,
}

impl Changes {
    /// Whether everything that can be seen from outside is as it was. A specification also holds
    /// the code that starts its child, which cannot be compared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let replaced = self.replaced.iter().any(|child| child.before != child.after);
        self.before == self.after && self.added.is_empty() && !replaced
    }
}

/// How a supervisor reacts, without its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Which siblings a failure takes along.
    pub strategy: Strategy,
    /// How many restarts are tolerated.
    pub intensity: Intensity,
    /// Whether the end of significant children ends the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// How long a child supervisor that gave up is left down, if it is.
    pub quarantine: Option<QuarantineSchedule>,
    /// How many children a dynamic supervisor may have, if there is a limit.
    pub max_children: Option<usize>,
}

impl Flags {
    pub(crate) fn of(spec: &SupervisorSpec) -> Self {
        Self {
            strategy: spec.strategy,
            intensity: spec.intensity,
            auto_shutdown: spec.auto_shutdown,
            quarantine: spec.quarantine.clone(),
            max_children: spec.dynamic.and_then(|dynamic| dynamic.max_children),
        }
    }
}

/// A child whose specification was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Its specification until now.
    pub before: ChildDescription,
    /// Its specification from now on.
    pub after: ChildDescription,
}
