//! Identity: from a bearer token to the person, the role and the organisation behind it.
//!
//! Only the SHA-256 digest of a token is stored. Answers are kept for some seconds, so that a busy
//! client does not cost a query a request; a revoked token works that much longer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kernel::{Digest, OrgId, Role, Scope, Timestamp, UserId};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::refusal::{Error, Result};

/// Who a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user_id: UserId,
    /// The user's name, for greetings and audit trails.
    pub name: String,
    /// The user's address.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// The user's organisation.
    pub org_id: OrgId,
    /// The organisation's name.
    pub org_name: String,
}

impl Identity {
    /// The scope of a request by this user.
    #[must_use]
    pub fn scope(&self, correlation_id: Uuid) -> Scope {
        Scope::user(self.org_id, self.user_id, self.role, correlation_id)
    }
}

/// How long an answer is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// How many answers are remembered; beyond that all are forgotten, which costs a query each.
const REMEMBERED_MAX: usize = 10_000;

/// Known tokens.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    remembered: Mutex<HashMap<Digest, (Instant, Option<Identity>)>>,
}

impl Identities {
    pub(crate) async fn of(&self, pool: &PgPool, token: &str) -> Result<Option<Identity>> {
        let digest = Digest::of(token.as_bytes());
        if let Some(identity) = self.remembered(&digest) {
            return Ok(identity);
        }
        let identity = find(pool, &digest).await?;
        let mut remembered = self.remembered.lock().expect("no holder of this lock panics");
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(digest, (Instant::now(), identity.clone()));
        Ok(identity)
    }

    /// What is remembered of a token; the inner absence is the memory that nobody has it.
    #[allow(clippy::option_option, reason = "not remembered and remembered as unknown differ")]
    fn remembered(&self, digest: &Digest) -> Option<Option<Identity>> {
        let remembered = self.remembered.lock().expect("no holder of this lock panics");
        let (at, identity) = remembered.get(digest)?;
        (at.elapsed() < REMEMBERED_FOR).then(|| identity.clone())
    }
}

async fn find(pool: &PgPool, digest: &Digest) -> Result<Option<Identity>> {
    let mut transaction = store::begin(pool).await?;
    let row: Option<(UserId, String, String, String, OrgId, String)> = sqlx::query_as(
        "select users.id, users.name, users.email, users.role, users.org_id, organisations.name
         from platform.tokens
         join platform.users on users.id = tokens.user_id
         join platform.organisations on organisations.id = users.org_id
         where tokens.token_hash = $1
           and tokens.revoked_at is null
           and (tokens.expires_at is null or tokens.expires_at > clock_timestamp())
           and users.deleted_at is null
           and organisations.deleted_at is null",
    )
    .bind(digest.as_bytes().as_slice())
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    row.map(|(user_id, name, email, role, org_id, org_name)| {
        let role = Role::from_name(&role).ok_or_else(|| {
            Error::failure(format!("the user {user_id} has the unknown role {role}"))
        })?;
        Ok(Identity { user_id, name, email, role, org_id, org_name })
    })
    .transpose()
}

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
        "insert into platform.tokens (token_hash, user_id, label, created_at)
         values ($1, $2, 'enrolment', $3)
         on conflict (token_hash) do nothing",
    )
    .bind(Digest::of(enrolment.token.as_bytes()).as_bytes().as_slice())
    .bind(enrolment.user_id)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
