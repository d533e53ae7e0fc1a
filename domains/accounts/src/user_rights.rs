//! Who may come in, and what they may do there: inviting, changing roles, deactivating.

use contracts::accounts::{EndReason, RoleChanged, UserDeactivated, UserInvited};
use platform::{
    Access, Command, Query, Result, Role, Snapshot, Spec, Timestamp, Tx, UserId, trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::link::{self, Made, Purpose};
use crate::me::must_exist;
use crate::my_sessions::{self, Sessions};
use crate::session::{self, Which};
use crate::stale;
use crate::user::{self, User, UserRefusal, UserState};

/// Invite somebody to my organisation.
///
/// They get a letter with a link, by which they choose a password. The link is in the answer too,
/// for whoever has another way to hand it over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteUser {
    /// The address they will sign in with.
    #[schemars(length(min = 3, max = 254))]
    pub email: String,
    /// The name they are greeted by.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// What they may do: one of the roles of an organisation, and none above that of the inviter.
    pub role: MemberRole,
}

/// A role within an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MemberRole {
    /// Works shifts.
    Worker,
    /// Leads a site.
    Supervisor,
    /// A person at a client.
    ClientContact,
    /// Recruits, rosters and talks to clients.
    Staff,
    /// Pays and invoices.
    Payroll,
    /// Administers users and settings.
    Admin,
    /// Runs the organisation.
    Director,
}

impl From<MemberRole> for Role {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Worker => Self::Worker,
            MemberRole::Supervisor => Self::Supervisor,
            MemberRole::ClientContact => Self::ClientContact,
            MemberRole::Staff => Self::Staff,
            MemberRole::Payroll => Self::Payroll,
            MemberRole::Admin => Self::Admin,
            MemberRole::Director => Self::Director,
        }
    }
}

/// Somebody who is invited.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invited {
    /// The user they will be.
    pub user_id: UserId,
    /// The link by which they come in. Told once.
    pub link: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

impl Command for InviteUser {
    const SPEC: Spec =
        Spec::create("invite_user", "/users").needs(Access::Administer).confidential();
    type Output = Invited;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Invited> {
        let role = Role::from(self.role);
        user::may_give(tx.scope().role(), role)?;
        let name = trimmed("/name", &self.name, 1..=200)?;
        let email = user::email_of(&self.email)?;
        user::must_be_free(tx, &email, None).await?;
        let (org_id, now, user_id) = (tx.org_id(), tx.now(), UserId::new());
        sqlx::query(
            "insert into platform.users (id, org_id, name, email, role, created_at)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(user_id)
        .bind(org_id)
        .bind(name)
        .bind(&email)
        .bind(role.name())
        .bind(now)
        .execute(tx.connection())
        .await?;
        invite(tx, user_id, &email, role).await
    }
}

/// Makes a link for somebody and tells of it.
async fn invite(tx: &mut Tx<'_>, user_id: UserId, email: &str, role: Role) -> Result<Invited> {
    let made = link::make(tx, user_id, email, Purpose::Invitation).await?;
    let Made { link_id, address, expires_at, letter } = made;
    let role = role.name().to_owned();
    tx.append(&UserInvited { user_id, role, link_id, letter }).await?;
    Ok(Invited { user_id, link: address, expires_at })
}

/// Invite somebody once more who has not come in yet; the earlier link is good for nothing then.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewInvitation {
    /// The user.
    pub user_id: UserId,
}

impl Command for RenewInvitation {
    const SPEC: Spec = Spec::invoke("renew_invitation", "/users/{user_id}/renew_invitation")
        .needs(Access::Administer)
        .confidential();
    type Output = Invited;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Invited> {
        let (role, _) = user::locked(tx, self.user_id).await?;
        user::may_give(tx.scope().role(), role)?;
        let org_id = tx.org_id();
        let user = user::find(tx.connection(), org_id, self.user_id).await?;
        if user.state != UserState::Invited {
            return Err(UserRefusal::NotInvited.into());
        }
        invite(tx, self.user_id, &user.email, role).await
    }
}

/// Change what a user may do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRole {
    /// The user.
    pub user_id: UserId,
    /// What they may do from now on.
    pub role: MemberRole,
    /// The version of the user that is changed.
    pub expected_version: i64,
}

impl Command for ChangeRole {
    const SPEC: Spec =
        Spec::replace("change_role", "/users/{user_id}/role").needs(Access::Administer);
    type Output = User;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<User> {
        let Self { user_id, role, expected_version } = self;
        let to = Role::from(role);
        let (from, version) = user::locked(tx, user_id).await?;
        user::may_give(tx.scope().role(), from)?;
        user::may_give(tx.scope().role(), to)?;
        stale::must_be(expected_version, version)?;
        if administers(from) && !administers(to) {
            must_leave_one(tx, user_id).await?;
        }
        sqlx::query("update platform.users set role = $2, version = version + 1 where id = $1")
            .bind(user_id)
            .bind(to.name())
            .execute(tx.connection())
            .await?;
        let (old, new) = (from.name().to_owned(), to.name().to_owned());
        tx.append(&RoleChanged { user_id, from: old, to: new }).await?;
        let org_id = tx.org_id();
        user::find(tx.connection(), org_id, user_id).await
    }
}

const fn administers(role: Role) -> bool {
    platform::allows(role, Access::Administer)
}

/// Refuses to take away the last user who administers the organisation.
async fn must_leave_one(tx: &mut Tx<'_>, but: UserId) -> Result<()> {
    let org_id = tx.org_id();
    let is_another: bool = sqlx::query_scalar(
        "select exists (select 1 from platform.users
             where org_id = $1 and id <> $2 and deleted_at is null
                 and role in ('director', 'admin')
                 and not exists (select 1 from accounts.links where links.user_id = users.id
                     and links.purpose = 'invitation' and links.used_at is null))",
    )
    .bind(org_id)
    .bind(but)
    .fetch_one(tx.connection())
    .await?;
    if is_another { Ok(()) } else { Err(UserRefusal::LastAdministrator.into()) }
}

/// Deactivate a user: every credential of theirs ends at once, and they come in no more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeactivateUser {
    /// The user.
    pub user_id: UserId,
    /// The version of the user that is deactivated.
    pub expected_version: i64,
}

impl Command for DeactivateUser {
    const SPEC: Spec =
        Spec::remove("deactivate_user", "/users/{user_id}").needs(Access::Administer).destroys();
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Self { user_id, expected_version } = self;
        let (role, version) = user::locked(tx, user_id).await?;
        if tx.scope().user_id() == Some(user_id) {
            return Err(UserRefusal::Oneself.into());
        }
        user::may_give(tx.scope().role(), role)?;
        stale::must_be(expected_version, version)?;
        if administers(role) {
            must_leave_one(tx, user_id).await?;
        }
        let now = tx.now();
        sqlx::query(
            "update platform.users set deleted_at = $2, version = version + 1 where id = $1",
        )
        .bind(user_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
        link::withdraw(tx, user_id, None).await?;
        session::end(tx, user_id, Which::AllBut(None), EndReason::UserDeactivated).await?;
        let ended = sqlx::query(
            "update platform.tokens set revoked_at = $2 where user_id = $1 and revoked_at is null",
        )
        .bind(user_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
        let credentials = u32::try_from(ended.rows_affected()).unwrap_or(u32::MAX);
        tx.append(&UserDeactivated { user_id, credentials }).await?;
        Ok(())
    }
}

/// List where a user is signed in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSessions {
    /// The user.
    pub user_id: UserId,
}

impl Query for ListSessions {
    const SPEC: Spec =
        Spec::read("list_sessions", "/users/{user_id}/sessions").needs(Access::Administer);
    type Output = Sessions;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Sessions> {
        let (org_id, now) = (db.org_id(), db.now());
        let credential_id = db.scope().authority.credential_id;
        user::find(db.connection(), org_id, self.user_id).await?;
        let current = session::behind(db.connection(), credential_id).await?;
        my_sessions::of(db.connection(), self.user_id, current, now).await
    }
}

/// End a session of a user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeSession {
    /// The user.
    pub user_id: UserId,
    /// The session.
    pub session_id: Uuid,
}

impl Command for RevokeSession {
    const SPEC: Spec = Spec::remove("revoke_session", "/users/{user_id}/sessions/{session_id}")
        .needs(Access::Administer);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        must_exist(tx, self.user_id).await?;
        my_sessions::revoke(tx, self.user_id, self.session_id).await
    }
}
