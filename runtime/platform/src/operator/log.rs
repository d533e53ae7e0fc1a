//! Looking at the log: cursors, the newest events, and whether the chain holds.

use kernel::{EventId, OrgId, Position, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::verification::{ChainReport, NotVerified, POSITIONS_AT_ONCE_MAX};
use crate::feed;
use crate::operation::{Access, Action, Spec};
use crate::progress::Progress;
use crate::refusal::Result;
use crate::subtree;
use crate::system::System;

/// List the cursors of all subscriptions and projections, with their lag.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCursors {}

/// The cursors of all subscriptions and projections.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cursors {
    /// The last sealed position.
    pub head: Position,
    /// The cursors, by name.
    pub items: Vec<CursorLag>,
}

/// How far a subscription or projection has come.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CursorLag {
    /// The persistent name, for example `pulse.draft_roster_template`.
    pub name: String,
    /// The last position handled.
    pub position: Position,
    /// Sealed events that wait for it; events of no concern to it do not count. At most 1,000.
    pub lag: u32,
    /// When it last moved.
    pub updated_at: Timestamp,
}

impl Action for ListCursors {
    const SPEC: Spec = Spec::read("list_cursors", "/cursors").needs(Access::Operate);
    type Output = Cursors;
    async fn act(self, system: &System) -> Result<Cursors> {
        let mut reading = store::begin_reading(system.pool()).await?;
        let head = store::read::head(&mut reading).await?;
        let cursors = store::cursor::list(&mut reading).await?;
        let mut items = Vec::new();
        for following in system.catalog().domains().iter().flat_map(subtree::cursors) {
            let cursor = cursors.iter().find(|cursor| cursor.name == following.name);
            // A consumer that has not started yet has no cursor.
            let Some(cursor) = cursor else { continue };
            let filter = &following.filter;
            let waiting =
                store::read::matching(&mut reading, cursor.position, head, filter, LAG_MAX).await?;
            items.push(CursorLag {
                name: following.name,
                position: cursor.position,
                lag: u32::try_from(waiting.len()).unwrap_or(LAG_MAX),
                updated_at: cursor.updated_at,
            });
        }
        reading.rollback().await?;
        items.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(Cursors { head, items })
    }
}

/// A lag is counted this far; beyond it, more is only more.
const LAG_MAX: u32 = 1_000;

/// List sealed events of all organisations, in order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEvents {
    /// List what comes after this position; the newest events unless told.
    #[serde(default)]
    pub after: Option<i64>,
    /// How many to list; 50 unless told.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: u32,
}

const fn fifty() -> u32 {
    50
}

/// Sealed events, in order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SealedEvents {
    /// The last sealed position.
    pub head: Position,
    /// The events.
    pub items: Vec<SealedEventView>,
}

/// A sealed event, for people.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SealedEventView {
    /// Place in the order of everything.
    pub position: Position,
    /// Identity of the event.
    pub event_id: EventId,
    /// The organisation it belongs to.
    pub org_id: OrgId,
    /// Place in the chain of its organisation.
    pub org_sequence: i64,
    /// The domain that recorded it.
    pub domain: String,
    /// Its type.
    pub event_type: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Who recorded it, and in which chain of causes.
    pub scope: Value,
    /// The fact.
    pub data: Value,
    /// The link of its organisation's chain, 64 hexadecimal digits.
    pub hash: String,
}

impl Action for ListEvents {
    const SPEC: Spec = Spec::read("list_events", "/events").needs(Access::Operate);
    type Output = SealedEvents;
    async fn act(self, system: &System) -> Result<SealedEvents> {
        let log = system.log();
        let head = feed::sealed_head(log).await?;
        let newest = Position((head.0 - i64::from(self.limit)).max(0));
        let after = self.after.map_or(newest, Position);
        let events = feed::after_position(log, after, self.limit).await?;
        let items = events.into_iter().map(|event| {
            Ok(SealedEventView {
                position: event.position,
                event_id: event.event_id,
                org_id: event.org_id,
                org_sequence: event.org_sequence,
                data: serde_json::from_slice(&event.payload)?,
                scope: serde_json::to_value(&event.scope)?,
                domain: event.domain,
                event_type: event.event_type,
                recorded_at: event.recorded_at,
                hash: event.hash.to_string(),
            })
        });
        Ok(SealedEvents { head, items: items.collect::<Result<_>>()? })
    }
}

/// Walk the chain of one organisation, or of all, and report every broken link, while you wait.
///
/// For a log of up to 500,000 events; beyond that, use `start_verification`.
///
/// An event that was changed, removed, inserted or swapped breaks the chain at its place.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyChain {
    /// Only this organisation; all of them unless told.
    #[serde(default)]
    pub org_id: Option<OrgId>,
}

impl Action for VerifyChain {
    const SPEC: Spec = Spec::invoke("verify_chain", "/verify").needs(Access::Operate);
    type Output = ChainReport;
    async fn act(self, system: &System) -> Result<ChainReport> {
        let mut reading = store::begin_reading(system.pool()).await?;
        let head = store::read::head(&mut reading).await?;
        reading.rollback().await?;
        if head.0 > POSITIONS_AT_ONCE_MAX {
            return Err(NotVerified::TooLong(head.0).into());
        }
        let told = |at: store::verify::Progress| {
            let steps = |position: Position| u64::try_from(position.0).unwrap_or_default();
            system.progress(Progress { done: steps(at.position), total: Some(steps(at.head)) });
        };
        let verdict = store::verify::verify(system.pool(), self.org_id, told).await?;
        Ok(ChainReport::of(&verdict))
    }
}
