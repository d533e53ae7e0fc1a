//! What is on record about projections and their rebuilds, and how operators change it.
//!
//! The rows are the only memory: whoever runs a rebuild looks at its row in every transaction, so a
//! pause or a cancellation holds from the next batch on, on whichever node it was asked for.

use kernel::{Position, Timestamp};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::listing::{RebuildState, state_of, unsigned};
use super::{ReadModel, ReplayError, TableDigest, shadow};
use crate::transaction;

/// How a rebuild is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Why, for those who look at it later.
    pub reason: String,
    /// Events that share a commit at most.
    pub batch_size: u32,
    /// Events per second at most; as fast as it goes unless given.
    pub throttle: Option<u32>,
    /// Whether an operator decides at the end, whatever the comparison says.
    pub asks: bool,
}

/// Puts `model` on record, unless it is; answers the version that filled its live tables.
///
/// A rebuild by an older version than `model`'s is given up, since nobody runs that logic any more.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn declare(pool: &PgPool, model: &ReadModel, now: Timestamp) -> Result<u16, sqlx::Error> {
    let mut transaction = transaction::begin(pool).await?;
    sqlx::query(
        "insert into events.projections as known (name, domain, tables, version, declared_at)
         values ($1, $2, $3, $4, $5)
         on conflict (name) do update set tables = excluded.tables
         where known.tables <> excluded.tables",
    )
    .bind(&model.name)
    .bind(model.schema())
    .bind(&model.tables)
    .bind(i32::from(model.version))
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    let outdated = sqlx::query(
        "update events.rebuilds
         set state = 'cancelled', failure = 'a newer version of the logic has started',
             updated_at = $3, finished_at = $3
         where projection = $1 and version < $2
             and state in ('running', 'paused', 'failed', 'ready', 'digest_mismatch')",
    )
    .bind(&model.name)
    .bind(i32::from(model.version))
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    if outdated.rows_affected() > 0 {
        shadow::drop(&mut transaction, &model.name).await?;
    }
    let version = live_version(&mut transaction, &model.name).await?;
    transaction.commit().await?;
    Ok(version.unwrap_or(model.version))
}

/// The version of the logic that filled the live tables of the projection, if it is on record.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn live_version(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<u16>, sqlx::Error> {
    let version: Option<i32> =
        sqlx::query_scalar("select version from events.projections where name = $1")
            .bind(name)
            .fetch_optional(connection)
            .await?;
    version.map(unsigned).transpose()
}

/// Asks for a rebuild of `model`; answers its identity.
///
/// # Errors
/// [`ReplayError::UnderWay`] when there is one already.
pub async fn request(
    pool: &PgPool,
    model: &ReadModel,
    wish: &Wish,
    now: Timestamp,
) -> Result<Uuid, ReplayError> {
    let mut transaction = transaction::begin(pool).await?;
    let rebuild_id = Uuid::now_v7();
    let asked = sqlx::query(
        "insert into events.rebuilds (rebuild_id, projection, version, state, reason, batch_size,
             throttle, asks, started_at, updated_at)
         values ($1, $2, $3, 'running', $4, $5, $6, $7, $8, $8)
         on conflict (projection)
             where state in ('running', 'paused', 'failed', 'ready', 'digest_mismatch') do nothing",
    )
    .bind(rebuild_id)
    .bind(&model.name)
    .bind(i32::from(model.version))
    .bind(&wish.reason)
    .bind(wish.batch_size.cast_signed())
    .bind(wish.throttle.map(u32::cast_signed))
    .bind(wish.asks)
    .bind(now)
    .execute(&mut *transaction)
    .await?;
    if asked.rows_affected() == 0 {
        return Err(ReplayError::UnderWay(model.name.clone()));
    }
    transaction.commit().await?;
    Ok(rebuild_id)
}

/// Holds a rebuild from its next batch on.
///
/// # Errors
/// [`ReplayError::NotUnderWay`] or [`ReplayError::WrongState`].
pub async fn pause(pool: &PgPool, name: &str, now: Timestamp) -> Result<(), ReplayError> {
    let from = [RebuildState::Running];
    turn(pool, name, &from, RebuildState::Paused, "paused", now).await
}

/// Lets a rebuild go on that was paused or has failed.
///
/// # Errors
/// [`ReplayError::NotUnderWay`] or [`ReplayError::WrongState`].
pub async fn resume(pool: &PgPool, name: &str, now: Timestamp) -> Result<(), ReplayError> {
    let from = [RebuildState::Paused, RebuildState::Failed];
    turn(pool, name, &from, RebuildState::Running, "resumed", now).await
}

/// Gives a rebuild up and drops its shadow.
///
/// # Errors
/// [`ReplayError::NotUnderWay`].
pub async fn cancel(pool: &PgPool, name: &str, now: Timestamp) -> Result<(), ReplayError> {
    let from = [
        RebuildState::Running,
        RebuildState::Paused,
        RebuildState::Failed,
        RebuildState::Ready,
        RebuildState::DigestMismatch,
    ];
    turn(pool, name, &from, RebuildState::Cancelled, "cancelled", now).await
}

/// Decides for the rebuilt tables: they are brought up to the live cursor and swapped.
///
/// # Errors
/// [`ReplayError::NotUnderWay`] or [`ReplayError::WrongState`].
pub async fn accept(pool: &PgPool, name: &str, now: Timestamp) -> Result<(), ReplayError> {
    let from = [RebuildState::Ready, RebuildState::DigestMismatch];
    turn(pool, name, &from, RebuildState::Running, "swapped", now).await
}

/// Decides for the live tables: the rebuilt ones are dropped.
///
/// # Errors
/// [`ReplayError::NotUnderWay`] or [`ReplayError::WrongState`].
pub async fn keep(pool: &PgPool, name: &str, now: Timestamp) -> Result<(), ReplayError> {
    let from = [RebuildState::Ready, RebuildState::DigestMismatch];
    turn(pool, name, &from, RebuildState::Kept, "dropped", now).await
}

async fn turn(
    pool: &PgPool,
    name: &str,
    from: &[RebuildState],
    to: RebuildState,
    wished: &'static str,
    now: Timestamp,
) -> Result<(), ReplayError> {
    let mut transaction = transaction::begin(pool).await?;
    let state: Option<String> = sqlx::query_scalar(
        "select state from events.rebuilds
         where projection = $1
             and state in ('running', 'paused', 'failed', 'ready', 'digest_mismatch')
         for update",
    )
    .bind(name)
    .fetch_optional(&mut *transaction)
    .await?;
    let state = state.ok_or_else(|| ReplayError::NotUnderWay(name.to_owned()))?;
    let state = state_of(&state)?;
    if !from.contains(&state) {
        return Err(ReplayError::WrongState { projection: name.to_owned(), state, wished });
    }
    sqlx::query(
        "update events.rebuilds
         set state = $3, updated_at = $4, failure = null,
             is_accepted = is_accepted or $2 in ('ready', 'digest_mismatch'),
             finished_at = case when $5 then $4::timestamptz end
         where projection = $1 and state = $2",
    )
    .bind(name)
    .bind(state.name())
    .bind(to.name())
    .bind(now)
    .bind(to.is_over())
    .execute(&mut *transaction)
    .await?;
    if to.is_over() {
        shadow::drop(&mut transaction, name).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Notes what the live tables of a projection hold at `position`.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub(super) async fn note_digests(
    connection: &mut PgConnection,
    name: &str,
    position: Position,
    digests: &[TableDigest],
) -> Result<(), sqlx::Error> {
    sqlx::query("update events.projections set digests = $2, digest_position = $3 where name = $1")
        .bind(name)
        .bind(Json(digests))
        .bind(position.0)
        .execute(connection)
        .await?;
    Ok(())
}
