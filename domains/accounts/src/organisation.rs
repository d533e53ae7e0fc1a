//! The organisation that acts, as its own members see and keep it.

use contracts::accounts::OrganisationAmended;
use platform::{
    Access, Command, OrgId, Query, Reason, Refusal, Result, Snapshot, Spec, Tx, trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::stale;

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Organisation {
    /// The name it is known by.
    pub name: String,
    /// Its short name, which its people sign in with.
    pub slug: String,
    /// Its Australian Business Number, eleven digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abn: Option<String>,
    /// What links in letters to its people begin with, for example `https://work.acme.example`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Which version of these particulars this is.
    pub version: i64,
}

pub(crate) async fn find(connection: &mut PgConnection, org_id: OrgId) -> Result<Organisation> {
    let (name, slug, abn, address, version) = sqlx::query_as(
        "select name, slug, abn, settings->>'address', version
         from platform.organisations where id = $1",
    )
    .bind(org_id)
    .fetch_one(connection)
    .await?;
    Ok(Organisation { name, slug, abn, address, version })
}

/// Get my organisation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetOrganisation {}

impl Query for GetOrganisation {
    const SPEC: Spec = Spec::read("get_organisation", "/organisation").needs(Access::Member);
    type Output = Organisation;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Organisation> {
        let org_id = db.org_id();
        find(db.connection(), org_id).await
    }
}

/// What the rules of organisations say no to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrganisationRefusal {
    #[error("`{0}` is no ABN: eleven digits are expected whose check digits fit")]
    Abn(String),
    #[error("`{0}` is no address that links can begin with, as in https://work.acme.example")]
    Address(String),
}

impl Refusal for OrganisationRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Abn(_) => Reason::invalid("bad_abn").at("/abn"),
            Self::Address(_) => Reason::invalid("bad_address").at("/address"),
        }
    }
}

/// The digits of an ABN, if its check digits fit.
fn abn(text: &str) -> Result<String, OrganisationRefusal> {
    const WEIGHTS: [u32; 11] = [10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19];
    let refused = || OrganisationRefusal::Abn(text.to_owned());
    let digits: String = text.chars().filter(|each| !each.is_whitespace()).collect();
    let numbers: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(10)).collect();
    let numbers = numbers.filter(|numbers| numbers.len() == 11).ok_or_else(refused)?;
    let sum: u32 = WEIGHTS.iter().zip(&numbers).map(|(weight, digit)| weight * digit).sum();
    // The first digit counts as one less than it is.
    if sum >= 10 && (sum - 10).is_multiple_of(89) { Ok(digits) } else { Err(refused()) }
}

/// Whether links can begin with it: a scheme, a host, and nothing that ends or continues oddly.
fn is_address(text: &str) -> bool {
    let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    host.is_some_and(|host| {
        let is_plain = |each: char| each.is_ascii_alphanumeric() || ".-:/".contains(each);
        !host.is_empty() && !host.ends_with('/') && host.chars().all(is_plain)
    })
}

/// Change the particulars of my organisation.
///
/// What is left out is taken away.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmendOrganisation {
    /// The name it is known by.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Its Australian Business Number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), example = "51 824 753 556")]
    pub abn: Option<String>,
    /// What links in letters to its people begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), example = "https://work.acme.example")]
    pub address: Option<String>,
    /// The version that is changed.
    pub expected_version: i64,
}

impl Command for AmendOrganisation {
    const SPEC: Spec =
        Spec::replace("amend_organisation", "/organisation").needs(Access::Administer);
    type Output = Organisation;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Organisation> {
        let org_id = tx.org_id();
        let name = trimmed("/name", &self.name, 1..=200)?;
        let abn = self.abn.as_deref().map(abn).transpose()?;
        if let Some(address) = self.address.as_deref().filter(|address| !is_address(address)) {
            return Err(OrganisationRefusal::Address(address.to_owned()).into());
        }
        let found: i64 = sqlx::query_scalar(
            "select version from platform.organisations where id = $1 for update",
        )
        .bind(org_id)
        .fetch_one(tx.connection())
        .await?;
        stale::must_be(self.expected_version, found)?;
        sqlx::query(
            "update platform.organisations
             set name = $2, abn = $3, version = version + 1,
                 settings = case when $4::text is null then settings - 'address'
                     else jsonb_set(settings, '{address}', to_jsonb($4::text)) end
             where id = $1",
        )
        .bind(org_id)
        .bind(name)
        .bind(abn)
        .bind(self.address)
        .execute(tx.connection())
        .await?;
        let version = u64::try_from(found + 1).unwrap_or_default();
        tx.append(&OrganisationAmended { version, organisation_id: org_id.uuid() }).await?;
        find(tx.connection(), org_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abn_has_check_digits() {
        assert_eq!(abn("51 824 753 556").ok().as_deref(), Some("51824753556"));
        for wrong in ["51 824 753 557", "5182475355", "abcdefghijk", ""] {
            assert!(abn(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn links_begin_with_a_host() {
        for (text, is_right) in [
            ("https://work.acme.example", true),
            ("http://127.0.0.1:4000", true),
            ("https://", false),
            ("https://acme.example/", false),
            ("javascript:alert(1)", false),
            ("https://acme.example/?a=", false),
        ] {
            assert_eq!(is_address(text), is_right, "{text}");
        }
    }
}
