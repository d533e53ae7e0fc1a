//! Who belongs to which office, and to which first of all.

use contracts::accounts::{OfficeJoined, OfficeLeft};
use platform::{Access, Command, Query, Reason, Refusal, Result, Snapshot, Spec, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::me::must_exist;
use crate::office;

/// A user who belongs to an office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfficeMember {
    /// The user.
    pub user_id: UserId,
    /// Their name.
    pub name: String,
    /// Whether it is their first office.
    pub is_primary: bool,
}

/// Those who belong to an office.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OfficeMembers {
    /// By name; at most a thousand.
    pub items: Vec<OfficeMember>,
}

/// List who belongs to an office.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOfficeMembers {
    /// The office.
    pub office_id: Uuid,
}

impl Query for ListOfficeMembers {
    const SPEC: Spec = Spec::read("list_office_members", "/offices/{office_id}/members");
    type Output = OfficeMembers;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<OfficeMembers> {
        let org_id = db.org_id();
        office::find(db.connection(), org_id, self.office_id).await?;
        let rows: Vec<(UserId, String, bool)> = sqlx::query_as(
            "select users.id, users.name, office_members.is_primary
             from accounts.office_members
             join platform.users on users.id = office_members.user_id
             where office_members.org_id = $1 and office_id = $2 and users.deleted_at is null
             order by users.name, users.id limit 1000",
        )
        .bind(org_id)
        .bind(self.office_id)
        .fetch_all(db.connection())
        .await?;
        let member = |(user_id, name, is_primary)| OfficeMember { user_id, name, is_primary };
        Ok(OfficeMembers { items: rows.into_iter().map(member).collect() })
    }
}

/// Say that a user belongs to an office.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinOffice {
    /// The office.
    pub office_id: Uuid,
    /// The user.
    pub user_id: UserId,
    /// Whether it is their first office; another one is so no more then.
    pub is_primary: bool,
}

impl Command for JoinOffice {
    const SPEC: Spec = Spec::replace("join_office", "/offices/{office_id}/members/{user_id}")
        .needs(Access::Administer);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Self { office_id, user_id, is_primary } = self;
        office::locked(tx, office_id).await?;
        must_exist(tx, user_id).await?;
        let (org_id, now) = (tx.org_id(), tx.now());
        if is_primary {
            sqlx::query(
                "update accounts.office_members set is_primary = false
                 where org_id = $1 and user_id = $2 and office_id <> $3",
            )
            .bind(org_id)
            .bind(user_id)
            .bind(office_id)
            .execute(tx.connection())
            .await?;
        }
        sqlx::query(
            "insert into accounts.office_members
                 (office_member_id, org_id, office_id, user_id, is_primary, created_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (org_id, user_id, office_id) do update set is_primary = $5",
        )
        .bind(Uuid::now_v7())
        .bind(org_id)
        .bind(office_id)
        .bind(user_id)
        .bind(is_primary)
        .bind(now)
        .execute(tx.connection())
        .await?;
        tx.append(&OfficeJoined { office_id, user_id, is_primary }).await?;
        Ok(())
    }
}

/// The user does not belong to the office.
#[derive(Debug, thiserror::Error)]
#[error("the user {0} does not belong to this office")]
struct NoMember(UserId);

impl Refusal for NoMember {
    fn reason(&self) -> Reason {
        Reason::not_found("office_member_not_found").at("/user_id")
    }
}

/// Say that a user belongs to an office no more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveOffice {
    /// The office.
    pub office_id: Uuid,
    /// The user.
    pub user_id: UserId,
}

impl Command for LeaveOffice {
    const SPEC: Spec = Spec::remove("leave_office", "/offices/{office_id}/members/{user_id}")
        .needs(Access::Administer);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Self { office_id, user_id } = self;
        office::locked(tx, office_id).await?;
        let left = sqlx::query(
            "delete from accounts.office_members where office_id = $1 and user_id = $2",
        )
        .bind(office_id)
        .bind(user_id)
        .execute(tx.connection())
        .await?;
        if left.rows_affected() == 0 {
            return Err(NoMember(user_id).into());
        }
        tx.append(&OfficeLeft { office_id, user_id }).await?;
        Ok(())
    }
}
