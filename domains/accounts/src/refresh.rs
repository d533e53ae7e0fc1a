//! Refresh tokens: how an app goes on. Each is good once, or again while nothing was used that the
//! first answer had in it: that answer was lost on its way. Any other that comes a second time has
//! been copied, so its whole family ends, whoever shows it.

use contracts::accounts::EndReason;
use platform::{Access, Action, Command, Result, Spec, System, Timestamp, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::one_time;
use crate::session::{self, Family, Handed, Which};
use crate::sign_in::{SignInAnswer, SignInRefusal};

/// Get the next access token of an app.
///
/// The refresh token is good once, and the answer has the next. When that answer is lost, show the
/// same refresh token again: as long as nothing of the lost answer was used, new tokens are handed
/// out and those of the lost answer are good for nothing. Showing one at any other time again ends
/// the session: an app keeps the new token before it uses it, and asks in one place at a time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The refresh token of the last answer that arrived.
    #[schemars(length(min = 1, max = 200))]
    pub refresh_token: String,
}

impl Action for Refresh {
    const SPEC: Spec = Spec::invoke("refresh", "/refresh").needs(Access::Anyone).confidential();
    type Output = SignInAnswer;

    async fn act(self, system: &System) -> Result<SignInAnswer> {
        let org_id = one_time::organisation("ref", &self.refresh_token)
            .ok_or(SignInRefusal::RefreshToken)?;
        let scope = session::duty(system.caller()?, org_id);
        let digest = one_time::digest(&self.refresh_token);
        let handed = system.run(&scope, UseRefreshToken { digest }).await?;
        Ok(SignInAnswer::session(handed.ok_or(SignInRefusal::RefreshToken)?))
    }
}

/// Uses a refresh token up, or ends its family if it was used before.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UseRefreshToken {
    digest: Vec<u8>,
}

impl Command for UseRefreshToken {
    const SPEC: Spec = Spec::internal("use_refresh_token");
    type Output = Option<Handed>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Handed>> {
        let Some(shown) = shown(tx, &self.digest).await? else { return Ok(None) };
        let family = shown.family;
        if shown.is_void || (shown.is_used && !take_back(tx, shown.refresh_token_id).await?) {
            let which = Which::Only(family.session_id);
            session::end(tx, family.user_id, which, EndReason::RefreshTokenReused).await?;
            return Ok(None);
        }
        if !shown.is_good {
            return Ok(None);
        }
        use_up(tx, shown.refresh_token_id, family.session_id).await?;
        session::hand_to_app(tx, family, Some(shown.refresh_token_id)).await.map(Some)
    }
}

/// A refresh token that was shown.
struct ShownToken {
    refresh_token_id: Uuid,
    family: Family,
    is_used: bool,
    is_void: bool,
    /// Whether neither it nor what it belongs to has ended.
    is_good: bool,
}

/// The refresh token with this digest, with its family locked: of two that are shown at once, the
/// second is judged by what the first has left.
async fn shown(tx: &mut Tx<'_>, digest: &[u8]) -> Result<Option<ShownToken>> {
    let now = tx.now();
    let locked: Option<Uuid> = sqlx::query_scalar(
        "select id from platform.tokens
         where id = (select session_id from accounts.refresh_tokens where digest = $1)
         for update",
    )
    .bind(digest)
    .fetch_optional(tx.connection())
    .await?;
    let Some(session_id) = locked else { return Ok(None) };
    let found: Option<(Uuid, UserId, bool, bool, bool, Timestamp)> = sqlx::query_as(
        "select refresh_tokens.refresh_token_id, tokens.user_id,
             refresh_tokens.used_at is not null, refresh_tokens.voided_at is not null,
             refresh_tokens.expires_at > $2 and tokens.expires_at > $2
                 and tokens.revoked_at is null and users.deleted_at is null,
             tokens.expires_at
         from accounts.refresh_tokens
         join platform.tokens on tokens.id = refresh_tokens.session_id
         join platform.users on users.id = tokens.user_id
         where refresh_tokens.digest = $1",
    )
    .bind(digest)
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(found.map(|(refresh_token_id, user_id, is_used, is_void, is_good, ends_at)| {
        let family = Family { session_id, user_id, ends_at };
        ShownToken { refresh_token_id, family, is_used, is_void, is_good }
    }))
}

/// Takes back what was handed out for a refresh token, if nothing of it was used. Whether it was
/// stands with the access token, and not in what nodes remember: its first use is written down
/// before it is answered, and whoever shows it at this instant waits for its row and finds it gone.
async fn take_back(tx: &mut Tx<'_>, refresh_token_id: Uuid) -> Result<bool> {
    let now = tx.now();
    let successor: Option<(Uuid, Option<Uuid>)> = sqlx::query_as(
        "select refresh_token_id, access_id from accounts.refresh_tokens
         where made_from = $1 and voided_at is null and used_at is null",
    )
    .bind(refresh_token_id)
    .fetch_optional(tx.connection())
    .await?;
    let Some((successor_id, access_id)) = successor else { return Ok(false) };
    let taken_back = sqlx::query(
        "update platform.tokens set revoked_at = $2
         where id = $1 and last_used_at is null and revoked_at is null",
    )
    .bind(access_id)
    .bind(now)
    .execute(tx.connection())
    .await?;
    if taken_back.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("update accounts.refresh_tokens set voided_at = $2 where refresh_token_id = $1")
        .bind(successor_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(true)
}

/// Marks a refresh token as used, and its session; access tokens that have ended are cleared away.
async fn use_up(tx: &mut Tx<'_>, refresh_token_id: Uuid, session_id: Uuid) -> Result<()> {
    let now = tx.now();
    sqlx::query("update accounts.refresh_tokens set used_at = $2 where refresh_token_id = $1")
        .bind(refresh_token_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    sqlx::query("update platform.tokens set last_used_at = $2 where id = $1")
        .bind(session_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "delete from platform.tokens
         where parent_id = $1 and kind = 'access' and expires_at < $2",
    )
    .bind(session_id)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}
