//! A passkey that was shown: whether it is the user's, and whether it has signed what it was asked.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use contracts::accounts::PasskeySuspected;
use platform::{Result, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::authenticator::{Asked, ClientData, Said, Why, counts_on, has_signed};
use crate::passkey_challenge::{Returned, party};
use crate::passkey_options::read_handle;

/// `AuthenticationResponseJSON` of Web Authentication. What else browsers say is not looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ShownCredential {
    /// The name its keeper knows the passkey by, in base64url.
    #[schemars(length(min = 1, max = 1400))]
    pub id: String,
    /// What was signed.
    pub response: ShownResponse,
}

/// What the browser and the authenticator say, and the signature.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ShownResponse {
    /// What the browser says, in base64url.
    #[serde(rename = "clientDataJSON")]
    #[schemars(length(min = 1, max = 8192))]
    pub client_data: String,
    /// What the authenticator says, in base64url.
    #[serde(rename = "authenticatorData")]
    #[schemars(length(min = 1, max = 8192))]
    pub said: String,
    /// The signature, in base64url.
    #[schemars(length(min = 1, max = 2048))]
    pub signature: String,
    /// Whose the passkey is, in base64url, if its keeper kept that.
    #[serde(default, rename = "userHandle", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub user_handle: Option<String>,
}

/// A passkey that was shown, read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) challenge: Returned,
    credential_id: Vec<u8>,
    client: Vec<u8>,
    client_data: ClientData,
    said: Vec<u8>,
    signature: Vec<u8>,
    user_handle: Option<String>,
}

impl ShownCredential {
    pub(crate) fn read(&self) -> Result<Reading, Why> {
        let read = |text: &str| BASE64.decode(text).map_err(|_| Why::Unreadable);
        let client = read(&self.response.client_data)?;
        let client_data = ClientData::read(&client)?;
        // Some browsers say nothing by an empty text.
        let user_handle = self.response.user_handle.clone().filter(|handle| !handle.is_empty());
        Ok(Reading {
            challenge: Returned::read(&client_data.challenge).ok_or(Why::Challenge)?,
            credential_id: read(&self.id)?,
            client,
            client_data,
            said: read(&self.response.said)?,
            signature: read(&self.response.signature)?,
            user_handle,
        })
    }
}

impl Reading {
    /// Whose the passkey is, as its keeper says.
    pub(crate) fn owner(&self) -> Option<(platform::OrgId, UserId)> {
        self.user_handle.as_deref().and_then(read_handle)
    }
}

/// Judges a passkey that was shown as this user's, whose challenge was good. A signature that is
/// right and counts backwards is told of: there may be two who have the key.
pub(crate) async fn judge(
    tx: &mut Tx<'_>,
    shown: &Reading,
    user_id: UserId,
    must_verify: bool,
) -> Result<Result<(), Why>> {
    let (party, now) = (party(tx)?, tx.now());
    let said = shown
        .client_data
        .must_be(Asked::Get, party)
        .and_then(|()| Said::read(&shown.said, party))
        .and_then(|said| {
            let is_enough = said.is_verified || !must_verify;
            is_enough.then_some(said).ok_or(Why::NotVerified)
        });
    let said = match said {
        Ok(said) => said,
        Err(why) => return Ok(Err(why)),
    };
    let owner = (tx.org_id(), user_id);
    if shown.user_handle.is_some() && shown.owner() != Some(owner) {
        return Ok(Err(Why::Unknown));
    }
    let found: Option<(Uuid, Vec<u8>, i64)> = sqlx::query_as(
        "select passkey_id, public_key, sign_count from accounts.passkeys
         where credential_id = $1 and user_id = $2 for update",
    )
    .bind(&shown.credential_id)
    .bind(user_id)
    .fetch_optional(tx.connection())
    .await?;
    let Some((passkey_id, public_key, sign_count)) = found else {
        return Ok(Err(Why::Unknown));
    };
    if !has_signed(&public_key, &shown.said, &shown.client, &shown.signature) {
        return Ok(Err(Why::Unknown));
    }
    if !counts_on(u32::try_from(sign_count).unwrap_or(u32::MAX), said.sign_count) {
        tx.append(&PasskeySuspected { user_id, passkey_id }).await?;
        return Ok(Err(Why::Unknown));
    }
    sqlx::query(
        "update accounts.passkeys set sign_count = $2, last_used_at = $3 where passkey_id = $1",
    )
    .bind(passkey_id)
    .bind(i64::from(said.sign_count))
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(Ok(()))
}
