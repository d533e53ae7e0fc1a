//! Tickets: short, single-use credentials that open one socket.
//!
//! Many clients can only put a credential into the address of a socket, and addresses reach logs.
//! So what stands there is good for a minute and for one connection.

use std::time::Duration;

use platform::{Access, Command, Digest, Result, Spec, Timestamp, Tx, UserId, new_secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::credential::lasting;

/// How long a ticket waits to be used.
const TICKET_LASTS: Duration = Duration::from_mins(1);
/// How long a used ticket is kept, for whoever wants to know what opened a connection.
const USED_TICKET_KEPT_FOR: Duration = Duration::from_hours(7 * 24);

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
    // What a ticket opens carries no more than the credential shown, which opens it as well.
    const SPEC: Spec = Spec::create("create_ticket", "/tickets")
        .needs(Access::Member)
        .confidential()
        .counts_as_reading();
    type Output = CreatedTicket;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<CreatedTicket> {
        let origin = lasting(tx).await?;
        let (now, ticket) = (tx.now(), new_secret("tkt"));
        let expires_at = now + TICKET_LASTS;
        clear_away(tx, origin.user_id).await?;
        sqlx::query(
            "insert into platform.tokens
                 (id, token_hash, user_id, org_id, label, created_at, kind, scopes, expires_at,
                  parent_id)
             values ($1, $2, $3, $4, 'ticket', $5, 'ticket', $6, $7, $8)",
        )
        .bind(Uuid::now_v7())
        .bind(Digest::of(ticket.as_bytes()).as_bytes().as_slice())
        .bind(origin.user_id)
        .bind(tx.org_id())
        .bind(now)
        .bind(origin.scopes)
        .bind(expires_at)
        .bind(origin.id)
        .execute(tx.connection())
        .await?;
        Ok(CreatedTicket { ticket, expires_at })
    }
}

async fn clear_away(tx: &mut Tx<'_>, user_id: UserId) -> Result<()> {
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
