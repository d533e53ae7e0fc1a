//! How this crate meets the database: as the runtime's role, and telling an outage from a bug.

use std::time::Duration;

use sqlx::{PgPool, Postgres, Transaction};

/// A connection that cannot be had within this time counts as an outage.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// Opens a transaction that may reach every queue of every tenant, in one round trip.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let opening = pool.begin_with("begin; set local role finnest_runtime");
    match tokio::time::timeout(BEGIN_WITHIN, opening).await {
        Ok(transaction) => transaction,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// An outage as everybody knows it, or a server that may only be read: none of our transactions
/// asks for that, so it is a standby on its way to be the primary.
pub(crate) fn is_outage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    kernel::is_outage(error) || code.is_some_and(|code| code == "25006")
}
