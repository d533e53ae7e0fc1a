//! Finding whoever shows a credential, in the database.

use kernel::{Digest, OrgId, Role, SecondFactor, Timestamp, UserId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgPool, Row as _};
use uuid::Uuid;

use super::{Credential, CredentialKind, Identity};
use crate::profile::Profile;
use crate::refusal::{Error, Result};

/// A credential with its user and organisation, if nothing of it has ended.
struct Row {
    id: Uuid,
    kind: String,
    scopes: Option<Vec<String>>,
    parent_id: Option<Uuid>,
    /// The kind of what it all began with.
    origin_kind: String,
    second_factor_at: Option<Timestamp>,
    valid_until: Option<Timestamp>,
    is_use_old: bool,
    user_id: UserId,
    name: String,
    email: String,
    role: String,
    has_second_factor: bool,
    org_id: OrgId,
    org_name: String,
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            kind: row.try_get("kind")?,
            scopes: row.try_get("scopes")?,
            parent_id: row.try_get("parent_id")?,
            origin_kind: row.try_get("origin_kind")?,
            second_factor_at: row.try_get("second_factor_at")?,
            valid_until: row.try_get("valid_until")?,
            is_use_old: row.try_get("is_use_old")?,
            user_id: row.try_get("user_id")?,
            name: row.try_get("name")?,
            email: row.try_get("email")?,
            role: row.try_get("role")?,
            has_second_factor: row.try_get("has_second_factor")?,
            org_id: row.try_get("org_id")?,
            org_name: row.try_get("org_name")?,
        })
    }
}

/// What must hold of a credential, whatever its kind: nothing of it, of what it was made from, of
/// its user or of its organisation has ended. What a second factor was shown for once counts for
/// all that was made from the same sign-in. A ticket is over in a minute, what it opens is not: it
/// is good for as long as what the ticket was made from.
const GOOD: &str = "
    with recursive line (kind, parent_id, expires_at, revoked_at, second_factor_at, above) as (
        select kind, parent_id, expires_at, revoked_at, second_factor_at, 0
        from platform.tokens
        where token_hash = $1 or id = $3
        union all
        select parent.kind, parent.parent_id, parent.expires_at, parent.revoked_at,
            parent.second_factor_at, line.above + 1
        from line join platform.tokens parent on parent.id = line.parent_id
        where line.above < 8
    ),
    behind as (
        select (array_agg(kind order by above desc))[1] as origin_kind,
            min(expires_at) filter (where kind <> 'ticket') as expires_at,
            max(second_factor_at) as second_factor_at
        from line
        having bool_and(revoked_at is null and coalesce(expires_at > $2, true))
            and (array_agg(parent_id order by above desc))[1] is null
    )
    select tokens.id, tokens.kind, tokens.scopes, tokens.parent_id, behind.origin_kind,
        behind.second_factor_at,
        least(behind.expires_at,
            coalesce(tokens.last_used_at, tokens.created_at)
                + tokens.idle_ms * interval '1 millisecond') as valid_until,
        coalesce(tokens.last_used_at < $2 - interval '1 minute', true) as is_use_old,
        users.id as user_id, users.name, users.email, users.role, users.has_second_factor,
        users.org_id, organisations.name as org_name
    from platform.tokens
    cross join behind
    join platform.users on users.id = tokens.user_id
    join platform.organisations on organisations.id = users.org_id
    where (tokens.token_hash = $1 or tokens.id = $3)
        and (tokens.idle_ms is null
            or coalesce(tokens.last_used_at, tokens.created_at)
                + tokens.idle_ms * interval '1 millisecond' > $2)
        and users.deleted_at is null
        and organisations.deleted_at is null";

pub(super) async fn find(
    pool: &PgPool,
    digest: &Digest,
    now: Timestamp,
    profile: Profile,
) -> Result<Option<Identity>> {
    let mut transaction = store::begin(pool).await?;
    let row = good(&mut transaction, Shown::Secret(digest), now).await?;
    let Some(row) = row.filter(|row| row.kind != CredentialKind::Ticket.name()) else {
        transaction.rollback().await?;
        return Ok(None);
    };
    if row.is_use_old && !note_use(&mut transaction, row.id, now).await? {
        transaction.rollback().await?;
        return Ok(None);
    }
    transaction.commit().await?;
    identity(row, profile).map(Some)
}

/// Notes that a credential is used, unless it was revoked while this waited for its row.
///
/// Whoever uses a session keeps it, and people see in their list what is in use. The first use is
/// always noted: until then the domain that keeps credentials may take one back.
async fn note_use(connection: &mut PgConnection, id: Uuid, now: Timestamp) -> Result<bool> {
    let noted = sqlx::query(
        "update platform.tokens set last_used_at = $2 where id = $1 and revoked_at is null",
    )
    .bind(id)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() > 0)
}

/// Whose the credential of this id is, without using it.
pub(super) async fn by_id(
    pool: &PgPool,
    id: Uuid,
    now: Timestamp,
    profile: Profile,
) -> Result<Option<Identity>> {
    let mut transaction = store::begin(pool).await?;
    let row = good(&mut transaction, Shown::Id(id), now).await?;
    transaction.rollback().await?;
    row.map(|row| identity(row, profile)).transpose()
}

pub(super) async fn redeem(
    pool: &PgPool,
    digest: &Digest,
    now: Timestamp,
    profile: Profile,
) -> Result<Option<Identity>> {
    let mut transaction = store::begin(pool).await?;
    let row = good(&mut transaction, Shown::Secret(digest), now).await?;
    let Some(row) = row.filter(|row| row.kind == CredentialKind::Ticket.name()) else {
        transaction.rollback().await?;
        return Ok(None);
    };
    // Of two who show it at once, the second waits here and then finds it used.
    let used = sqlx::query(
        "update platform.tokens set revoked_at = $2, last_used_at = $2
         where id = $1 and revoked_at is null",
    )
    .bind(row.id)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    if used.rows_affected() == 0 {
        return Ok(None);
    }
    identity(row, profile).map(Some)
}

/// By what a credential is found.
enum Shown<'a> {
    Secret(&'a Digest),
    Id(Uuid),
}

async fn good(
    connection: &mut PgConnection,
    shown: Shown<'_>,
    now: Timestamp,
) -> Result<Option<Row>> {
    let (digest, id) = match shown {
        Shown::Secret(digest) => (Some(digest.as_bytes().as_slice()), None),
        Shown::Id(id) => (None, Some(id)),
    };
    Ok(sqlx::query_as(GOOD).bind(digest).bind(now).bind(id).fetch_optional(connection).await?)
}

fn identity(row: Row, profile: Profile) -> Result<Identity> {
    let role = Role::from_name(&row.role).ok_or_else(|| {
        Error::failure(format!("the user {} has the unknown role {}", row.user_id, row.role))
    })?;
    let kind_of = |name: &str| {
        CredentialKind::from_name(name).ok_or_else(|| {
            Error::failure(format!("the credential {} is of the unknown kind {name}", row.id))
        })
    };
    let (kind, origin) = (kind_of(&row.kind)?, kind_of(&row.origin_kind)?);
    let is_asked =
        profile.demands_second_factor() || (origin.is_interactive() && row.has_second_factor);
    let second_factor = match row.second_factor_at {
        _ if !is_asked => SecondFactor::NotAsked,
        None => SecondFactor::Missing,
        Some(at) => SecondFactor::Shown { at },
    };
    let credential = Credential {
        id: row.id,
        kind,
        parent_id: row.parent_id,
        scopes: row.scopes,
        second_factor,
        valid_until: row.valid_until,
    };
    let Row { user_id, name, email, org_id, org_name, .. } = row;
    Ok(Identity { user_id, name, email, role, org_id, org_name, credential })
}
