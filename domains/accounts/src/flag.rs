//! Feature flags: what an organisation switches on or off for itself.

use std::collections::BTreeMap;

use contracts::accounts::FeatureFlagChanged;
use platform::{
    Access, Command, FlagDeclaration, Query, Result, Snapshot, Spec, Timestamp, Tx, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::me::user_of;

/// List the features that can be switched on or off for my organisation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListFeatureFlags {}

/// All features that can be switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureFlags {
    /// The features, by name.
    pub items: Vec<FeatureFlag>,
}

/// A feature that can be switched on or off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureFlag {
    /// By which it is switched.
    pub name: String,
    /// The domain whose behaviour it changes.
    pub domain: String,
    /// What switching it on does.
    pub description: String,
    /// Whether it is on.
    pub is_on: bool,
    /// Whether the organisation has set it; otherwise it is as it is for everybody.
    pub is_set: bool,
    /// When the organisation last changed it; absent if it never has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// Who changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<UserId>,
}

/// What an organisation has said of a flag.
type Said = (Option<bool>, Timestamp, UserId);

impl FeatureFlag {
    fn of(declared: &FlagDeclaration, said: Option<&Said>) -> Self {
        let set = said.and_then(|(is_on, ..)| *is_on);
        Self {
            name: declared.name.to_owned(),
            domain: declared.domain.to_string(),
            description: declared.description.to_owned(),
            is_on: set.unwrap_or(declared.default),
            is_set: set.is_some(),
            changed_at: said.map(|(_, at, _)| *at),
            changed_by: said.map(|(.., by)| *by),
        }
    }
}

impl Query for ListFeatureFlags {
    const SPEC: Spec = Spec::read("list_feature_flags", "/feature_flags").needs(Access::Member);
    type Output = FeatureFlags;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<FeatureFlags> {
        let rows: Vec<(String, Option<bool>, Timestamp, UserId)> = sqlx::query_as(
            "select name, is_on, changed_at, changed_by from platform.feature_flags
             where org_id = $1",
        )
        .bind(db.org_id())
        .fetch_all(db.connection())
        .await?;
        let said: BTreeMap<String, Said> =
            rows.into_iter().map(|(name, is_on, at, by)| (name, (is_on, at, by))).collect();
        let declared = db.catalog().flags();
        let mut items: Vec<FeatureFlag> =
            declared.map(|flag| FeatureFlag::of(flag, said.get(flag.name))).collect();
        items.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(FeatureFlags { items })
    }
}

/// Switch a feature on or off for my organisation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetFeatureFlag {
    /// The feature, as `list_feature_flags` names it.
    #[schemars(length(max = 100))]
    pub name: String,
    /// Whether it is to be on.
    pub is_on: bool,
}

impl Command for SetFeatureFlag {
    const SPEC: Spec =
        Spec::replace("set_feature_flag", "/feature_flags/{name}").needs(Access::Administer);
    type Output = FeatureFlag;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<FeatureFlag> {
        change(tx, &self.name, Some(self.is_on)).await
    }
}

/// Let a feature be for my organisation as it is for everybody.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetFeatureFlag {
    /// The feature, as `list_feature_flags` names it.
    #[schemars(length(max = 100))]
    pub name: String,
}

impl Command for ResetFeatureFlag {
    const SPEC: Spec =
        Spec::remove("reset_feature_flag", "/feature_flags/{name}").needs(Access::Administer);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        change(tx, &self.name, None).await.map(drop)
    }
}

/// Says what a flag is to be, and tells of it if that is something else than before.
async fn change(tx: &mut Tx<'_>, name: &str, is_on: Option<bool>) -> Result<FeatureFlag> {
    let declared = *tx.catalog()?.flag(name)?;
    let changed_by = user_of(tx.scope())?;
    let (org_id, now) = (tx.org_id(), tx.now());
    let changed: Option<Uuid> = sqlx::query_scalar(
        "insert into platform.feature_flags (flag_id, org_id, name, is_on, changed_at, changed_by)
         select $1, $2, $3, $4, $5, $6
         where $4 is not null
             or exists (select from platform.feature_flags where org_id = $2 and name = $3)
         on conflict (org_id, name) do update
         set is_on = excluded.is_on, changed_at = excluded.changed_at,
             changed_by = excluded.changed_by
         where feature_flags.is_on is distinct from excluded.is_on
         returning flag_id",
    )
    .bind(Uuid::now_v7())
    .bind(org_id)
    .bind(name)
    .bind(is_on)
    .bind(now)
    .bind(changed_by)
    .fetch_optional(tx.connection())
    .await?;
    let said: Option<Said> = sqlx::query_as(
        "select is_on, changed_at, changed_by from platform.feature_flags
         where org_id = $1 and name = $2",
    )
    .bind(org_id)
    .bind(name)
    .fetch_optional(tx.connection())
    .await?;
    let flag = FeatureFlag::of(&declared, said.as_ref());
    if let Some(flag_id) = changed {
        let (name, is_on, is_set) = (flag.name.clone(), flag.is_on, flag.is_set);
        tx.append(&FeatureFlagChanged { flag_id, name, is_on, is_set }).await?;
    }
    Ok(flag)
}
