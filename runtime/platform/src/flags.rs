//! Feature flags: what an organisation has switched on or off, remembered on each node.
//!
//! A domain declares its flags ([`Domain::flag`](crate::Domain::flag)), so a name that means
//! nothing is found out. What an organisation has not set is as declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::{DomainName, OrgId};
use sqlx::PgConnection;

use crate::catalog::Catalog;
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::remembered::{Asked, Recalled, Remembered};
use crate::system::System;
use crate::tx::{Snapshot, Tx};

/// A flag, as its domain declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagDeclaration {
    /// The persistent name, the only one of its kind in the installation.
    pub name: &'static str,
    /// Whose it is.
    pub domain: DomainName,
    /// What switching it on does, as a sentence.
    pub description: &'static str,
    /// Whether it is on for an organisation that has not set it.
    pub default: bool,
}

/// No domain declares a flag of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no feature flag `{name}`{}", nearest.map_or_else(String::new, meant))]
pub struct UnknownFlag {
    /// The name.
    pub name: String,
    /// The declared name that is most like it, if there is any.
    pub nearest: Option<&'static str>,
}

fn meant(nearest: &str) -> String {
    format!("; did you mean `{nearest}`?")
}

impl Refusal for UnknownFlag {
    fn reason(&self) -> Reason {
        Reason::not_found("unknown_feature_flag").at("/name")
    }
}

impl Catalog {
    /// All feature flags of all domains.
    pub fn flags(&self) -> impl Iterator<Item = &FlagDeclaration> {
        self.domains().iter().flat_map(|domain| &domain.flags)
    }

    /// The feature flag of that name.
    ///
    /// # Errors
    /// [`UnknownFlag`] names the one that was probably meant.
    pub fn flag(&self, name: &str) -> Result<&FlagDeclaration, UnknownFlag> {
        self.flags().find(|flag| flag.name == name).ok_or_else(|| {
            let distance = |flag: &&FlagDeclaration| strsim::damerau_levenshtein(name, flag.name);
            let nearest = self.flags().min_by_key(distance).map(|flag| flag.name);
            UnknownFlag { name: name.to_owned(), nearest }
        })
    }
}

/// What organisations have set, as far as this node knows.
pub(crate) type FlagMemory = Remembered<OrgId, Arc<BTreeMap<String, bool>>>;

/// The feature flags of a system, for processes and jobs. Operations ask their transaction.
#[derive(Debug, Clone, Copy)]
pub struct Flags<'a>(&'a System);

impl Flags<'_> {
    /// Whether a flag is on for an organisation.
    ///
    /// # Errors
    /// A failure when no domain declares the flag; [`Error::Unavailable`] when the database does
    /// not answer and this node does not know.
    pub async fn is_on(&self, org_id: OrgId, name: &str) -> Result<bool> {
        let system = self.0;
        match recalled(system, org_id, name)? {
            Known::Is(is_on) => Ok(is_on),
            Known::Not(asked, default) => {
                let mut reading = store::begin(system.pool()).await?;
                let set = set_by(&mut reading, org_id).await?;
                reading.rollback().await?;
                Ok(kept(system, asked, org_id, set, name, default))
            }
        }
    }
}

impl System {
    /// What organisations have switched on and off.
    #[must_use]
    pub const fn flags(&self) -> Flags<'_> {
        Flags(self)
    }
}

impl Tx<'_> {
    /// Whether a feature flag is on for the organisation of this transaction.
    ///
    /// # Errors
    /// A failure when no domain declares the flag, and in a projection, which must be the same
    /// whatever is switched on.
    pub async fn is_on(&mut self, name: &str) -> Result<bool> {
        let (system, org_id) = (self.system()?, self.org_id());
        is_on(system, self.connection(), org_id, name).await
    }
}

impl Snapshot<'_> {
    /// Whether a feature flag is on for the organisation of this snapshot.
    ///
    /// # Errors
    /// A failure when no domain declares the flag.
    pub async fn is_on(&mut self, name: &str) -> Result<bool> {
        let (system, org_id) = (self.system(), self.org_id());
        is_on(system, self.connection(), org_id, name).await
    }
}

async fn is_on(
    system: &System,
    connection: &mut PgConnection,
    org_id: OrgId,
    name: &str,
) -> Result<bool> {
    match recalled(system, org_id, name)? {
        Known::Is(is_on) => Ok(is_on),
        Known::Not(asked, default) => {
            let set = set_by(connection, org_id).await?;
            Ok(kept(system, asked, org_id, set, name, default))
        }
    }
}

enum Known {
    Is(bool),
    Not(Asked, bool),
}

fn recalled(system: &System, org_id: OrgId, name: &str) -> Result<Known> {
    let declared = system.catalog().flag(name).map_err(Error::failure)?;
    Ok(match system.flag_memory().recall(&org_id) {
        Recalled::Answer(set) => Known::Is(set.get(name).copied().unwrap_or(declared.default)),
        Recalled::Nothing(asked) => Known::Not(asked, declared.default),
    })
}

fn kept(
    system: &System,
    asked: Asked,
    org_id: OrgId,
    set: BTreeMap<String, bool>,
    name: &str,
    default: bool,
) -> bool {
    let is_on = set.get(name).copied().unwrap_or(default);
    system.flag_memory().keep(asked, org_id, Arc::new(set));
    is_on
}

/// What an organisation has set; whoever asks may be one that sees others as well.
async fn set_by(connection: &mut PgConnection, org_id: OrgId) -> Result<BTreeMap<String, bool>> {
    let rows: Vec<(String, bool)> = sqlx::query_as(
        "select name, is_on from platform.feature_flags where org_id = $1 and is_on is not null",
    )
    .bind(org_id)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}
