//! Lasting connections: ending all that a user has, on every node.
//!
//! No node knows what is connected to the others. So that a user was sent away is an event, and
//! whoever holds connections, wherever it runs, follows the events.

use kernel::{Event, EventType, OrgId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::OPERATOR;
use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Command, Spec};
use crate::refusal::{Reason, Refusal, Result};
use crate::system::System;
use crate::tx::Tx;

/// End every socket of a user, on every node.
///
/// The sockets are closed with 1001, `disconnected by an operator`, and what was asked over them
/// and not yet answered may or may not have been done. Nothing is revoked: client libraries
/// connect again by themselves a moment later. Whoever is to stay out has to lose their sessions
/// and tokens too.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectUser {
    /// The user.
    pub user_id: UserId,
    // Recorded before it is acted on, so the schema has to say what it may be.
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

/// Whose sockets are ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Disconnected {
    /// The user.
    pub user_id: UserId,
    /// The organisation the user belongs to.
    pub org_id: OrgId,
}

/// An operator ends every socket of a user. Each node does so when this reaches it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserDisconnected {
    /// The user.
    pub user_id: UserId,
}

impl Event for UserDisconnected {
    const TYPE: EventType = OPERATOR.event("user_disconnected", 1);
    fn aggregate_id(&self) -> Uuid {
        self.user_id.uuid()
    }
}

/// Why nobody is disconnected.
#[derive(Debug, thiserror::Error)]
#[error("there is no user {0}")]
struct NoSuchUser(UserId);

impl Refusal for NoSuchUser {
    fn reason(&self) -> Reason {
        Reason::not_found("no_such_user").at("/user_id")
    }
}

impl Action for DisconnectUser {
    const SPEC: Spec = Spec::invoke("disconnect_user", "/users/{user_id}/disconnect")
        .needs(Access::Operate)
        .destroys();
    type Output = Disconnected;
    async fn act(self, system: &System) -> Result<Disconnected> {
        let Self { user_id, reason } = self;
        let org_id = organisation_of(system, user_id).await?.ok_or(NoSuchUser(user_id))?;
        let command = RecordUserDisconnected(UserDisconnected { user_id });
        system.run(system.caller()?, command).await?;
        tracing::warn!(%user_id, reason, "an operator ends the sockets of a user");
        Ok(Disconnected { user_id, org_id })
    }
}

async fn organisation_of(system: &System, user_id: UserId) -> Result<Option<OrgId>> {
    let mut transaction = store::begin(system.pool()).await?;
    let sql = "select org_id from platform.users where id = $1 and deleted_at is null";
    let org_id = sqlx::query_scalar(sql).bind(user_id).fetch_optional(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(org_id)
}

/// Records that the sockets of a user are to end, which is what ends them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct RecordUserDisconnected(UserDisconnected);

impl Command for RecordUserDisconnected {
    const SPEC: Spec = Spec::internal("record_user_disconnected");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&self.0).await.map(drop)
    }
}
