//! Enrolment: an organisation's first users, made by whoever sets the platform up.

use kernel::{Digest, OrgId, Role, Timestamp, UserId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::refusal::Result;

/// A user with a token, as it is enrolled.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The organisation; made if it does not exist.
    pub org_id: OrgId,
    /// Its name.
    pub org_name: String,
    /// Its short name, for addresses.
    pub org_slug: String,
    /// The user; made if it does not exist.
    pub user_id: UserId,
    /// The user's name.
    pub name: String,
    /// The user's address, in lower case.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// The bearer token; only its digest is stored.
    pub token: String,
}

/// Makes organisation, user and token, as far as they do not exist yet.
pub(crate) async fn enrol(pool: &PgPool, enrolment: &Enrolment, now: Timestamp) -> Result<()> {
    let mut transaction = store::begin(pool).await?;
    sqlx::query(
        "insert into platform.organisations (id, name, slug, created_at) values ($1, $2, $3, $4)
         on conflict (id) do nothing",
    )
    .bind(enrolment.org_id)
    .bind(&enrolment.org_name)
    .bind(&enrolment.org_slug)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "insert into platform.users (id, org_id, name, email, role, created_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (id) do nothing",
    )
    .bind(enrolment.user_id)
    .bind(enrolment.org_id)
    .bind(&enrolment.name)
    .bind(&enrolment.email)
    .bind(enrolment.role.name())
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "insert into platform.tokens (token_hash, user_id, org_id, label, created_at, id)
         values ($1, $2, $4, 'enrolment', $3, $5)
         on conflict (token_hash) do nothing",
    )
    .bind(Digest::of(enrolment.token.as_bytes()).as_bytes().as_slice())
    .bind(enrolment.user_id)
    .bind(now)
    .bind(enrolment.org_id)
    .bind(Uuid::now_v7())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
