//! Taking up an edited supervision.toml without a restart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operation::{Access, Action, Spec};
use crate::refusal::Result;
use crate::reload::Reloaded;
use crate::system::System;

/// Apply the edited supervision.toml to the running platform.
///
/// The file the platform was started with is read and checked again. One mistake, and nothing is
/// changed; otherwise every supervisor takes its new numbers and no process is restarted. The
/// answer lists what is different, and what takes effect only when something starts next.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadSupervision {}

impl Action for ReloadSupervision {
    const SPEC: Spec =
        Spec::invoke("reload_supervision", "/reload").needs(Access::Operate).keeps_answer();
    type Output = Reloaded;
    async fn act(self, system: &System) -> Result<Reloaded> {
        Ok(system.reload_supervision().await?)
    }
}
