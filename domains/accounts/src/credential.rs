//! The credential of a request, as others are made from it.

use platform::{CredentialKind, Error, Reason, Refusal, Result, Role, Tx, UserId};
use uuid::Uuid;

use crate::me::user_of;

/// What a new credential can be made from: a session, the access token of an app, or an API token.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) id: Uuid,
    pub(crate) user_id: UserId,
    pub(crate) role: Role,
    pub(crate) kind: CredentialKind,
    /// What it carries, as it is stored; none for all that the role may.
    pub(crate) scopes: Option<Vec<String>>,
}

/// A credential is made from another one, and there was none.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is made from a session, from the access token of an app or from an API token, and the \
     request shows none of them"
)]
pub(crate) struct NothingToMakeItFrom;

impl Refusal for NothingToMakeItFrom {
    fn reason(&self) -> Reason {
        Reason::forbidden("no_lasting_credential")
    }
}

/// The credential shown. Whoever came with a ticket has used it up, so what it was taken with
/// counts. The token of a service has no row: nothing is made from it, or it could be renewed for
/// ever.
pub(crate) async fn lasting(tx: &mut Tx<'_>) -> Result<Lasting> {
    let user_id = user_of(tx.scope())?;
    let role = tx.scope().role().ok_or(NothingToMakeItFrom)?;
    let shown = tx.scope().authority.credential_id.ok_or(NothingToMakeItFrom)?;
    let row: Option<(Uuid, String, Option<Vec<String>>)> = sqlx::query_as(
        "select lasting.id, lasting.kind, lasting.scopes
         from platform.tokens shown
         join platform.tokens lasting
             on lasting.id = case shown.kind when 'ticket' then shown.parent_id else shown.id end
         where shown.id = $1 and shown.user_id = $2",
    )
    .bind(shown)
    .bind(user_id)
    .fetch_optional(tx.connection())
    .await?;
    let (id, kind, scopes) = row.ok_or(NothingToMakeItFrom)?;
    let kind = CredentialKind::from_name(&kind)
        .ok_or_else(|| Error::failure(format!("the credential {id} is of the kind {kind}")))?;
    Ok(Lasting { id, user_id, role, kind, scopes })
}
