//! The challenges of passkeys: what a passkey is to sign. Each is good once, for five minutes and
//! for one purpose, and comes back inside of what was signed.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use platform::{OrgId, Reason, Refusal, RelyingParty, Result, Timestamp, Tx, UserId};
use uuid::Uuid;

use crate::one_time;

/// The beginning of a challenge.
const KIND: &str = "pkc";
/// How long there is to answer.
pub(crate) const GOOD_FOR: Duration = Duration::from_mins(5);

/// What a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To make a passkey.
    Adding,
    /// To sign in with a passkey alone.
    SignIn,
    /// To show one after the password.
    SecondFactor,
    /// To show one once more.
    StepUp,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Adding => "adding",
            Self::SignIn => "sign_in",
            Self::SecondFactor => "second_factor",
            Self::StepUp => "step_up",
        }
    }
}

/// A challenge, as a browser is told it.
pub(crate) struct Challenge {
    /// In base64url.
    pub(crate) text: String,
    pub(crate) expires_at: Timestamp,
}

/// Makes a challenge for a user, or for whoever signs in.
pub(crate) async fn make(
    tx: &mut Tx<'_>,
    purpose: Purpose,
    user_id: Option<UserId>,
) -> Result<Challenge> {
    let (org_id, now) = (tx.org_id(), tx.now());
    let (text, digest) = one_time::new(KIND, org_id);
    let expires_at = now + GOOD_FOR;
    sqlx::query("delete from accounts.passkey_challenges where org_id = $1 and expires_at < $2")
        .bind(org_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "insert into accounts.passkey_challenges
             (passkey_challenge_id, org_id, user_id, digest, purpose, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(Uuid::now_v7())
    .bind(org_id)
    .bind(user_id)
    .bind(digest)
    .bind(purpose.name())
    .bind(now)
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    Ok(Challenge { text: BASE64.encode(text), expires_at })
}

/// A challenge that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Returned {
    /// The organisation it was made in, as it says itself.
    pub(crate) org_id: OrgId,
    pub(crate) digest: Vec<u8>,
}

impl Returned {
    /// What a browser says it was asked; nothing if it is none of ours.
    pub(crate) fn read(challenge: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(challenge).ok()?).ok()?;
        let org_id = one_time::organisation(KIND, &text)?;
        Some(Self { org_id, digest: one_time::digest(&text) })
    }
}

/// Uses a challenge up. Of two who show it at once, one does.
pub(crate) async fn use_up(
    tx: &mut Tx<'_>,
    digest: &[u8],
    purpose: Purpose,
    user_id: Option<UserId>,
) -> Result<bool> {
    let now = tx.now();
    let used = sqlx::query(
        "delete from accounts.passkey_challenges
         where digest = $1 and purpose = $2 and user_id is not distinct from $3
             and expires_at > $4",
    )
    .bind(digest)
    .bind(purpose.name())
    .bind(user_id)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(used.rows_affected() > 0)
}

/// This installation has no passkeys.
#[derive(Debug, thiserror::Error)]
#[error("this installation has no passkeys; its operator says for which address they are made")]
pub(crate) struct SwitchedOff;

impl Refusal for SwitchedOff {
    fn reason(&self) -> Reason {
        Reason::conflict("passkeys_off")
    }
}

/// For whom passkeys are made here.
pub(crate) fn party<'c>(tx: &Tx<'c>) -> Result<&'c RelyingParty> {
    Ok(tx.relying_party()?.ok_or(SwitchedOff)?)
}
