//! A warehouse: a domain with what every surface meets, and no table.
//!
//! The tests of a surface begin with [`domain`] and add what they alone ask for.

use std::time::Duration;

use platform::{
    Command, Domain, DomainName, Error, Event, EventType, Id, Query, Reason, Refusal, Result,
    Snapshot, Spec, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the domain is called.
pub const FIXTURE: DomainName = DomainName::new("fixture");
/// The lock of the database that holds up whoever packs a slow crate.
pub const SLOW: i64 = 7;

/// What a crate identifies.
#[derive(Debug)]
pub enum CrateMarker {}

/// A crate of the warehouse.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Crate {
    /// Which crate.
    pub crate_id: Id<CrateMarker>,
    /// What is written on it.
    pub label: String,
}

/// A crate was packed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CratePacked {
    /// Which crate.
    pub crate_id: Id<CrateMarker>,
    /// What is written on it.
    pub label: String,
}

impl Event for CratePacked {
    const TYPE: EventType = FIXTURE.event("crate_packed", 1);
    fn aggregate_id(&self) -> Uuid {
        self.crate_id.uuid()
    }
}

/// What the warehouse says no to.
#[derive(Debug, thiserror::Error)]
pub enum Rule {
    /// A label is no place for it.
    #[error("the label `{0}` is a joke")]
    Joke(String),
    /// Nobody packed it.
    #[error("there is no crate {0}")]
    NoCrate(Id<CrateMarker>),
    /// Nobody may look into it again.
    #[error("the crate {0} is sealed")]
    Sealed(Id<CrateMarker>),
    /// Somebody was quicker.
    #[error("the crate has changed since it was read")]
    Changed,
}

impl Refusal for Rule {
    fn reason(&self) -> Reason {
        match self {
            Self::Joke(_) => Reason::invalid("joke").at("/label"),
            Self::NoCrate(_) => Reason::not_found("no_crate"),
            Self::Sealed(_) => Reason::conflict("sealed"),
            Self::Changed => Reason::stale("crate_changed"),
        }
    }
}

/// Pack a crate.
///
/// The label must not be a joke.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackCrate {
    /// What is written on it.
    #[schemars(length(min = 1, max = 40))]
    pub label: String,
}

impl Command for PackCrate {
    const SPEC: Spec = Spec::create("pack_crate", "/crates");
    type Output = Crate;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Crate> {
        match self.label.as_str() {
            "joke" => return Err(Rule::Joke(self.label).into()),
            "stale" => return Err(Rule::Changed.into()),
            "limited" => return Err(Error::limited("too many crates", Duration::from_secs(3))),
            "panic" => panic!("the label says so"),
            "slow" => {
                let wait = sqlx::query("select pg_advisory_xact_lock($1)").bind(SLOW);
                wait.execute(tx.connection()).await?;
            }
            _ => {}
        }
        let packed = CratePacked { crate_id: Id::new(), label: self.label };
        tx.append(&packed).await?;
        Ok(Crate { crate_id: packed.crate_id, label: packed.label })
    }
}

/// Show a crate.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetCrate {
    /// Which crate.
    pub crate_id: Id<CrateMarker>,
}

impl Query for GetCrate {
    const SPEC: Spec = Spec::read("get_crate", "/crates/{crate_id}");
    type Output = Crate;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Crate> {
        Err(Rule::NoCrate(self.crate_id).into())
    }
}

/// The domain.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(FIXTURE).command::<PackCrate>().query::<GetCrate>().emits::<CratePacked>()
}
