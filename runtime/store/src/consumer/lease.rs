//! Leases: which process works which lane, so that the others need not try.
//!
//! A process renews all leases of its lanes in one statement, twice a second, by the clock of the
//! database. Where it dies or hangs they expire, and whoever stands by takes over: it asks again
//! when the lease would expire, and ends the transaction that a hanging process may have left open.
//!
//! **Invariant:** a lease spares work and decides nothing. Whoever moves the cursor holds its row,
//! lease or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::Position;
use sqlx::{AssertSqlSafe, PgPool, Row};
use tokio::time::Instant;
use uuid::Uuid;

use super::pace::Busy;
use crate::log::Log;

/// How long a lease holds unless it is renewed.
const LEASE: Duration = Duration::from_millis(1_400);

/// How often leases are renewed.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// How long one attempt to renew or release may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the consumers of one process share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Tells this process from all others and from its own earlier incarnations.
    pub(crate) holder: Uuid,
    /// The leases held here, by the names of cursors, and how many incarnations hold each.
    held: Mutex<HashMap<Arc<str>, u32>>,
    /// When all of them were renewed last.
    renewed: tokio::sync::Mutex<Option<Instant>>,
    pub(super) busy: Busy,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            holder: Uuid::now_v7(),
            held: Mutex::default(),
            renewed: tokio::sync::Mutex::default(),
            busy: Busy::default(),
        }
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, HashMap<Arc<str>, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of the wish for a lease.
pub(super) enum Wish {
    /// It is held now, unless it is lost later.
    Granted(Lease),
    /// Somebody else holds it.
    Refused {
        /// For so long, unless it is renewed.
        remaining: Duration,
        /// Where the cursor stands, if there is one.
        position: Option<Position>,
    },
}

/// A lane that this process works. Dropping it lets the lease expire.
#[derive(Debug)]
pub(super) struct Lease {
    log: Log,
    name: Arc<str>,
}

/// Tries to get the lease of the cursor `name`.
pub(super) async fn acquire(log: &Log, name: &Arc<str>) -> Result<Wish, sqlx::Error> {
    // One message and hence one transaction, so that whoever hangs can never hang in the middle of
    // it, holding the row.
    let statement = format!(
        "set local role finnest_runtime; set local synchronous_commit = off; \
         set local lock_timeout = '1s'; \
         insert into events.leases as lease (name, holder, expires_at) \
         values ({name}, '{holder}', clock_timestamp() + interval '{lease} ms') \
         on conflict (name) do update \
             set holder = excluded.holder, expires_at = excluded.expires_at \
             where lease.holder = excluded.holder or lease.expires_at < clock_timestamp(); \
         select holder = '{holder}' as is_mine, \
             greatest(extract(epoch from expires_at - clock_timestamp()) * 1000, 0)::bigint \
                 as remaining_ms, \
             (select position from events.cursors where name = {name}) as position \
         from events.leases where name = {name}",
        name = quoted(name),
        holder = log.consumers().holder,
        lease = LEASE.as_millis(),
    );
    let row = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_one(log.pool()).await?;
    if row.try_get("is_mine")? {
        *log.consumers().held().entry(name.clone()).or_default() += 1;
        return Ok(Wish::Granted(Lease { log: log.clone(), name: name.clone() }));
    }
    let remaining_ms: i64 = row.try_get("remaining_ms")?;
    let position: Option<i64> = row.try_get("position")?;
    Ok(Wish::Refused {
        remaining: Duration::from_millis(u64::try_from(remaining_ms).unwrap_or_default()),
        position: position.map(Position),
    })
}

/// Ends the transactions that others have left open over the lane with this `key`: of a process
/// that hangs, or of an incarnation that was killed a moment ago.
pub(super) async fn fence(pool: &PgPool, key: i64) -> Result<(), sqlx::Error> {
    for wait in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(150)] {
        tokio::time::sleep(wait).await;
        let is_free: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
            .bind(key)
            .fetch_one(pool)
            .await?;
        if is_free {
            return Ok(());
        }
    }
    // As the application's user, who may end the sessions of its own kind.
    let ended = sqlx::query(
        "select pg_terminate_backend(pid, 1000) from pg_locks
         where locktype = 'advisory' and granted and pid <> pg_backend_pid() and objsubid = 1
             and database = (select oid from pg_database where datname = current_database())
             and (classid::bigint << 32 | objid::bigint) = $1",
    )
    .bind(key)
    .fetch_all(pool)
    .await?;
    tracing::warn!(
        ended = ended.len(),
        "transactions left open over a consumer's cursor are ended"
    );
    Ok(())
}

impl Lease {
    /// Keeps the lease until it is lost to somebody else.
    ///
    /// # Cancel safety
    /// The lease then expires unless somebody keeps it again.
    pub(super) async fn keep(&self) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            self.renew().await;
            if !self.log.consumers().held().contains_key(&self.name) {
                return;
            }
        }
    }

    /// Renews all leases of the process, unless one of its other lanes has just done so.
    async fn renew(&self) {
        let shared = self.log.consumers();
        let mut renewed = shared.renewed.lock().await;
        if renewed.is_some_and(|at| at.elapsed() < RENEW_EVERY / 2) {
            return;
        }
        let names: Vec<Arc<str>> = shared.held().keys().cloned().collect();
        match tokio::time::timeout(PATIENCE, renew(self.log.pool(), shared.holder, &names)).await {
            Ok(Ok(kept)) => {
                *renewed = Some(Instant::now());
                let mut held = shared.held();
                for name in names.iter().filter(|name| !kept.iter().any(|kept| **kept == ***name)) {
                    held.remove(name);
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the leases of consumers are not renewed"),
            Err(_) => tracing::warn!("the leases of consumers are not renewed in time"),
        }
    }

    /// Gives the lease back, so that others need not wait for it to expire.
    pub(super) async fn release(self) {
        let statement = format!(
            "set local role finnest_runtime; set local synchronous_commit = off; \
             delete from events.leases where name = {} and holder = '{}'",
            quoted(&self.name),
            self.log.consumers().holder,
        );
        let released = sqlx::raw_sql(AssertSqlSafe(statement)).execute(self.log.pool());
        // What is not given back expires.
        let _ = tokio::time::timeout(PATIENCE, released).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.log.consumers().held();
        if let Some(count) = held.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.name);
            }
        }
    }
}

/// Renews the leases with these names; answers which of them are still held.
async fn renew(
    pool: &PgPool,
    holder: Uuid,
    names: &[Arc<str>],
) -> Result<Vec<String>, sqlx::Error> {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let statement = format!(
        "set local role finnest_runtime; set local synchronous_commit = off; \
         update events.leases set expires_at = clock_timestamp() + interval '{} ms' \
         where holder = '{holder}' and name in ({}) returning name",
        LEASE.as_millis(),
        quoted.join(", "),
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(statement)).fetch_all(pool).await?;
    rows.iter().map(|row| row.try_get("name")).collect()
}

/// A text as SQL has it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
