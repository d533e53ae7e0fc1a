//! The second factor: a device that makes codes, or a [passkey](crate::passkey), and recovery codes
//! for when it is lost.

use contracts::accounts::{
    CodeDeviceRemoved, RecoveryCodesRenewed, SecondFactorDisabled, SecondFactorEnrolled,
};
use platform::{Reason, Result, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::recovery;
use crate::session;
use crate::totp::Device;

/// A device to be, until its first code is shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Enrolment {
    /// The secret, to be typed into an authenticator app. Told once.
    pub secret: String,
    /// The same for apps that read it from a picture, as an `otpauth` address.
    pub uri: String,
}

/// Codes for when the device is lost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodes {
    /// Each is good once in place of a code of the device. Told once.
    pub recovery_codes: Vec<String>,
}

/// What the rules of second factors say no to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the code is wrong, or was used before")]
    Code,
    #[error("there is nothing to confirm; begin with enrol_second_factor")]
    NothingPending,
    #[error("there is no second factor")]
    None,
    #[error("there is no device that makes codes; passkeys are removed one by one")]
    NoDevice,
    #[error("nobody is without a second factor here; enrol another instead")]
    Demanded,
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Code => Reason::forbidden("code_refused").at("/code"),
            Self::NothingPending => Reason::conflict("no_enrolment"),
            Self::None | Self::NoDevice => Reason::conflict("no_second_factor"),
            Self::Demanded => Reason::conflict("second_factor_demanded"),
        }
    }
}

/// Whether `code` is a code of the user's device, or a recovery code that is left. It is used up by
/// that. Counting guesses is the caller's.
pub(crate) async fn show(tx: &mut Tx<'_>, user_id: UserId, code: &str) -> Result<bool> {
    let digits: String = code.chars().filter(|each| !each.is_whitespace()).collect();
    if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return recovery::take(tx, user_id, code).await;
    }
    let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
        "select sealed_secret, last_step from accounts.second_factors
         where user_id = $1 and sealed_secret is not null for update",
    )
    .bind(user_id)
    .fetch_optional(tx.connection())
    .await?;
    let Some((sealed, last_step)) = row else { return Ok(false) };
    let device = Device::open(tx.secret()?, user_id, &sealed)?;
    let Some(step) = device.step_of(&digits, tx.now(), last_step) else { return Ok(false) };
    sqlx::query("update accounts.second_factors set last_step = $2 where user_id = $1")
        .bind(user_id)
        .bind(step)
        .execute(tx.connection())
        .await?;
    Ok(true)
}

/// Makes a device for a user, who has it once its first code is shown.
pub(crate) async fn begin(tx: &mut Tx<'_>, user_id: UserId) -> Result<Enrolment> {
    let (email, organisation): (String, String) = sqlx::query_as(
        "select users.email, organisations.name
         from platform.users join platform.organisations on organisations.id = users.org_id
         where users.id = $1",
    )
    .bind(user_id)
    .fetch_one(tx.connection())
    .await?;
    let device = Device::new(&email, &organisation)?;
    let (org_id, sealed) = (tx.org_id(), device.sealed(tx.secret()?, user_id));
    sqlx::query(
        "insert into accounts.second_factors (user_id, org_id, pending_secret)
         values ($1, $2, $3)
         on conflict (user_id) do update set pending_secret = $3",
    )
    .bind(user_id)
    .bind(org_id)
    .bind(sealed)
    .execute(tx.connection())
    .await?;
    Ok(Enrolment { secret: device.text(), uri: device.uri()? })
}

/// Takes the device that is being enrolled for the user's, if `code` is one of its codes. `None` if
/// it is not.
pub(crate) async fn confirm(
    tx: &mut Tx<'_>,
    user_id: UserId,
    code: &str,
) -> Result<Option<RecoveryCodes>> {
    let now = tx.now();
    let pending: Option<Option<Vec<u8>>> = sqlx::query_scalar(
        "select pending_secret from accounts.second_factors where user_id = $1 for update",
    )
    .bind(user_id)
    .fetch_optional(tx.connection())
    .await?;
    let sealed = pending.flatten().ok_or(Refusal::NothingPending)?;
    let device = Device::open(tx.secret()?, user_id, &sealed)?;
    let code: String = code.chars().filter(|each| !each.is_whitespace()).collect();
    let Some(step) = device.step_of(&code, now, 0) else { return Ok(None) };
    sqlx::query(
        "update accounts.second_factors
         set sealed_secret = pending_secret, pending_secret = null, confirmed_at = $2,
             last_step = $3
         where user_id = $1",
    )
    .bind(user_id)
    .bind(now)
    .bind(step)
    .execute(tx.connection())
    .await?;
    settle(tx, user_id).await?;
    tx.append(&SecondFactorEnrolled { user_id }).await?;
    renew_codes(tx, user_id).await.map(Some)
}

/// Takes the device that makes codes away from a user. Passkeys of theirs go on.
pub(crate) async fn disable(tx: &mut Tx<'_>, user_id: UserId) -> Result<()> {
    lock(tx, user_id).await?;
    let removed = sqlx::query("delete from accounts.second_factors where user_id = $1")
        .bind(user_id)
        .execute(tx.connection())
        .await?;
    if settle(tx, user_id).await? {
        if removed.rows_affected() == 0 {
            return Err(Refusal::NoDevice.into());
        }
        tx.append(&CodeDeviceRemoved { user_id }).await?;
        return Ok(());
    }
    recovery::forget(tx, user_id).await?;
    tx.append(&SecondFactorDisabled { user_id }).await?;
    Ok(())
}

/// Gives a user new recovery codes and tells so.
pub(crate) async fn renew_codes(tx: &mut Tx<'_>, user_id: UserId) -> Result<RecoveryCodes> {
    let recovery_codes = recovery::renew(tx, user_id).await?;
    tx.append(&RecoveryCodesRenewed { user_id }).await?;
    Ok(RecoveryCodes { recovery_codes })
}

/// Locks the user, so that of two changes of their second factors one sees what the other has done.
pub(crate) async fn lock(tx: &mut Tx<'_>, user_id: UserId) -> Result<()> {
    sqlx::query("select 1 from platform.users where id = $1 for update")
        .bind(user_id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Says at the user, where every request looks, whether there is a second factor: a device that
/// makes codes, or a passkey. Answers it, too.
pub(crate) async fn settle(tx: &mut Tx<'_>, user_id: UserId) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "update platform.users set has_second_factor =
             exists (select 1 from accounts.second_factors
                 where user_id = $1 and sealed_secret is not null)
             or exists (select 1 from accounts.passkeys where user_id = $1)
         where id = $1 returning has_second_factor",
    )
    .bind(user_id)
    .fetch_one(tx.connection())
    .await?)
}

/// Notes that a second factor was shown just now, at the session of whoever calls.
pub(crate) async fn was_shown(tx: &mut Tx<'_>) -> Result<()> {
    let credential_id = tx.scope().authority.credential_id;
    match session::behind(tx.connection(), credential_id).await? {
        Some(session_id) => note_shown(tx, session_id).await,
        None => Ok(()),
    }
}

/// Notes that a second factor was shown just now, for what was made from a credential.
pub(crate) async fn note_shown(tx: &mut Tx<'_>, credential_id: Uuid) -> Result<()> {
    let now = tx.now();
    sqlx::query("update platform.tokens set second_factor_at = $2 where id = $1")
        .bind(credential_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Whether a user has a device that makes codes.
pub(crate) async fn has_device(tx: &mut Tx<'_>, user_id: UserId) -> Result<bool> {
    let sql = "select exists (select 1 from accounts.second_factors
        where user_id = $1 and sealed_secret is not null)";
    Ok(sqlx::query_scalar(sql).bind(user_id).fetch_one(tx.connection()).await?)
}

/// Whether a user has a second factor.
pub(crate) async fn is_there(tx: &mut Tx<'_>, user_id: UserId) -> Result<bool> {
    let sql = "select has_second_factor from platform.users where id = $1";
    Ok(sqlx::query_scalar(sql).bind(user_id).fetch_one(tx.connection()).await?)
}
