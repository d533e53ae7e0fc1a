//! The reindexer: indexes of the queue tables that have become bloated are rebuilt, one at a time.
//!
//! A table that jobs pass through leaves its indexes with pages that are nearly empty. Vacuum gives
//! them back for new entries and never shrinks them. How many bytes an index needs is estimated
//! from the number of its entries and the width of its columns; one that has several times as many
//! is rebuilt beside the old one, while everybody goes on reading and writing.
//!
//! Only the owner of a table may do that, and only outside of a transaction, so it has a connection
//! of its own, opened for a round and closed after it.

use std::time::Duration;

use otp::ChildSpec;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, FromRow, PgConnection, Row};

use crate::{Queues, database, duty};

/// How often it looks.
const EVERY: Duration = Duration::from_hours(1);
/// Who rebuilds: "finnrndx" in ASCII, an advisory lock, because two at once wait for each other.
const LOCK: i64 = 0x6669_6e6e_726e_6478;
/// A rebuild that cannot have its locks gives up until the next round, instead of holding up others
/// who wait behind it.
const SETTINGS: &str = "set lock_timeout = '5s'; set statement_timeout = '1h'";

/// When an index counts as bloated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bloated {
    /// It has at least so many bytes.
    pub bytes_min: u64,
    /// It has at least so many times the bytes its entries need.
    pub factor_min: u64,
}

impl Default for Bloated {
    /// Sixteen megabytes, and four times what is needed.
    fn default() -> Self {
        Self { bytes_min: 16 << 20, factor_min: 4 }
    }
}

/// How large an index is, and how large it would be if it was new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSize {
    /// The index, with its schema.
    pub index: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many its entries need, roughly, by the last vacuum's count.
    pub needed_bytes: u64,
    /// Whether it is whole. What a rebuild leaves behind that failed is not.
    pub is_valid: bool,
}

impl IndexSize {
    fn is_bloated(&self, bloated: Bloated) -> bool {
        self.is_valid
            && self.bytes >= bloated.bytes_min
            && self.bytes / self.needed_bytes.max(1) >= bloated.factor_min
    }
}

/// What a round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// The indexes that were rebuilt.
    pub rebuilt: Vec<String>,
    /// What failed rebuilds had left behind.
    pub dropped: Vec<String>,
}

/// The duty as a child of `root/jobs`; `owner` connects as the owner of the tables.
#[must_use]
pub fn child(queues: &Queues, owner: PgConnectOptions) -> ChildSpec {
    duty::child("reindexer", EVERY, queues, move |queues, _| {
        let owner = owner.clone();
        async move {
            if !queues.is_leader() {
                return Ok(());
            }
            match reindex(&owner, Bloated::default()).await {
                Err(error) if !database::is_outage(&error) => {
                    // Not worth a crash: everything works with bloated indexes, only slower.
                    tracing::warn!(%error, "an index could not be rebuilt; tried again in an hour");
                    Ok(())
                }
                done => done.map(drop),
            }
        }
    })
}

/// Rebuilds the indexes that are bloated, one after the other, and drops what failed rebuilds left.
/// Does nothing while somebody else is at it.
///
/// # Errors
/// When Postgres refuses (only the owner of the tables may) or cannot be reached. What was rebuilt
/// before stays so.
pub async fn reindex(owner: &PgConnectOptions, bloated: Bloated) -> Result<Reindexed, sqlx::Error> {
    let mut connection = PgConnection::connect_with(owner).await?;
    sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
    let is_alone: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(&mut connection)
        .await?;
    let mut done = Reindexed::default();
    if is_alone {
        for index in measure(&mut connection).await? {
            if !index.is_valid {
                run(&mut connection, "drop index concurrently if exists", &index.index).await?;
                tracing::info!(index = index.index, "dropped what a failed rebuild had left");
                done.dropped.push(index.index);
            } else if index.is_bloated(bloated) {
                run(&mut connection, "reindex index concurrently", &index.index).await?;
                tracing::info!(index = index.index, bytes = index.bytes, "rebuilt a bloated index");
                done.rebuilt.push(index.index);
            }
        }
    }
    connection.close().await?;
    Ok(done)
}

/// How large the indexes of the queue tables are, the most bloated first.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn sizes(queues: &Queues) -> Result<Vec<IndexSize>, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let sizes = measure(&mut transaction).await?;
    transaction.commit().await?;
    Ok(sizes)
}

/// The name comes from the catalog, quoted by Postgres itself.
async fn run(connection: &mut PgConnection, what: &str, index: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(format!("{what} {index}"))).execute(connection).await?;
    Ok(())
}

async fn measure(connection: &mut PgConnection) -> Result<Vec<IndexSize>, sqlx::Error> {
    // An entry is a header of 8 bytes, a pointer of 4, and its columns; leaves are filled to nine
    // tenths. What has no fixed width is taken for 24 bytes.
    sqlx::query_as(
        "with measured as (
             select format('%I.%I', space.nspname, class.relname) as name,
                 pg_relation_size(class.oid) as bytes,
                 16384 + (greatest(class.reltuples, 0) / 0.9 * (
                     select 12 + sum(case when attlen > 0 then attlen else 24 end)
                     from pg_attribute where attrelid = class.oid
                 ))::bigint as needed_bytes,
                 entry.indisvalid as is_valid
             from pg_index as entry
             join pg_class as class on class.oid = entry.indexrelid
             join pg_namespace as space on space.oid = class.relnamespace
             where space.nspname = 'jobs' and class.relkind = 'i'
         )
         select name, bytes, needed_bytes, is_valid from measured
         order by bytes / needed_bytes desc, name",
    )
    .fetch_all(connection)
    .await
}

impl FromRow<'_, PgRow> for IndexSize {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            index: row.try_get("name")?,
            bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
            needed_bytes: row.try_get::<i64, _>("needed_bytes")?.unsigned_abs(),
            is_valid: row.try_get("is_valid")?,
        })
    }
}
