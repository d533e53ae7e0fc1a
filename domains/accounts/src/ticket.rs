//! Tickets: short, single-use credentials that open one socket.
//!
//! Many clients can only put a credential into the address of a socket, and addresses reach logs.
//! So what stands there is good for a minute and for one connection.

use std::time::Duration;

use platform::{Access, Command, Digest, Reason, Refusal, Result, Spec, Timestamp, Tx, new_secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::me::user_of;

/// How long a ticket waits to be used.
const TICKET_LASTS: Duration = Duration::from_mins(1);
/// How long a used ticket is kept, for whoever wants to know what opened a connection.
const USED_TICKET_KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// A ticket needs something that it is made from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TicketRefusal {
    #[error(
        "a ticket is made from a session, from the access token of an app or from an API token, \
         and this request shows none of them"
    )]
    NothingToMakeItFrom,
}

impl Refusal for TicketRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NothingToMakeItFrom => Reason::forbidden("no_lasting_credential"),
        }
    }
}

/// Take a ticket for one socket.
///
/// The ticket goes into the address of the socket as the parameter `ticket`, where a credential
/// that lasts has no place. It can be used once, within 60 seconds, by nobody but a socket, and
/// carries what the credential carries that it was taken with. When that credential ends, the
/// ticket and the connection end as well. Take a new one for every connection.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTicket {}

/// A ticket, shown this once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedTicket {
    /// The ticket itself.
    pub ticket: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

impl Command for CreateTicket {
    const SPEC: Spec = Spec::create("create_ticket", "/tickets").needs(Access::Member);
    type Output = CreatedTicket;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<CreatedTicket> {
        let user_id = user_of(tx.scope())?;
        let credential_id =
            tx.scope().authority.credential_id.ok_or(TicketRefusal::NothingToMakeItFrom)?;
        let (now, ticket) = (tx.now(), new_secret("tkt"));
        let expires_at = now + TICKET_LASTS;
        clear_away(tx, user_id.uuid()).await?;
        // Whoever came with a ticket has used it up: the next one is made from what lasts.
        let made = sqlx::query(
            "insert into platform.tokens
                 (id, token_hash, user_id, org_id, label, created_at, kind, scopes, expires_at,
                  parent_id, client)
             select $1, $2, user_id, org_id, 'ticket', $3, 'ticket', scopes, $4,
                 case kind when 'ticket' then parent_id else id end, client
             from platform.tokens
             where id = $5 and user_id = $6",
        )
        .bind(Uuid::now_v7())
        .bind(Digest::of(ticket.as_bytes()).as_bytes().as_slice())
        .bind(now)
        .bind(expires_at)
        .bind(credential_id)
        .bind(user_id)
        .execute(tx.connection())
        .await?;
        if made.rows_affected() == 0 {
            return Err(TicketRefusal::NothingToMakeItFrom.into());
        }
        Ok(CreatedTicket { ticket, expires_at })
    }
}

async fn clear_away(tx: &mut Tx<'_>, user_id: Uuid) -> Result<()> {
    let before = tx.now() - USED_TICKET_KEPT_FOR;
    sqlx::query(
        "delete from platform.tokens
         where user_id = $1 and kind = 'ticket' and expires_at < $2",
    )
    .bind(user_id)
    .bind(before)
    .execute(tx.connection())
    .await?;
    Ok(())
}
