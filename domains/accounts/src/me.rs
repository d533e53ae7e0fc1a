//! Whoever is signed in, about themselves.

use contracts::accounts::UserRenamed;
use platform::{
    Access, Command, Query, Reason, Refusal, Result, Scope, Snapshot, Spec, Tx, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who I am.
///
/// The user behind the credential shown, with role and organisation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetMe {}

/// A user, as they see themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// The user.
    pub user_id: UserId,
    /// The name they are greeted by.
    pub name: String,
    /// The address they sign in with.
    pub email: String,
    /// What they may do.
    pub role: String,
    /// The name of their organisation.
    pub organisation: String,
    /// Whether they have a second factor.
    pub has_second_factor: bool,
}

/// Only a person can be asked who they are.
#[derive(Debug, thiserror::Error)]
#[error("this is about the user who asks, and the platform itself asked")]
pub(crate) struct NoUser;

impl Refusal for NoUser {
    fn reason(&self) -> Reason {
        Reason::forbidden("no_user")
    }
}

/// There is no such user in this organisation.
#[derive(Debug, thiserror::Error)]
#[error("there is no user {0}")]
pub(crate) struct UnknownUser(pub(crate) UserId);

impl Refusal for UnknownUser {
    fn reason(&self) -> Reason {
        Reason::not_found("user_not_found").at("/user_id")
    }
}

/// Refuses a user whom this organisation does not have, or has no more.
pub(crate) async fn must_exist(tx: &mut Tx<'_>, user_id: UserId) -> Result<()> {
    let sql = "select exists (
        select 1 from platform.users where id = $1 and org_id = $2 and deleted_at is null)";
    let org_id = tx.org_id();
    let query = sqlx::query_scalar(sql).bind(user_id).bind(org_id);
    if query.fetch_one(tx.connection()).await? { Ok(()) } else { Err(UnknownUser(user_id).into()) }
}

/// The user who acts.
pub(crate) fn user_of(scope: &Scope) -> Result<UserId, NoUser> {
    scope.user_id().ok_or(NoUser)
}

impl Query for GetMe {
    const SPEC: Spec = Spec::read("get_me", "/me").needs(Access::Member);
    type Output = Me;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Me> {
        let user_id = user_of(db.scope())?;
        let row: (UserId, String, String, String, String, bool) = sqlx::query_as(
            "select users.id, users.name, users.email, users.role,
                 organisations.name, users.has_second_factor
             from platform.users join platform.organisations on organisations.id = users.org_id
             where users.id = $1",
        )
        .bind(user_id)
        .fetch_one(db.connection())
        .await?;
        let (user_id, name, email, role, organisation, has_second_factor) = row;
        Ok(Me { user_id, name, email, role, organisation, has_second_factor })
    }
}

/// Change the name I am greeted by.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameMe {
    /// The new name.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
}

impl Command for RenameMe {
    const SPEC: Spec = Spec::invoke("rename_me", "/me/name").needs(Access::Member);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let user_id = user_of(tx.scope())?;
        sqlx::query("update platform.users set name = $2 where id = $1")
            .bind(user_id)
            .bind(&self.name)
            .execute(tx.connection())
            .await?;
        tx.append(&UserRenamed { user_id }).await?;
        Ok(())
    }
}
