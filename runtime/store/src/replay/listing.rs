//! Looking at projections and their rebuilds.

use std::fmt;

use kernel::{Position, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{Comparison, TableDigest};

/// What a rebuild is doing, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildState {
    /// It fills the shadow, or will as soon as some node comes to it.
    Running,
    /// It waits for an operator, with its shadow as it is.
    Paused,
    /// It cannot go on; what is wrong is on record. It may be resumed or cancelled.
    Failed,
    /// It has caught up and waits for an operator to swap or to keep the live tables.
    Ready,
    /// It has caught up, and what it made is not what the same logic had made before. It waits for
    /// an operator to swap or to keep the live tables.
    DigestMismatch,
    /// Its tables are the live ones now.
    Swapped,
    /// The live tables were kept.
    Kept,
    /// It was given up.
    Cancelled,
}

impl RebuildState {
    const ALL: [Self; 8] = [
        Self::Running,
        Self::Paused,
        Self::Failed,
        Self::Ready,
        Self::DigestMismatch,
        Self::Swapped,
        Self::Kept,
        Self::Cancelled,
    ];

    /// The name in the table and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Ready => "ready",
            Self::DigestMismatch => "digest_mismatch",
            Self::Swapped => "swapped",
            Self::Kept => "kept",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it has ended and has no shadow any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Swapped | Self::Kept | Self::Cancelled)
    }
}

impl fmt::Display for RebuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The live tables of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTables {
    /// The version of the logic that filled them.
    pub version: u16,
    /// What they held when they were last digested.
    pub digests: Vec<TableDigest>,
    /// Where their cursor stood then.
    pub digest_position: Option<Position>,
    /// When they took the place of others.
    pub rebuilt_at: Option<Timestamp>,
}

/// A projection on record, with its last rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionRecord {
    /// Its persistent name.
    pub name: String,
    /// Its live tables.
    pub live: LiveTables,
    /// Where its cursor stands.
    pub position: Position,
    /// The rebuild that is under way, or else the last one.
    pub rebuild: Option<RebuildRecord>,
}

/// A rebuild on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildRecord {
    /// Its identity.
    pub rebuild_id: Uuid,
    /// The version of the logic that fills the shadow.
    pub version: u16,
    /// What it is doing.
    pub state: RebuildState,
    /// Why it was asked for.
    pub reason: String,
    /// The shadow holds the effect of everything up to here.
    pub position: Position,
    /// Events applied.
    pub events: u64,
    /// Events applied per second, lately.
    pub events_per_second: u64,
    /// Positions passed per second, lately.
    pub positions_per_second: u64,
    /// Events that share a commit at most.
    pub batch_size: u32,
    /// Events per second at most.
    pub throttle: Option<u32>,
    /// What the two sides held in the end.
    pub comparison: Option<Comparison>,
    /// Why it cannot go on.
    pub failure: Option<String>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it last got anywhere.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// All projections on record, by name, with the rebuild under way or the last one.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<ProjectionRecord>, sqlx::Error> {
    let rows = sqlx::query(
        "select known.name, known.version as live_version, known.digests, known.digest_position,
             known.rebuilt_at, coalesce(cursors.position, 0) as live_position, rebuild_id,
             last.version, state, reason, last.position, events, events_per_second,
             positions_per_second, batch_size, throttle, comparison, failure, started_at,
             last.updated_at, finished_at
         from events.projections as known
         left join events.cursors on cursors.name = known.name
         left join lateral (
             select rebuild_id, version, state, reason, position, events, events_per_second,
                 positions_per_second, batch_size, throttle, comparison, failure, started_at,
                 updated_at, finished_at
             from events.rebuilds where projection = known.name
             order by started_at desc, rebuild_id desc limit 1
         ) as last on true
         order by known.name",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(projection_record).collect()
}

fn projection_record(row: &PgRow) -> Result<ProjectionRecord, sqlx::Error> {
    let digests: Option<Json<Vec<TableDigest>>> = row.try_get("digests")?;
    let live = LiveTables {
        version: unsigned(row.try_get("live_version")?)?,
        digests: digests.map_or_else(Vec::new, |digests| digests.0),
        digest_position: row.try_get::<Option<i64>, _>("digest_position")?.map(Position),
        rebuilt_at: row.try_get("rebuilt_at")?,
    };
    let rebuild_id: Option<Uuid> = row.try_get("rebuild_id")?;
    Ok(ProjectionRecord {
        name: row.try_get("name")?,
        live,
        position: Position(row.try_get("live_position")?),
        rebuild: rebuild_id.map(|id| rebuild_record(row, id)).transpose()?,
    })
}

fn rebuild_record(row: &PgRow, rebuild_id: Uuid) -> Result<RebuildRecord, sqlx::Error> {
    let count = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let comparison: Option<Json<Comparison>> = row.try_get("comparison")?;
    Ok(RebuildRecord {
        rebuild_id,
        version: unsigned(row.try_get("version")?)?,
        state: state_of(row.try_get("state")?)?,
        reason: row.try_get("reason")?,
        position: Position(row.try_get("position")?),
        events: count("events")?,
        events_per_second: count("events_per_second")?,
        positions_per_second: count("positions_per_second")?,
        batch_size: row.try_get::<i32, _>("batch_size")?.cast_unsigned(),
        throttle: row.try_get::<Option<i32>, _>("throttle")?.map(i32::cast_unsigned),
        comparison: comparison.map(|comparison| comparison.0),
        failure: row.try_get("failure")?,
        started_at: row.try_get("started_at")?,
        updated_at: row.try_get("updated_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}

pub(super) fn unsigned(version: i32) -> Result<u16, sqlx::Error> {
    u16::try_from(version).map_err(|error| sqlx::Error::Decode(error.into()))
}

pub(super) fn state_of(name: &str) -> Result<RebuildState, sqlx::Error> {
    let known = RebuildState::ALL.into_iter().find(|state| state.name() == name);
    known.ok_or_else(|| sqlx::Error::Decode(format!("`{name}` is no state of a rebuild").into()))
}
