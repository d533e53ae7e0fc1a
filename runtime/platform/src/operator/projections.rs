//! Looking at projections: what fills them, what they hold, how far their rebuilds are.

use kernel::{Position, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::replay::{self, ProjectionRecord, ReadModel, RebuildRecord, RebuildState, TableDigest};
use uuid::Uuid;

use super::rebuilds::find;
use crate::operation::{Access, Action, Spec};
use crate::projection::rebuilds::read_models;
use crate::refusal::Result;
use crate::system::System;

/// List the projections, with what fills them and how far their rebuilds are.
///
/// A projection whose tables were filled by another version of its logic needs to be rebuilt.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProjections {}

/// The projections of all domains.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Projections {
    /// The last sealed position.
    pub head: Position,
    /// The projections, by name.
    pub items: Vec<ProjectionView>,
}

/// A projection: a read model that a domain builds from events.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProjectionView {
    /// Its name, for example `recruit.pipeline`.
    pub projection: String,
    /// The tables it fills, in the schema of its domain.
    pub tables: Vec<String>,
    /// The version of the logic in this release.
    pub version: u16,
    /// The version of the logic that filled the tables.
    pub live_version: u16,
    /// Whether the tables were filled by another version than this release has.
    pub needs_rebuild: bool,
    /// The last position handled by the live tables.
    pub position: Position,
    /// When the tables were last made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt_at: Option<Timestamp>,
    /// What the tables held when they were last digested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<DigestView>,
    /// The last position handled when they were digested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_position: Option<Position>,
    /// The rebuild that is under way, or else the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<RebuildView>,
}

/// The digest of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DigestView {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 over its rows in the order of the primary key, 64 hexadecimal digits.
    pub sha256: String,
}

/// A rebuild of a projection.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RebuildView {
    /// Its identity.
    pub rebuild_id: Uuid,
    /// `running`, `paused`, `failed`, `ready`, `digest_mismatch`, `swapped`, `kept` or `cancelled`.
    pub state: String,
    /// Why it was asked for.
    pub reason: String,
    /// The version of the logic it applies.
    pub version: u16,
    /// The last position handled.
    pub position: Position,
    /// The position it has to reach: that of the live tables.
    pub target: Position,
    /// How far it is, in percent of the positions.
    pub percent: u8,
    /// Events applied.
    pub events: u64,
    /// Events applied per second, lately.
    pub events_per_second: u64,
    /// Seconds until it has caught up, at the pace of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_seconds: Option<u64>,
    /// Events that share a commit at most.
    pub batch_size: u32,
    /// Events per second at most; absent when it goes as fast as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<u32>,
    /// What the two sides held when it had caught up, with the first rows that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Value>,
    /// Why it cannot go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it last got anywhere.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl From<&TableDigest> for DigestView {
    fn from(digest: &TableDigest) -> Self {
        let TableDigest { table, rows, sha256 } = digest.clone();
        Self { table, rows, sha256 }
    }
}

impl RebuildView {
    fn of(rebuild: RebuildRecord, live: Position) -> Result<Self> {
        let is_over = rebuild.state.is_over();
        let target = if is_over { rebuild.position } else { live.max(rebuild.position) };
        let remaining = u64::try_from(target.0 - rebuild.position.0).unwrap_or_default();
        let remaining_seconds = (rebuild.state == RebuildState::Running)
            .then(|| remaining.checked_div(rebuild.positions_per_second))
            .flatten();
        let passed = u64::try_from(rebuild.position.0).unwrap_or_default();
        let percent = (passed * 100).checked_div(passed + remaining).unwrap_or(100);
        Ok(Self {
            rebuild_id: rebuild.rebuild_id,
            state: rebuild.state.name().to_owned(),
            reason: rebuild.reason,
            version: rebuild.version,
            position: rebuild.position,
            target,
            percent: u8::try_from(percent).unwrap_or(100),
            events: rebuild.events,
            events_per_second: rebuild.events_per_second,
            remaining_seconds,
            batch_size: rebuild.batch_size,
            throttle: rebuild.throttle,
            comparison: rebuild.comparison.map(serde_json::to_value).transpose()?,
            failure: rebuild.failure,
            started_at: rebuild.started_at,
            updated_at: rebuild.updated_at,
            finished_at: rebuild.finished_at,
        })
    }
}

impl ProjectionView {
    fn of(model: ReadModel, record: ProjectionRecord) -> Result<Self> {
        let ProjectionRecord { live, position, rebuild, .. } = record;
        Ok(Self {
            projection: model.name,
            tables: model.tables,
            version: model.version,
            live_version: live.version,
            needs_rebuild: live.version != model.version,
            position,
            rebuilt_at: live.rebuilt_at,
            digests: live.digests.iter().map(DigestView::from).collect(),
            digest_position: live.digest_position,
            rebuild: rebuild.map(|rebuild| RebuildView::of(rebuild, position)).transpose()?,
        })
    }
}

impl Action for ListProjections {
    const SPEC: Spec = Spec::read("list_projections", "/projections").needs(Access::Operate);
    type Output = Projections;
    async fn act(self, system: &System) -> Result<Projections> {
        let mut reading = store::begin_reading(system.pool()).await?;
        let head = store::read::head(&mut reading).await?;
        let records = replay::list(&mut reading).await?;
        reading.rollback().await?;
        let mut items = Vec::new();
        for model in read_models(system.catalog()) {
            // One whose process has not started yet is not on record.
            let record = records.iter().find(|record| record.name == model.name);
            let Some(record) = record.cloned() else { continue };
            items.push(ProjectionView::of(model, record)?);
        }
        items.sort_unstable_by(|one, other| one.projection.cmp(&other.projection));
        Ok(Projections { head, items })
    }
}

/// Digest the live tables of a projection, to compare them with those of another system.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestProjection {
    /// The projection, for example `recruit.pipeline`.
    #[schemars(length(min = 3, max = 120))]
    pub projection: String,
}

/// What the tables of a projection hold.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProjectionDigest {
    /// The projection.
    pub projection: String,
    /// The last position they have handled.
    pub position: Position,
    /// The digest of each table.
    pub tables: Vec<DigestView>,
}

impl Action for DigestProjection {
    const SPEC: Spec = Spec::invoke("digest_projection", "/projections/{projection}/digest")
        .needs(Access::Operate)
        .keeps_answer();
    type Output = ProjectionDigest;
    async fn act(self, system: &System) -> Result<ProjectionDigest> {
        let model = find(system, &self.projection)?;
        let (position, digests) = replay::digest_live(system.pool(), &model).await?;
        let tables = digests.iter().map(DigestView::from).collect();
        Ok(ProjectionDigest { projection: model.name, position, tables })
    }
}
