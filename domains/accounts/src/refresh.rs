//! Refresh tokens: how an app goes on. Each is good once; one that comes a second time has been
//! copied, so its whole family ends, whoever shows it.

use contracts::accounts::EndReason;
use platform::{Access, Action, Command, Result, Spec, System, Timestamp, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::one_time;
use crate::session::{self, Handed, Which};
use crate::sign_in::{SignInAnswer, SignInRefusal};

/// Get the next access token of an app.
///
/// The refresh token is good once, and the answer has the next. Showing one again ends the session:
/// an app keeps the new token before it uses it, and asks in one place at a time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The refresh token of the last answer.
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

/// A refresh token with what it belongs to.
type Found = (Uuid, Uuid, UserId, bool, bool, Timestamp);

impl Command for UseRefreshToken {
    const SPEC: Spec = Spec::internal("use_refresh_token");
    type Output = Option<Handed>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Handed>> {
        let now = tx.now();
        let found: Option<Found> = sqlx::query_as(
            "select refresh_tokens.refresh_token_id, tokens.id, tokens.user_id,
                 refresh_tokens.used_at is not null,
                 refresh_tokens.expires_at > $2 and tokens.expires_at > $2
                     and tokens.revoked_at is null and users.deleted_at is null,
                 tokens.expires_at
             from accounts.refresh_tokens
             join platform.tokens on tokens.id = refresh_tokens.session_id
             join platform.users on users.id = tokens.user_id
             where refresh_tokens.digest = $1
             for update of refresh_tokens",
        )
        .bind(&self.digest)
        .bind(now)
        .fetch_optional(tx.connection())
        .await?;
        let Some((refresh_token_id, session_id, user_id, is_used, is_good, ends_at)) = found else {
            return Ok(None);
        };
        if is_used {
            session::end(tx, user_id, Which::Only(session_id), EndReason::RefreshTokenReused)
                .await?;
            return Ok(None);
        }
        if !is_good {
            return Ok(None);
        }
        use_up(tx, refresh_token_id, session_id).await?;
        session::hand_to_app(tx, session_id, user_id, ends_at).await.map(Some)
    }
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
