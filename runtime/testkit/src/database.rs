//! A fresh database for each test: cloned from a migrated template, gone when the test ends.
//!
//! Tests share one server and nothing else. The first test process that needs a server starts one
//! below the target directory; it stays up for those that follow, since every test may be a process
//! of its own and none of them can know to be the last. `FINNEST_TEST_SERVER` names another server
//! instead: the directory of its socket, or a PostgreSQL address.
//!
//! Migrations run once for each template key, not once for each test: copying a database is faster
//! by an order of magnitude, and every copy is the same.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use platform::postgres::{APP, Attached, Embedded, OWNER, Options, PostgresError};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Where the shared server is, below the target directory.
const BELOW_TARGET: &str = "test-server";
/// Names the server to use instead of one of our own.
const SERVER_VARIABLE: &str = "FINNEST_TEST_SERVER";
/// One advisory lock for everybody who builds a template, since roles belong to the whole server.
const TEMPLATE_LOCK: i64 = 0x7465_6d70_6c61;
/// One advisory lock for whoever clears away what killed tests left behind.
const LEFTOVER_LOCK: i64 = 0x6c65_6674_6f76;

/// Settings of a server whose data nobody will miss: every write is as fast as memory.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "off"),
    ("max_connections", "300"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "4GB"),
    // A vacuum in a template would keep it from being copied.
    ("autovacuum", "off"),
];

/// A database of one test.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    owner: PgConnectOptions,
    app: PgConnectOptions,
    is_dropped: bool,
}

impl TestDatabase {
    /// Makes a database from the template of this key, which `migrate` fills when there is none.
    ///
    /// The key must change whenever `migrate` would do something else, as a checksum does.
    ///
    /// # Errors
    ///
    /// When there is no server, or `migrate` fails: then no test can say anything.
    pub async fn create(
        template_key: &str,
        migrate: impl AsyncFn(PgConnectOptions) -> Result<()>,
    ) -> Result<Self> {
        let (owner, app) = server().await?;
        let mut connection = administer(&owner).await?;
        let template = template(&mut connection, &owner, template_key, migrate).await?;
        clear_leftovers(&mut connection, &template).await?;
        let name = format!("test_{}", Uuid::now_v7().simple());
        copy(&mut connection, &template, &name)
            .await
            .context("a test database is copied from its template")?;
        connection.close().await?;
        let (owner, app) = (owner.database(&name), app.database(&name));
        Ok(Self { name, owner, app, is_dropped: false })
    }

    /// Connects as the owner of the database, who is refused nothing.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        self.owner.clone()
    }

    /// Connects as the application, to whom roles and row security apply.
    #[must_use]
    pub fn app_options(&self) -> PgConnectOptions {
        self.app.clone()
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Drops the database now; open connections are cut.
    pub async fn close(mut self) {
        self.is_dropped = true;
        // What stays is cleared away by a later test.
        drop(drop_database(&self.owner, &self.name).await);
    }
}

impl Drop for TestDatabase {
    /// A thread of its own, because the runtime of the test may be about to end.
    fn drop(&mut self) {
        if self.is_dropped {
            return;
        }
        let (owner, name) = (self.owner.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(drop_database(&owner, &name)))
        });
        drop(dropping.join());
    }
}

async fn drop_database(owner: &PgConnectOptions, name: &str) -> Result<()> {
    let mut connection = administer(owner).await?;
    execute(&mut connection, format!("drop database if exists {name} with (force)")).await?;
    connection.close().await?;
    Ok(())
}

/// Copies file by file where the server lets us choose: half the time of copying through its log.
async fn copy(connection: &mut PgConnection, template: &str, name: &str) -> Result<()> {
    let sql = "select current_setting('server_version_num')::int >= 150000";
    let may_choose: bool = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    let strategy = if may_choose { "strategy file_copy" } else { "" };
    execute(connection, format!("create database {name} template {template} {strategy}")).await?;
    Ok(())
}

/// Connects to the database that every server has, to make and drop others.
async fn administer(owner: &PgConnectOptions) -> Result<PgConnection> {
    let options = owner.clone().database("postgres");
    options.connect().await.context("the test server does not answer")
}

async fn execute(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    // Safe: the only names in it are made here, of letters, digits and underscores.
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// Finds the template of a key, or builds it while all others who need one wait.
async fn template(
    connection: &mut PgConnection,
    owner: &PgConnectOptions,
    key: &str,
    migrate: impl AsyncFn(PgConnectOptions) -> Result<()>,
) -> Result<String> {
    let digest = platform::Digest::of(key.as_bytes()).to_string();
    let name = format!("template_{}", &digest[..24]);
    if is_template(connection, &name).await? {
        return Ok(name);
    }
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await?;
    if !is_template(connection, &name).await? {
        // One that is not marked as a template was left half-built.
        execute(connection, format!("drop database if exists {name} with (force)")).await?;
        execute(connection, format!("create database {name}")).await?;
        migrate(owner.clone().database(&name)).await.context("the migrations failed")?;
        let finish = format!("alter database {name} with is_template true allow_connections false");
        execute(connection, finish).await?;
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK).execute(connection).await?;
    Ok(name)
}

async fn is_template(connection: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists(select from pg_database where datname = $1 and datistemplate)",
    )
    .bind(name)
    .fetch_one(connection)
    .await
}

/// Drops databases of tests that were killed more than an hour ago, and templates of last week.
async fn clear_leftovers(connection: &mut PgConnection, template: &str) -> Result<()> {
    static CLEARED: OnceCell<()> = OnceCell::const_new();
    if CLEARED.set(()).is_err() {
        return Ok(());
    }
    let alone: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(LEFTOVER_LOCK)
        .fetch_one(&mut *connection)
        .await?;
    if !alone {
        return Ok(());
    }
    let leftovers = "
        select datname::text, datistemplate from pg_database
        where datname <> $1
          and (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification
              < now() - case
                    when datname like 'test\\_%' then interval '1 hour'
                    when datname like 'template\\_%' then interval '7 days'
                end";
    let leftovers: Vec<(String, bool)> =
        sqlx::query_as(leftovers).bind(template).fetch_all(&mut *connection).await?;
    for (name, is_template) in leftovers {
        if is_template {
            execute(connection, format!("alter database {name} with is_template false")).await?;
        }
        execute(connection, format!("drop database if exists {name} with (force)")).await?;
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(LEFTOVER_LOCK).execute(connection).await?;
    Ok(())
}

/// How to connect to the server, as its owner and as the application.
async fn server() -> Result<(PgConnectOptions, PgConnectOptions)> {
    static SERVER: OnceCell<(PgConnectOptions, PgConnectOptions)> = OnceCell::const_new();
    SERVER.get_or_try_init(find_server).await.cloned()
}

/// Starts the shared server, or finds it running, and answers the directory of its socket: what
/// `FINNEST_TEST_SERVER` should say during a whole run.
///
/// # Errors
///
/// When no server is installed, or it does not start.
pub async fn start_server() -> Result<PathBuf> {
    Ok(shared_server().await?.socket_dir)
}

/// Stops the shared server, if it runs.
///
/// # Errors
///
/// When its directory cannot be used.
pub async fn stop_server() -> Result<()> {
    for base in [target_dir().join(BELOW_TARGET), elsewhere()] {
        if base.exists() {
            // Who prepares a directory stops whatever still runs on it.
            drop(Embedded::prepare(options(base)).await?);
        }
    }
    Ok(())
}

async fn find_server() -> Result<(PgConnectOptions, PgConnectOptions)> {
    let named = std::env::var(SERVER_VARIABLE).unwrap_or_default();
    if !named.is_empty() && !named.starts_with('/') {
        let owner: PgConnectOptions = named.parse().context("FINNEST_TEST_SERVER")?;
        return Ok((owner.clone(), owner.username(APP)));
    }
    let attached = if named.is_empty() {
        shared_server().await?
    } else {
        Attached { socket_dir: PathBuf::from(named) }
    };
    Ok((attached.owner_options(), attached.app_options()))
}

async fn shared_server() -> Result<Attached, PostgresError> {
    match shared_server_at(target_dir().join(BELOW_TARGET)).await {
        // The server's user cannot enter a home directory; everybody can enter this one.
        Err(PostgresError::Unreachable { .. }) => shared_server_at(elsewhere()).await,
        decided => decided,
    }
}

fn options(base: PathBuf) -> Options {
    let settings = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Options { data_dir: Some(base), settings: settings.collect(), ..Options::default() }
}

/// The server below this directory. Whoever finds it down starts it; the others wait.
async fn shared_server_at(base: PathBuf) -> Result<Attached, PostgresError> {
    let _starting = lock(base.with_extension("lock")).await?;
    let options = options(base);
    if let Some(running) = Attached::find(&options)? {
        return Ok(running);
    }
    let embedded = Embedded::prepare(options).await?;
    embedded.start_detached().await?;
    Ok(Attached { socket_dir: embedded.socket_dir().to_owned() })
}

async fn lock(path: PathBuf) -> Result<File, PostgresError> {
    let waiting = tokio::task::spawn_blocking(move || {
        let at = |source| PostgresError::File { doing: "lock", path: path.clone(), source };
        let file = File::create(&path).map_err(at)?;
        file.lock().map_err(at)?;
        Ok(file)
    });
    waiting.await.expect("waiting for a lock neither panics nor is cancelled")
}

/// Where this workspace is built.
fn target_dir() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = named.filter(|path| path.is_absolute()).unwrap_or_else(beside);
    target.canonicalize().unwrap_or(target)
}

fn elsewhere() -> PathBuf {
    let place = target_dir();
    let digest = platform::Digest::of(place.as_os_str().as_encoded_bytes()).to_string();
    std::env::temp_dir().join(format!("{OWNER}-test-server-{}", &digest[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn count(options: &PgConnectOptions, sql: &'static str) -> i64 {
        let mut connection = options.connect().await.expect("the server answers");
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("the statement is right")
    }

    async fn make_table(options: PgConnectOptions) -> Result<()> {
        let mut connection = options.connect().await?;
        let sql = "create table made as select 1 as number; do $$ begin create role finnest_app \
                   login; exception when duplicate_object or unique_violation then null; end $$";
        sqlx::raw_sql(sql).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    async fn made(key: &str) -> TestDatabase {
        let made = TestDatabase::create(&format!("testkit: {key}"), make_table).await;
        made.expect("a server is installed on this machine")
    }

    const ROWS: &str = "select count(*) from made";

    #[tokio::test]
    async fn a_test_sees_nothing_of_another() {
        let (one, other) = tokio::join!(made("isolation"), made("isolation"));

        let mut connection = one.options().connect().await.expect("the server answers");
        sqlx::raw_sql("insert into made values (2)").execute(&mut connection).await.expect("free");

        assert_eq!(count(&one.options(), ROWS).await, 2);
        assert_eq!(count(&other.options(), ROWS).await, 1);
    }

    #[tokio::test]
    async fn migrations_run_once_for_a_key() {
        let first = made("once").await;

        let second = TestDatabase::create("testkit: once", async |_| {
            anyhow::bail!("the template is there already")
        })
        .await
        .expect("nothing has to be migrated");

        assert_eq!(count(&second.options(), ROWS).await, 1);
        assert_ne!(first.name(), second.name());
    }

    #[tokio::test]
    async fn a_database_ends_with_its_test_even_while_somebody_is_connected() {
        let server = made("end").await;
        let ended = made("end").await;
        let name = ended.name().to_owned();
        let _connected = ended.options().connect().await.expect("the server answers");

        drop(ended);

        let mut connection = server.options().connect().await.expect("the server answers");
        let left: i64 = sqlx::query_scalar("select count(*) from pg_database where datname = $1")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .expect("the statement is right");
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn the_application_logs_in_as_itself() {
        let database = made("app").await;

        let mut connection = database.app_options().connect().await.expect("the role exists");

        let who: String = sqlx::query_scalar("select current_user::text")
            .fetch_one(&mut connection)
            .await
            .expect("the statement is right");
        assert_eq!(who, APP);
    }
}
