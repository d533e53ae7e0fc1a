//! What the fixture has of lists, versions and deprecated operations; no table either.

use std::sync::LazyLock;

use platform::{
    Command, Cursor, Deprecation, Limit, Listing, Query, Reason, Refusal, Result, Snapshot, Spec,
    Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How many shelves there are.
const SHELVES: u32 = 45;
/// The version of the one sign.
const VERSION: i64 = 7;

/// List shelves.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListShelves {
    /// The most to list.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default)]
    pub cursor: Option<Cursor>,
}

fn page(limit: Limit, cursor: Option<&Cursor>) -> Result<Listing<u32>> {
    let after: u32 = cursor.map(Cursor::key).transpose()?.unwrap_or(0);
    let rows = (after + 1..=SHELVES).take(limit.count() + 1).collect();
    Ok(Listing::of(rows, limit, |row| *row))
}

impl Query for ListShelves {
    const SPEC: Spec = Spec::read("list_shelves", "/shelves");
    type Output = Listing<u32>;
    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Listing<u32>> {
        page(self.limit, self.cursor.as_ref())
    }
}

/// List the boards that shelves were before.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListBoards {
    /// Where to go on.
    #[serde(default)]
    pub cursor: Option<Cursor>,
}

impl Query for ListBoards {
    const SPEC: Spec = Spec::read("list_boards", "/boards")
        .deprecated(Deprecation::since("2026-11-21").until("2027-05-01").instead("list_shelves"));
    type Output = Listing<u32>;
    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Listing<u32>> {
        page(Limit::default(), self.cursor.as_ref())
    }
}

/// The sign over the door.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sign {
    /// What it says.
    text: String,
    /// Which version of it this is.
    version: i64,
}

/// Read the sign.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetSign {}

impl Query for GetSign {
    const SPEC: Spec = Spec::read("get_sign", "/sign");
    type Output = Sign;
    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Sign> {
        Ok(Sign { text: "open".into(), version: VERSION })
    }
}

/// Paint the sign.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaintSign {
    /// What it is to say.
    pub text: String,
    /// The version that was read.
    pub expected_version: i64,
}

#[derive(Debug, thiserror::Error)]
#[error("the sign has version {VERSION}, not {0}")]
struct Repainted(i64);

impl Refusal for Repainted {
    fn reason(&self) -> Reason {
        Reason::stale("repainted")
    }
}

impl Command for PaintSign {
    const SPEC: Spec = Spec::replace("paint_sign", "/sign");
    type Output = Sign;
    async fn handle(self, _: &mut Tx<'_>) -> Result<Sign> {
        if self.expected_version != VERSION {
            return Err(Repainted(self.expected_version).into());
        }
        Ok(Sign { text: self.text, version: VERSION + 1 })
    }
}

/// Told when somebody holds the door.
pub(crate) static HELD: LazyLock<Notify> = LazyLock::new(Notify::new);
/// Tells whoever holds the door to let it go.
pub(crate) static LET_GO: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Hold the door until told to let it go.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldDoor {}

impl Command for HoldDoor {
    const SPEC: Spec = Spec::invoke("hold_door", "/door/hold");
    type Output = ();
    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        HELD.notify_one();
        LET_GO.notified().await;
        Ok(())
    }
}
