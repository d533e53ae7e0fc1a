//! Users: who belongs to an organisation, and as what. The user is the membership.

use contracts::accounts::UserAmended;
use platform::{
    Access, Command, Cursor, Limit, Listing, OrgId, Query, Reason, Refusal, Result, Role, Snapshot,
    Spec, Timestamp, Tx, UserId, trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row as _};

use crate::me::UnknownUser;
use crate::stale;

/// A user of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The user.
    pub user_id: UserId,
    /// The name they are greeted by.
    pub name: String,
    /// The address they sign in with.
    pub email: String,
    /// What they may do.
    pub role: String,
    /// Whether they have come in yet, and still may.
    pub state: UserState,
    /// Whether they have a second factor.
    pub has_second_factor: bool,
    /// When they were invited or enrolled.
    pub created_at: Timestamp,
    /// When they last signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login_at: Option<Timestamp>,
    /// Which version of these particulars this is.
    pub version: i64,
}

/// Whether a user has come in yet, and still may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum UserState {
    /// Invited, and not come in yet.
    Invited,
    /// May come in.
    Active,
    /// May come in no more.
    Deactivated,
}

/// What is read of a user.
const SELECT: &str = "
    select users.id, users.name, users.email, users.role, users.has_second_factor,
        users.created_at, users.last_login_at, users.version, users.deleted_at,
        exists (select 1 from accounts.links where links.user_id = users.id
            and links.purpose = 'invitation' and links.used_at is null) as is_invited
    from platform.users
    where users.org_id = $1";

impl FromRow<'_, PgRow> for User {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let deleted_at: Option<Timestamp> = row.try_get("deleted_at")?;
        let state = match (deleted_at, row.try_get("is_invited")?) {
            (Some(_), _) => UserState::Deactivated,
            (None, true) => UserState::Invited,
            (None, false) => UserState::Active,
        };
        Ok(Self {
            user_id: row.try_get("id")?,
            name: row.try_get("name")?,
            email: row.try_get("email")?,
            role: row.try_get("role")?,
            state,
            has_second_factor: row.try_get("has_second_factor")?,
            created_at: row.try_get("created_at")?,
            last_login_at: row.try_get("last_login_at")?,
            version: row.try_get("version")?,
        })
    }
}

/// A user, also one who is deactivated.
pub(crate) async fn find(
    connection: &mut PgConnection,
    org_id: OrgId,
    user_id: UserId,
) -> Result<User> {
    let found = sqlx::query_as(sqlx::AssertSqlSafe(format!("{SELECT} and users.id = $2")))
        .bind(org_id)
        .bind(user_id)
        .fetch_optional(connection)
        .await?;
    Ok(found.ok_or(UnknownUser(user_id))?)
}

/// A user who may come in, with role and version, locked until the end of the transaction. The
/// organisation is locked before, so that of two who take each other's rights away one comes late.
pub(crate) async fn locked(tx: &mut Tx<'_>, user_id: UserId) -> Result<(Role, i64)> {
    let org_id = tx.org_id();
    sqlx::query("select 1 from platform.organisations where id = $1 for update")
        .bind(org_id)
        .execute(tx.connection())
        .await?;
    let found: Option<(String, i64)> = sqlx::query_as(
        "select role, version from platform.users
         where id = $1 and org_id = $2 and deleted_at is null for update",
    )
    .bind(user_id)
    .bind(org_id)
    .fetch_optional(tx.connection())
    .await?;
    let (role, version) = found.ok_or(UnknownUser(user_id))?;
    let role = Role::from_name(&role)
        .ok_or_else(|| platform::Error::failure(format!("{user_id} has the role {role}")))?;
    Ok((role, version))
}

/// What the rules of users say no to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserRefusal {
    #[error("there is a user with the address {0} already")]
    EmailTaken(String),
    #[error("`{0}` is no e-mail address, as in mia@example.com")]
    Email(String),
    #[error("the role {own} gives nobody the role {other}, and takes it from nobody")]
    AboveOwn { own: &'static str, other: &'static str },
    #[error("the role operator is given by whoever runs the platform")]
    Operator,
    #[error("somebody must be left who administers the organisation")]
    LastAdministrator,
    #[error("nobody deactivates themselves")]
    Oneself,
    #[error("this user has come in already")]
    NotInvited,
}

impl Refusal for UserRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::EmailTaken(_) => Reason::conflict("email_taken").at("/email"),
            Self::Email(_) => Reason::invalid("bad_email").at("/email"),
            Self::AboveOwn { .. } => Reason::forbidden("role_above_own"),
            Self::Operator => Reason::forbidden("role_not_given_here"),
            Self::LastAdministrator => Reason::conflict("last_administrator"),
            Self::Oneself => Reason::conflict("oneself"),
            Self::NotInvited => Reason::conflict("not_invited"),
        }
    }
}

/// An address in lower case, if it is one.
pub(crate) fn email_of(text: &str) -> Result<String, UserRefusal> {
    let email = text.trim().to_lowercase();
    let is_email = email.split_once('@').is_some_and(|(name, host)| {
        let is_plain = |each: char| !each.is_whitespace() && !each.is_control() && each != '@';
        !name.is_empty()
            && name.chars().all(is_plain)
            && host.split('.').count() > 1
            && host.split('.').all(|label| !label.is_empty() && label.chars().all(is_plain))
    });
    if is_email { Ok(email) } else { Err(UserRefusal::Email(text.to_owned())) }
}

/// Refuses whoever would give or take a role above their own. Operators belong to nobody's
/// organisation in this.
pub(crate) fn may_give(own: Option<Role>, other: Role) -> Result<(), UserRefusal> {
    let Some(own) = own else { return Ok(()) };
    match (own, other) {
        (_, Role::Operator) => Err(UserRefusal::Operator),
        (Role::Admin, Role::Director) => {
            Err(UserRefusal::AboveOwn { own: own.name(), other: other.name() })
        }
        (Role::Director | Role::Admin, _) => Ok(()),
        _ => Err(UserRefusal::AboveOwn { own: own.name(), other: other.name() }),
    }
}

/// Get a user of my organisation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetUser {
    /// The user.
    pub user_id: UserId,
}

impl Query for GetUser {
    const SPEC: Spec = Spec::read("get_user", "/users/{user_id}");
    type Output = User;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<User> {
        let org_id = db.org_id();
        find(db.connection(), org_id, self.user_id).await
    }
}

/// List the users of my organisation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
    /// Also those who are deactivated.
    #[serde(default)]
    pub with_deactivated: bool,
    /// Users on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListUsers {
    const SPEC: Spec = Spec::read("list_users", "/users");
    type Output = Listing<User>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<User>> {
        let after: Option<UserId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let sql = format!(
            "{SELECT} and ($2 or users.deleted_at is null) and ($3::uuid is null or users.id > $3)
             order by users.id limit $4"
        );
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(db.org_id())
            .bind(self.with_deactivated)
            .bind(after)
            .bind(self.limit.and_one())
            .fetch_all(db.connection())
            .await?;
        Ok(Listing::of(rows, self.limit, |user: &User| user.user_id))
    }
}

/// Change the particulars of a user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmendUser {
    /// The user.
    pub user_id: UserId,
    /// The name they are greeted by.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// The address they sign in with.
    #[schemars(length(min = 3, max = 254))]
    pub email: String,
    /// The version that is changed.
    pub expected_version: i64,
}

impl Command for AmendUser {
    const SPEC: Spec = Spec::replace("amend_user", "/users/{user_id}").needs(Access::Administer);
    type Output = User;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<User> {
        let Self { user_id, name, email, expected_version } = self;
        let (role, version) = locked(tx, user_id).await?;
        may_give(tx.scope().role(), role)?;
        stale::must_be(expected_version, version)?;
        let name = trimmed("/name", &name, 1..=200)?;
        let email = email_of(&email)?;
        must_be_free(tx, &email, Some(user_id)).await?;
        sqlx::query(
            "update platform.users set name = $2, email = $3, version = version + 1 where id = $1",
        )
        .bind(user_id)
        .bind(name)
        .bind(email)
        .execute(tx.connection())
        .await?;
        tx.append(&UserAmended { user_id }).await?;
        let org_id = tx.org_id();
        find(tx.connection(), org_id, user_id).await
    }
}

/// Refuses an address that another user of the organisation has.
pub(crate) async fn must_be_free(tx: &mut Tx<'_>, email: &str, but: Option<UserId>) -> Result<()> {
    let org_id = tx.org_id();
    let is_taken: bool = sqlx::query_scalar(
        "select exists (select 1 from platform.users
             where org_id = $1 and email = $2 and ($3::uuid is null or id <> $3))",
    )
    .bind(org_id)
    .bind(email)
    .bind(but)
    .fetch_one(tx.connection())
    .await?;
    if is_taken { Err(UserRefusal::EmailTaken(email.to_owned()).into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_more_than_they_have() {
        assert!(may_give(Some(Role::Director), Role::Director).is_ok());
        assert!(may_give(Some(Role::Admin), Role::Admin).is_ok());
        assert!(may_give(Some(Role::Admin), Role::Director).is_err());
        assert!(may_give(Some(Role::Staff), Role::Worker).is_err());
        for role in Role::ALL {
            assert!(may_give(Some(role), Role::Operator).is_err());
        }
    }

    #[test]
    fn an_address_has_a_name_and_a_host() {
        assert_eq!(email_of(" Mia@Example.COM ").ok().as_deref(), Some("mia@example.com"));
        for wrong in ["mia", "mia@example", "@example.com", "mia@@example.com", "m a@example.com"] {
            assert!(email_of(wrong).is_err(), "{wrong}");
        }
    }
}
