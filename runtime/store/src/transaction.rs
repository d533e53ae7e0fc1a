//! Transactions of the runtime: opened as its role, in one round trip.
//!
//! The application's user has no rights of its own; it becomes a role for one transaction. What the
//! runtime may do is less than one might think: read the log, seal it, move cursors.

use sqlx::{PgPool, Postgres, Transaction};

/// Opens a transaction as the runtime.
///
/// # Errors
/// When no connection is to be had.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with("begin; set local role finnest_runtime").await
}

/// Opens a read-only transaction as the runtime, for reading the log.
///
/// The planner is told to follow the order of positions: with statistics that lag behind a growing
/// log it sometimes prefers to read or to hash the whole of it for a handful of events, or to
/// compile the query.
///
/// # Errors
/// When no connection is to be had.
pub async fn begin_reading(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(
        "begin read only; set local role finnest_runtime; set local enable_hashjoin = off; \
         set local enable_mergejoin = off; set local enable_seqscan = off; set local jit = off",
    )
    .await
}

/// Opens a read-only transaction as the runtime that sees the log at one instant to its end, for
/// walking all of it.
///
/// # Errors
/// When no connection is to be had.
pub(crate) async fn begin_snapshot(
    pool: &PgPool,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(
        "begin isolation level repeatable read read only; set local role finnest_runtime; \
         set local enable_hashjoin = off; set local enable_mergejoin = off; set local jit = off",
    )
    .await
}
