//! Tokens of services: short, signed, and made from a credential that lasts.

use std::time::Duration;

use contracts::accounts::ServiceTokenIssued;
use platform::{
    Access, Command, Result, SERVICE_TOKEN_LASTS_MAX, ServiceToken, Spec, Timestamp, Tx,
    check_scopes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::credential::lasting;

/// How long a token lasts that nobody has said so of.
const LASTS_SECONDS: u64 = 300;

/// Make a short token for one part of a program.
///
/// A program that holds a token that lasts makes short ones from it for its parts, each with no
/// more than it needs. The token is a JSON Web Token that needs no row to be found by; it ends by
/// itself after at most 15 minutes, and at once when the credential ends that it was made from.
/// Nothing can be made from it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueServiceToken {
    /// What it may do: `<domain>:<right>`, for example `recruit:read`; no more than the credential
    /// shown may.
    #[schemars(length(min = 1, max = 64), inner(length(max = 100)))]
    pub scopes: Vec<String>,
    /// How many seconds it is good, at most 900; 300 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub expires_in_seconds: Option<u32>,
}

/// A token, shown this once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct IssuedServiceToken {
    /// By which it is found in the log.
    pub service_token_id: Uuid,
    /// The token itself, which is sent as `Authorization: Bearer …`.
    pub token: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Command for IssueServiceToken {
    const SPEC: Spec =
        Spec::create("issue_service_token", "/service_tokens").needs(Access::Member).confidential();
    type Output = IssuedServiceToken;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<IssuedServiceToken> {
        let origin = lasting(tx).await?;
        check_scopes(tx.catalog()?, origin.role, origin.scopes.as_deref(), &self.scopes)?;
        let lasts = Duration::from_secs(self.expires_in_seconds.map_or(LASTS_SECONDS, u64::from));
        let token = ServiceToken {
            token_id: Uuid::now_v7(),
            parent_id: origin.id,
            user_id: origin.user_id,
            scopes: self.scopes,
            issued_at: tx.now(),
            expires_at: tx.now() + lasts.min(SERVICE_TOKEN_LASTS_MAX),
        };
        let text = token.sign(tx.secret()?);
        tx.append(&ServiceTokenIssued {
            service_token_id: token.token_id,
            made_from: token.parent_id,
            user_id: token.user_id,
            scopes: token.scopes.clone(),
            expires_at: token.expires_at,
        })
        .await?;
        Ok(IssuedServiceToken {
            service_token_id: token.token_id,
            token: text,
            scopes: token.scopes,
            expires_at: token.expires_at,
        })
    }
}
