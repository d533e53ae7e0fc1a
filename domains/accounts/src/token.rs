//! API tokens: what a person gives to a program that acts as them.

use std::time::Duration;

use contracts::accounts::{TokenCreated, TokenRevoked};
use platform::{
    Access, Command, CredentialKind, Cursor, Digest, Limit, Listing, Query, Reason, Refusal,
    Result, Role, Scope, Snapshot, Spec, Timestamp, Tx, UserId, allows, check_scopes, new_secret,
    trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use crate::credential::{Lasting, lasting};
use crate::me::user_of;

/// How many tokens of one user are good at a time.
const TOKENS_MAX: i64 = 50;
/// The longest label, in characters.
const LABEL_MAX: usize = 100;

/// What the rules say about tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenRefusal {
    #[error("{TOKENS_MAX} tokens of yours are good already; revoke one that is not in use")]
    TooMany,
    #[error("there is no token {0}, or it is not yours")]
    Unknown(Uuid),
    #[error("the role {0} sees its own tokens only; leave `of_everybody` out")]
    OwnOnly(&'static str),
}

impl Refusal for TokenRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::TooMany => Reason::conflict("too_many_tokens"),
            Self::Unknown(_) => Reason::not_found("unknown_token"),
            Self::OwnOnly(_) => Reason::forbidden("access_denied").at("/of_everybody"),
        }
    }
}

fn administers(scope: &Scope) -> bool {
    scope.role().is_some_and(|role| allows(role, Access::Administer))
}

/// Make a token for a program that acts as me.
///
/// The token is shown in this answer and never again. It carries at most what the credential
/// carries that this is asked with, and what my role allows. A token made with another token ends
/// with it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What the token is for, as I will recognise it in the list.
    #[schemars(length(min = 1, max = 100))]
    pub label: String,
    /// What it may do: `<domain>:<right>`, for example `recruit:read`. The rights are `read`,
    /// `write`, which includes reading, and `operate`; `*` stands for all domains, and `mcp:`
    /// before a scope keeps it to the MCP servers. Without scopes it may all that I may with the
    /// credential shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 100)))]
    pub scopes: Option<Vec<String>>,
    /// How many days it is good; until it is revoked unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3660))]
    pub expires_in_days: Option<u32>,
}

/// A token, shown this once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// By which it is listed and revoked.
    pub token_id: Uuid,
    /// The token itself, which a program sends as `Authorization: Bearer …`.
    pub token: String,
    /// What it may do; absent if it may all that its user may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// When it ends; absent if it is good until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Command for CreateToken {
    const SPEC: Spec = Spec::create("create_token", "/tokens").needs(Access::Member).confidential();
    type Output = CreatedToken;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<CreatedToken> {
        let label = trimmed("/label", &self.label, 1..=LABEL_MAX)?;
        let origin = lasting(tx).await?;
        let scopes = carried_by_new(tx, &origin, self.scopes)?;
        let days = self.expires_in_days.map(|days| Duration::from_hours(u64::from(days) * 24));
        let expires_at = days.map(|days| tx.now() + days);
        must_have_room(tx, origin.user_id).await?;
        let (token_id, token) = (Uuid::now_v7(), new_secret("api"));
        // A person's sign-in ends and their programs go on; what a program made goes with it.
        let parent_id = (origin.kind == CredentialKind::Api).then_some(origin.id);
        sqlx::query(
            "insert into platform.tokens
                 (id, token_hash, user_id, org_id, label, created_at, kind, scopes, expires_at,
                  parent_id)
             values ($1, $2, $3, $4, $5, $6, 'api', $7, $8, $9)",
        )
        .bind(token_id)
        .bind(Digest::of(token.as_bytes()).as_bytes().as_slice())
        .bind(origin.user_id)
        .bind(tx.org_id())
        .bind(&label)
        .bind(tx.now())
        .bind(&scopes)
        .bind(expires_at)
        .bind(parent_id)
        .execute(tx.connection())
        .await?;
        let user_id = origin.user_id;
        tx.append(&TokenCreated { token_id, user_id, label, scopes: scopes.clone(), expires_at })
            .await?;
        Ok(CreatedToken { token_id, token, scopes, expires_at })
    }
}

/// The scopes of a credential that is made from `origin`: those asked for, or the same as it has.
fn carried_by_new(
    tx: &Tx<'_>,
    origin: &Lasting,
    wanted: Option<Vec<String>>,
) -> Result<Option<Vec<String>>> {
    let Some(wanted) = wanted else { return Ok(origin.scopes.clone()) };
    check_scopes(tx.catalog()?, origin.role, origin.scopes.as_deref(), &wanted)?;
    Ok(Some(wanted))
}

async fn must_have_room(tx: &mut Tx<'_>, user_id: UserId) -> Result<()> {
    let now = tx.now();
    let count: i64 = sqlx::query_scalar(
        "select count(*) from platform.tokens
         where user_id = $1 and kind = 'api' and revoked_at is null
             and (expires_at is null or expires_at > $2)",
    )
    .bind(user_id)
    .bind(now)
    .fetch_one(tx.connection())
    .await?;
    if count >= TOKENS_MAX { Err(TokenRefusal::TooMany.into()) } else { Ok(()) }
}

/// List the tokens of my programs, newest first.
///
/// Only those that are still good. Administrators see those of the whole organisation if they ask
/// for them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTokens {
    /// Whether to list the tokens of everybody in the organisation; for administrators.
    #[serde(default)]
    pub of_everybody: bool,
    /// Tokens on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// By which it is revoked.
    pub token_id: Uuid,
    /// The user it acts as.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// What it is for.
    pub label: String,
    /// What it may do; absent if it may all that its user may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it ends; absent if it is good until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl FromRow<'_, PgRow> for TokenView {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            token_id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            user_name: row.try_get("name")?,
            label: row.try_get("label")?,
            scopes: row.try_get("scopes")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    }
}

impl Query for ListTokens {
    const SPEC: Spec = Spec::read("list_tokens", "/tokens").needs(Access::Member);
    type Output = Listing<TokenView>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<TokenView>> {
        let user_id = user_of(db.scope())?;
        if self.of_everybody && !administers(db.scope()) {
            let role = db.scope().role().map_or("nobody", Role::name);
            return Err(TokenRefusal::OwnOnly(role).into());
        }
        let before: Option<Uuid> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let now = db.now();
        let rows = sqlx::query_as(
            "select tokens.id, tokens.user_id, users.name, tokens.label, tokens.scopes,
                 tokens.created_at, tokens.last_used_at, tokens.expires_at
             from platform.tokens
             join platform.users on users.id = tokens.user_id
             where tokens.org_id = $1 and tokens.kind = 'api' and tokens.revoked_at is null
                 and (tokens.expires_at is null or tokens.expires_at > $2)
                 and ($3 or tokens.user_id = $4)
                 and ($5::uuid is null or tokens.id < $5)
             order by tokens.id desc
             limit $6",
        )
        .bind(db.org_id())
        .bind(now)
        .bind(self.of_everybody)
        .bind(user_id)
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |token: &TokenView| token.token_id))
    }
}

/// Revoke a token of mine.
///
/// It is good for nothing from now on, on every server, and neither is what was made from it.
/// Administrators revoke any token of their organisation. To revoke one twice is to revoke it once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// The token.
    pub token_id: Uuid,
}

impl Command for RevokeToken {
    const SPEC: Spec = Spec::remove("revoke_token", "/tokens/{token_id}").needs(Access::Member);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let (user_id, is_administrator) = (user_of(tx.scope())?, administers(tx.scope()));
        let now = tx.now();
        let found: Option<(UserId, String, bool)> = sqlx::query_as(
            "select user_id, label, revoked_at is not null from platform.tokens
             where id = $1 and org_id = $2 and kind = 'api' and ($3 or user_id = $4)
             for update",
        )
        .bind(self.token_id)
        .bind(tx.org_id())
        .bind(is_administrator)
        .bind(user_id)
        .fetch_optional(tx.connection())
        .await?;
        let (user_id, label, is_revoked) = found.ok_or(TokenRefusal::Unknown(self.token_id))?;
        if is_revoked {
            return Ok(());
        }
        sqlx::query("update platform.tokens set revoked_at = $2 where id = $1")
            .bind(self.token_id)
            .bind(now)
            .execute(tx.connection())
            .await?;
        tx.append(&TokenRevoked { token_id: self.token_id, user_id, label }).await?;
        Ok(())
    }
}
