//! How this crate meets the database: as the runtime's role, and telling an outage from a bug.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{PgPool, Postgres, SqlSafeStr, Transaction};
use tokio::runtime::Handle;

/// A connection that cannot be had within this time counts as an outage.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// Every tenant and queue.
const AS_RUNTIME: &str = "begin; set local role finnest_runtime";

/// The same, with plans that are made once and walk the indexes: a statement that touches some rows
/// of a large table must not be planned anew each time, nor by statistics from when it was small.
const BY_INDEX: &str = "begin; set local role finnest_runtime; \
    set local plan_cache_mode = force_generic_plan; set local enable_seqscan = off; \
    set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_sort = off";

/// Opens a transaction that may reach every queue of every tenant, in one round trip.
///
/// # Cancel safety
/// The transaction is rolled back when the future is dropped, wherever it is.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    open(pool, AS_RUNTIME).await
}

/// As [`begin`], for statements that are run for each job or batch of them, and nothing else.
///
/// # Cancel safety
/// The same.
pub(crate) async fn begin_by_index(
    pool: &PgPool,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    open(pool, BY_INDEX).await
}

async fn open(
    pool: &PgPool,
    opening: &'static str,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let opening = async {
        let connection = pool.acquire().await?;
        Opening(Some(Box::pin(Transaction::begin(connection, Some(opening.into_sql_str()))))).await
    };
    match tokio::time::timeout(BEGIN_WITHIN, opening).await {
        Ok(transaction) => transaction,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// A transaction that is being opened; to its end, even if nobody waits for it any more: the pool's
/// own `begin_with`, dropped meanwhile, gives its connection back inside the transaction.
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

/// An outage as everybody knows it, or a server that may only be read: none of our transactions
/// asks for that, so it is a standby on its way to be the primary.
pub(crate) fn is_outage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    kernel::is_outage(error) || code.is_some_and(|code| code == "25006")
}
