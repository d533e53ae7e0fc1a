//! Having projections made again from the log: rebuild, pause, resume, cancel, swap or keep.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::replay::{self, ReadModel, RebuildState, ReplayError, Wish};

use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::projection::rebuilds::{BATCH_SIZE, read_models};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// Why a wish about a projection is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("there is no projection `{0}`; list_projections names them all")]
    NoSuchProjection(String),
    #[error("{0}")]
    UnderWay(String),
    #[error("{0}")]
    NotUnderWay(String),
    #[error("{0}")]
    WrongState(String),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchProjection(_) => Reason::not_found("no_such_projection").at("/projection"),
            Self::UnderWay(_) => Reason::conflict("rebuild_under_way").at("/projection"),
            Self::NotUnderWay(_) => Reason::conflict("no_rebuild_under_way").at("/projection"),
            Self::WrongState(_) => Reason::conflict("wrong_state").at("/projection"),
        }
    }
}

fn refused(error: ReplayError) -> Error {
    let said = error.to_string();
    match error {
        ReplayError::UnderWay(_) => NotGranted::UnderWay(said).into(),
        ReplayError::NotUnderWay(_) => NotGranted::NotUnderWay(said).into(),
        ReplayError::WrongState { .. } => NotGranted::WrongState(said).into(),
        ReplayError::Database(error) => error.into(),
        other => Error::failure(other),
    }
}

/// The projection of that name.
pub(super) fn find(system: &System, name: &str) -> Result<ReadModel> {
    let found = read_models(system.catalog()).find(|model| model.name == name);
    Ok(found.ok_or_else(|| NotGranted::NoSuchProjection(name.to_owned()))?)
}

/// Make the tables of a projection again from the log, beside the live ones.
///
/// When the new tables have caught up, both are digested while they stand at the same event. If
/// they are the same, or the live ones were filled by another version of the logic, the new ones
/// take their place in one transaction; readers see the old or the new. Otherwise the rebuild is
/// shown as `digest_mismatch` with the first rows that differ, and `swap_projection` or
/// `keep_projection` decides.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RebuildProjection {
    /// The projection, for example `recruit.pipeline`.
    #[schemars(length(min = 3, max = 120))]
    pub projection: String,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
    /// Events per second at most; as fast as it goes unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub throttle: Option<u32>,
    /// Events that share a commit at most, 1 to 100,000; 5,000 unless given.
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_size: u32,
    /// Whether to wait for `swap_projection` or `keep_projection` even when nothing differs.
    #[serde(default)]
    pub ask: bool,
}

const fn batch_size() -> u32 {
    BATCH_SIZE
}

/// What is now to happen with a projection.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RebuildTurned {
    /// The projection.
    pub projection: String,
    /// The state of its rebuild.
    pub state: String,
}

impl Action for RebuildProjection {
    const SPEC: Spec = Spec::invoke("rebuild_projection", "/projections/{projection}/rebuild")
        .needs(Access::Operate);
    type Output = RebuildTurned;
    async fn act(self, system: &System) -> Result<RebuildTurned> {
        let model = find(system, &self.projection)?;
        let wish = Wish {
            reason: self.reason,
            batch_size: self.batch_size,
            throttle: self.throttle,
            asks: self.ask,
        };
        replay::request(system.pool(), &model, &wish, system.now()).await.map_err(refused)?;
        Ok(turned(system, model, RebuildState::Running))
    }
}

fn turned(system: &System, model: ReadModel, state: RebuildState) -> RebuildTurned {
    system.rebuilds().wake();
    RebuildTurned { projection: model.name, state: state.name().to_owned() }
}

/// Hold the rebuild of a projection from its next batch on; what it has done is kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRebuild {
    /// The projection, for example `recruit.pipeline`.
    #[schemars(length(min = 3, max = 120))]
    pub projection: String,
}

/// Let the rebuild of a projection go on, after a pause or after what made it fail was mended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRebuild {
    /// The projection, for example `recruit.pipeline`.
    #[schemars(length(min = 3, max = 120))]
    pub projection: String,
}

/// Give up the rebuild of a projection; the live tables stay as they are.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRebuild {
    /// The projection, for example `recruit.pipeline`.
    #[schemars(length(min = 3, max = 120))]
    pub projection: String,
}

/// Decide for the rebuilt tables of a projection: they catch up and replace the live ones.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SwapProjection {
    /// The projection, for example `recruit.pipeline`.
    #[schemars(length(min = 3, max = 120))]
    pub projection: String,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

/// Decide for the live tables of a projection: the rebuilt ones are dropped.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepProjection {
    /// The projection, for example `recruit.pipeline`.
    #[schemars(length(min = 3, max = 120))]
    pub projection: String,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

/// Implements the wishes that only turn a rebuild: how, and the state it is in afterwards.
macro_rules! turns {
    ($wish:ty, $spec:expr, $turn:path, $state:ident) => {
        impl Action for $wish {
            const SPEC: Spec = $spec.needs(Access::Operate);
            type Output = RebuildTurned;
            async fn act(self, system: &System) -> Result<RebuildTurned> {
                let model = find(system, &self.projection)?;
                $turn(system.pool(), &model.name, system.now()).await.map_err(refused)?;
                Ok(turned(system, model, RebuildState::$state))
            }
        }
    };
}

const PAUSE: Spec = Spec::invoke("pause_rebuild", "/projections/{projection}/pause");
const RESUME: Spec = Spec::invoke("resume_rebuild", "/projections/{projection}/resume");
const CANCEL: Spec = Spec::invoke("cancel_rebuild", "/projections/{projection}/cancel");
const SWAP: Spec = Spec::invoke("swap_projection", "/projections/{projection}/swap");
const KEEP: Spec = Spec::invoke("keep_projection", "/projections/{projection}/keep");

turns!(PauseRebuild, PAUSE, replay::pause, Paused);
turns!(ResumeRebuild, RESUME, replay::resume, Running);
turns!(CancelRebuild, CANCEL, replay::cancel, Cancelled);
// The tables so far are gone afterwards.
turns!(SwapProjection, SWAP.destroys(), replay::accept, Running);
turns!(KeepProjection, KEEP, replay::keep, Kept);
