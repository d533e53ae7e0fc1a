//! Whether what opened a lasting connection still stands, asked while the connection is open.

use kernel::{Role, SecondFactor, Timestamp};
use sqlx::PgPool;
use uuid::Uuid;

use super::{CredentialKind, Identity};
use crate::refusal::{Error, Result};

/// What is behind a connection, from the credential it stands on to what that was made from.
const STANDS: &str = "
    with recursive line as (
        select id, parent_id, revoked_at, second_factor_at, expires_at, 0 as above,
            coalesce(last_used_at, created_at) + idle_ms * interval '1 millisecond' as idle_at
        from platform.tokens
        where id = $1
        union all
        select parent.id, parent.parent_id, parent.revoked_at, parent.second_factor_at,
            parent.expires_at, line.above + 1,
            coalesce(parent.last_used_at, parent.created_at)
                + parent.idle_ms * interval '1 millisecond'
        from line join platform.tokens parent on parent.id = line.parent_id
        where line.above < 8
    ),
    behind as (
        select max(second_factor_at) as second_factor_at,
            min(least(expires_at, idle_at)) as valid_until
        from line
        having count(*) > 0
            and bool_and(revoked_at is null and coalesce(least(expires_at, idle_at) > $3, true))
    )
    select users.role, behind.second_factor_at, behind.valid_until
    from platform.users
    join platform.organisations on organisations.id = users.org_id
    cross join behind
    where users.id = $2 and users.deleted_at is null and organisations.deleted_at is null";

/// Who `identity` is now; nobody if its credential, or what that was made from, its user or its
/// organisation has ended. A ticket has ended when it was used, and a service's token is kept
/// nowhere: what counts is what they were made from, and for the latter its own end.
pub(super) async fn stands(
    pool: &PgPool,
    identity: &Identity,
    now: Timestamp,
) -> Result<Option<Identity>> {
    let credential = &identity.credential;
    let own_end = credential.valid_until.filter(|_| credential.kind == CredentialKind::Service);
    if own_end.is_some_and(|end| end <= now) {
        return Ok(None);
    }
    let credential_id: Uuid = match (credential.kind, credential.parent_id) {
        (CredentialKind::Ticket | CredentialKind::Service, Some(parent_id)) => parent_id,
        _ => credential.id,
    };
    let mut transaction = store::begin(pool).await?;
    let row: Option<(String, Option<Timestamp>, Option<Timestamp>)> = sqlx::query_as(STANDS)
        .bind(credential_id)
        .bind(identity.user_id)
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    let Some((role, shown_at, valid_until)) = row else { return Ok(None) };
    let role = Role::from_name(&role).ok_or_else(|| {
        Error::failure(format!("the user {} has the unknown role {role}", identity.user_id))
    })?;
    let mut identity = identity.clone();
    identity.role = role;
    identity.credential.valid_until = own_end.into_iter().chain(valid_until).min();
    identity.credential.second_factor = match (identity.credential.second_factor, shown_at) {
        (SecondFactor::NotAsked, _) => SecondFactor::NotAsked,
        (_, None) => SecondFactor::Missing,
        (_, Some(at)) => SecondFactor::Shown { at },
    };
    Ok(Some(identity))
}
