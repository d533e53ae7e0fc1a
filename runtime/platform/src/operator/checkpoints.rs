//! Checkpoints: what was signed, where it was exported to, and proofs that stand on it.

use kernel::{EventId, Position, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::checkpoint::{self, Checkpoint, Proof, ProofError};

use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// Why there is no such checkpoint or proof.
#[derive(Debug, thiserror::Error)]
enum NotProven {
    #[error("there is no checkpoint {0}")]
    NoSuchCheckpoint(i64),
    #[error("{0}")]
    NoSuchEvent(String),
    #[error("{0}")]
    NotYet(String),
    #[error("{0}")]
    Damaged(String),
}

impl Refusal for NotProven {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchCheckpoint(_) => Reason::not_found("no_such_checkpoint").at("/number"),
            Self::NoSuchEvent(_) => Reason::not_found("no_such_event").at("/event_id"),
            Self::NotYet(_) => Reason::conflict("not_covered_yet").at("/event_id"),
            Self::Damaged(_) => Reason::conflict("log_is_damaged").at("/event_id"),
        }
    }
}

/// List the signed checkpoints of the log, the newest first, and where they were exported to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCheckpoints {
    /// List what was made before this one; the newest unless told.
    #[serde(default)]
    pub before: Option<i64>,
    /// How many to list; 50 unless told.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: u32,
}

const fn fifty() -> u32 {
    50
}

/// Signed checkpoints of the log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoints {
    /// The checkpoints, the newest first.
    pub items: Vec<CheckpointView>,
    /// The places they are exported to.
    pub places: Vec<PlaceView>,
}

/// A signed checkpoint.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointView {
    /// Its number, from 1.
    pub number: i64,
    /// The last position it covers.
    pub position: Position,
    /// How many organisations had events.
    pub organisations: u64,
    /// The root over the chains of all organisations, 64 hexadecimal digits.
    pub root: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The key it is signed with, 64 hexadecimal digits.
    pub public_key: String,
}

/// A place that keeps checkpoints outside the database.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlaceView {
    /// What it is called.
    pub name: String,
    /// The last checkpoint it keeps; it keeps all before, too.
    pub number: i64,
    /// How often in a row it did not take the next one.
    pub failures: i32,
    /// Why not, the last time.
    pub last_error: Option<String>,
    /// When it was last tried.
    pub updated_at: Timestamp,
}

impl Action for ListCheckpoints {
    const SPEC: Spec = Spec::read("list_checkpoints", "/checkpoints").needs(Access::Operate);
    type Output = Checkpoints;
    async fn act(self, system: &System) -> Result<Checkpoints> {
        let mut reading = store::begin_reading(system.pool()).await?;
        let items = checkpoint::list(&mut reading, self.before, self.limit).await?;
        let places = checkpoint::export::exported(&mut reading).await?;
        reading.rollback().await?;
        let view = |listed: checkpoint::Listed| CheckpointView {
            number: listed.body.number,
            position: listed.body.position,
            organisations: listed.body.organisations,
            root: listed.body.root.to_string(),
            created_at: listed.created_at,
            public_key: listed.signed.public_key.to_string(),
        };
        let place = |place: checkpoint::export::Exported| PlaceView {
            name: place.place,
            number: place.number,
            failures: place.failures,
            last_error: place.last_error,
            updated_at: place.updated_at,
        };
        Ok(Checkpoints {
            items: items.into_iter().map(view).collect(),
            places: places.into_iter().map(place).collect(),
        })
    }
}

/// Get a signed checkpoint as the file that others keep of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetCheckpoint {
    /// Its number.
    pub number: i64,
}

impl Action for GetCheckpoint {
    const SPEC: Spec = Spec::read("get_checkpoint", "/checkpoint").needs(Access::Operate);
    type Output = Checkpoint;
    async fn act(self, system: &System) -> Result<Checkpoint> {
        let mut reading = store::begin_reading(system.pool()).await?;
        let file = checkpoint::file(&mut reading, self.number).await?;
        reading.rollback().await?;
        Ok(file.ok_or(NotProven::NoSuchCheckpoint(self.number))?)
    }
}

/// Prove that one event is in the log, to somebody who sees no other event and no other
/// organisation.
///
/// The proof stands on the first signed checkpoint after the event; docs/event-format.md says how
/// it is checked, and `finnest events check-proof` checks it without a platform.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProveEvent {
    /// Which event.
    pub event_id: EventId,
}

impl Action for ProveEvent {
    const SPEC: Spec = Spec::read("prove_event", "/events/{event_id}/proof").needs(Access::Operate);
    type Output = Proof;
    async fn act(self, system: &System) -> Result<Proof> {
        let mut reading = store::begin_reading(system.pool()).await?;
        let proof = checkpoint::prove(&mut reading, self.event_id).await;
        reading.rollback().await?;
        proof.map_err(refused)
    }
}

fn refused(error: ProofError) -> Error {
    let message = error.to_string();
    match error {
        ProofError::Database(error) => error.into(),
        ProofError::Unknown(_) | ProofError::Missing(_) => NotProven::NoSuchEvent(message).into(),
        ProofError::NotCovered(_) => NotProven::NotYet(message).into(),
        _ => NotProven::Damaged(message).into(),
    }
}
