//! Acting on the tree: kill a process on purpose, end a quarantine early.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Reason, Refusal, Result};
use crate::system::System;

/// Kill a process, to see its supervisor replace it.
///
/// The process ends at once, without a chance to tidy up. Its supervisor restarts what its strategy
/// says. Killing a supervisor takes its whole subtree along. The kill and its reason are recorded.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillProcess {
    /// Place in the tree, for example `root/domains/recruit/children/scoring_engine`.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
    // Recorded before it is acted on, so the schema has to say what it may be.
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

/// What was killed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Killed {
    /// Place in the tree.
    pub path: String,
    /// Which incarnation it was.
    pub incarnation: u64,
}

/// Why a process is not acted on.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    #[error("{0}")]
    NoSuchProcess(String),
    #[error("the root is not killed from within; stop the platform instead")]
    Root,
    #[error("`{0}` is not in quarantine")]
    NotInQuarantine(String),
}

impl Refusal for NotDone {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchProcess(_) => Reason::not_found("no_such_process").at("/path"),
            Self::Root => Reason::forbidden("root_is_not_killed").at("/path"),
            Self::NotInQuarantine(_) => Reason::conflict("not_in_quarantine").at("/path"),
        }
    }
}

impl Action for KillProcess {
    const SPEC: Spec = Spec::invoke("kill_process", "/kill").needs(Access::Operate).destroys();
    type Output = Killed;
    async fn act(self, system: &System) -> Result<Killed> {
        if self.path == "root" {
            return Err(NotDone::Root.into());
        }
        let killed = system
            .tree()
            .kill(&self.path)
            .map_err(|unknown| NotDone::NoSuchProcess(unknown.to_string()))?;
        tracing::warn!(path = killed.path, reason = self.reason, "an operator kills a process");
        Ok(Killed { path: killed.path, incarnation: killed.incarnation })
    }
}

/// Start a quarantined subtree now, instead of when its time is up.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftQuarantine {
    /// Place in the tree, for example `root/domains/recruit`.
    #[schemars(length(min = 1, max = 500))]
    pub path: String,
}

/// What was started again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lifted {
    /// Place in the tree.
    pub path: String,
}

impl Action for LiftQuarantine {
    const SPEC: Spec = Spec::invoke("lift_quarantine", "/lift_quarantine").needs(Access::Operate);
    type Output = Lifted;
    async fn act(self, system: &System) -> Result<Lifted> {
        if system.tree().quarantined_until(&self.path).is_none() {
            return Err(NotDone::NotInQuarantine(self.path).into());
        }
        system
            .tree()
            .lift_quarantine(&self.path)
            .map_err(|_| NotDone::NotInQuarantine(self.path.clone()))?;
        Ok(Lifted { path: self.path })
    }
}
