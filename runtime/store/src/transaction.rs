//! Transactions of the runtime: opened as its role, in one round trip.
//!
//! The application's user has no rights of its own; it becomes a role for one transaction. What the
//! runtime may do is less than one might think: read the log, seal it, move cursors.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use sqlx::{PgPool, Postgres, SqlSafeStr, Transaction};
use tokio::runtime::Handle;

/// Opens a transaction by the statements in `begin`, in one round trip.
///
/// # Errors
/// When no connection is to be had.
///
/// # Cancel safety
/// The transaction is rolled back when the future is dropped, wherever it is. The pool's own
/// `begin_with` forgets a transaction while it is being opened: whoever got its connection next
/// would find himself in it, read only or as somebody else.
pub async fn open(
    pool: &PgPool,
    begin: impl SqlSafeStr,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let begin = begin.into_sql_str();
    let connection = pool.acquire().await?;
    Opening(Some(Transaction::begin(connection, Some(begin)))).await
}

/// A transaction that is being opened; to its end, even if nobody waits for it any more.
struct Opening(Option<BoxFuture<'static, Result<Transaction<'static, Postgres>, sqlx::Error>>>);

impl Future for Opening {
    type Output = Result<Transaction<'static, Postgres>, sqlx::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let opening = self.0.as_mut().expect("nobody asks again for what was given");
        let opened = opening.as_mut().poll(context);
        if opened.is_ready() {
            self.0 = None;
        }
        opened
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // An orphan for the length of one round trip, as the pool's own when it takes a connection
        // back. Without a runtime there is no pool either.
        if let (Some(opening), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(opening);
        }
    }
}

/// Opens a transaction as the runtime.
///
/// # Errors
/// When no connection is to be had.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    open(pool, "begin; set local role finnest_runtime").await
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
    open(
        pool,
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
    open(
        pool,
        "begin isolation level repeatable read read only; set local role finnest_runtime; \
         set local enable_hashjoin = off; set local enable_mergejoin = off; set local jit = off",
    )
    .await
}
