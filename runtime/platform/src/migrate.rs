//! Migrations: numbered SQL files per schema, each run once and never changed afterwards.
//!
//! The files are in the binary. One transaction per file, one migrator at a time by advisory lock,
//! and a file that changed after it ran is refused, because no two databases would then agree.

use std::collections::HashMap;
use std::time::Duration;

use kernel::{Digest, DomainName};
use rust_embed::RustEmbed;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use crate::roles;

#[derive(RustEmbed)]
#[folder = "../../migrations"]
#[include = "*.sql"]
struct Files;

/// Why the database could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database refused.
    #[error("the migration {file} failed: {}", said(.source))]
    Refused {
        /// The file.
        file: String,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A file changed after it ran.
    #[error("the migration {file} has changed since it ran; write a new file instead")]
    Changed {
        /// The file.
        file: String,
    },
    /// The database has run a file this release does not have.
    #[error(
        "the database has the migration {file}, which this release does not know; run a newer \
         release"
    )]
    Newer {
        /// The file.
        file: String,
    },
    /// The database does not answer.
    #[error("the database does not answer: {}", said(.0))]
    Database(#[from] sqlx::Error),
    /// Something takes connections and says nothing.
    #[error("the database does not answer within {} s", CONNECT_WITHIN.as_secs())]
    Silent,
    /// The owner may not make the roles that keep domains apart.
    #[error(
        "the owner of the database may not make the roles that keep the domains apart: let an \
         administrator give it CREATEROLE ({})",
        said(.0)
    )]
    NoRoles(sqlx::Error),
}

/// What the server said, without the line of its source that it was said in.
fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(said) => said.message().to_owned(),
        sqlx::Error::Io(said) => said.to_string(),
        other => other.to_string(),
    }
}

/// How long the first connection may take. What does not answer by then is no database, or one
/// that nobody should wait for without a word.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// One advisory lock for everybody who migrates or makes roles: `finnest` in ASCII, cut to 63 bits.
const MIGRATION_LOCK: i64 = 0x0066_696e_6e65_7374;

/// The schemas that come before those of the domains, in their order.
const FIRST: [&str; 3] = ["platform", "events", "jobs"];

/// Brings the database up to date, and answers the names of the files that ran.
///
/// # Errors
/// [`MigrateError`]; what ran before the error stays.
pub async fn migrate(
    owner: &PgConnectOptions,
    domains: &[DomainName],
) -> Result<Vec<String>, MigrateError> {
    let quiet = owner.clone().log_statements(tracing::log::LevelFilter::Off);
    let connecting = tokio::time::timeout(CONNECT_WITHIN, quiet.connect()).await;
    let mut connection = connecting.map_err(|_| MigrateError::Silent)??;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut connection)
        .await?;
    let result = migrate_locked(&mut connection, domains).await;
    // Closing the session gives the lock back, also when a migration failed.
    connection.close().await?;
    result
}

async fn migrate_locked(
    connection: &mut PgConnection,
    domains: &[DomainName],
) -> Result<Vec<String>, MigrateError> {
    run(connection, "deploy/roles.sql", roles::roles_sql(domains)).await.map_err(without_roles)?;
    run(connection, "the owner's membership", roles::OWNER_SQL.to_owned()).await?;
    let table = "create table if not exists platform.migrations (
        file text primary key, checksum bytea not null,
        applied_at timestamptz not null default now())";
    sqlx::raw_sql(table).execute(&mut *connection).await?;
    let applied: Vec<(String, Vec<u8>)> =
        sqlx::query_as("select file, checksum from platform.migrations")
            .fetch_all(&mut *connection)
            .await?;
    let mut applied: HashMap<_, _> = applied.into_iter().collect();
    let mut ran = Vec::new();
    for (file, sql) in files(domains) {
        let checksum = Digest::of(sql.as_bytes());
        match applied.remove(&file) {
            Some(known) if known == checksum.as_bytes() => {}
            Some(_) => return Err(MigrateError::Changed { file }),
            None => {
                apply(connection, &file, sql, checksum).await?;
                ran.push(file);
            }
        }
    }
    if let Some((file, _)) = applied.into_iter().find(|(file, _)| is_of(file, domains)) {
        return Err(MigrateError::Newer { file });
    }
    run(connection, "the grants to domains", roles::grants_sql(domains)).await?;
    Ok(ran)
}

/// A checksum over everything [`migrate`] would run: two databases with one checksum are alike.
#[must_use]
pub fn checksum(domains: &[DomainName]) -> Digest {
    let mut all = roles::roles_sql(domains) + &roles::grants_sql(domains);
    for (file, sql) in files(domains) {
        all.push_str(&file);
        all.push_str(&sql);
    }
    Digest::of(all.as_bytes())
}

async fn run(connection: &mut PgConnection, file: &str, sql: String) -> Result<(), MigrateError> {
    // Safe: the text is compiled into the binary or made from checked domain names.
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(drop)
        .map_err(|source| MigrateError::Refused { file: file.to_owned(), source })
}

fn without_roles(error: MigrateError) -> MigrateError {
    match error {
        MigrateError::Refused { source: sqlx::Error::Database(said), .. }
            if said.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE) =>
        {
            MigrateError::NoRoles(sqlx::Error::Database(said))
        }
        other => other,
    }
}

/// How Postgres says that somebody may not do something.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

async fn apply(
    connection: &mut PgConnection,
    file: &str,
    sql: String,
    checksum: Digest,
) -> Result<(), MigrateError> {
    let refused = |source| MigrateError::Refused { file: file.to_owned(), source };
    #[allow(
        clippy::disallowed_methods,
        reason = "migrations run as the owner, before any role or tenant"
    )]
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.map_err(refused)?;
    sqlx::query("insert into platform.migrations (file, checksum) values ($1, $2)")
        .bind(file)
        .bind(checksum.as_bytes().as_slice())
        .execute(&mut *transaction)
        .await
        .map_err(refused)?;
    transaction.commit().await.map_err(refused)
}

fn is_of(file: &str, domains: &[DomainName]) -> bool {
    let schema = file.split('/').next().unwrap_or_default();
    FIRST.contains(&schema) || domains.iter().any(|domain| domain.as_str() == schema)
}

/// The files of the platform and of `domains`, in the order they run.
fn files(domains: &[DomainName]) -> Vec<(String, String)> {
    let mut domains: Vec<&str> = domains.iter().map(|domain| domain.as_str()).collect();
    domains.sort_unstable();
    let schemas: Vec<&str> = FIRST.into_iter().chain(domains).collect();
    let rank = |file: &str| {
        let schema = file.split('/').next().unwrap_or_default();
        schemas.iter().position(|known| *known == schema)
    };
    let mut files: Vec<(usize, String)> =
        Files::iter().filter_map(|file| Some((rank(&file)?, file.into_owned()))).collect();
    files.sort_unstable();
    files
        .into_iter()
        .map(|(_, file)| {
            let bytes = Files::get(&file).expect("a listed file is in the binary").data;
            let sql = String::from_utf8_lossy(&bytes).into_owned();
            (file, sql)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        // Connections are taken by the kernel, and nobody ever answers on them.
        let mute = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = mute.local_addr().expect("a bound socket has an address").port();
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port);

        let migrated = migrate(&options, &[]).await;

        assert!(matches!(migrated, Err(MigrateError::Silent)), "{migrated:?}");
    }
}
