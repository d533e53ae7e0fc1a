//! The server under test, its databases, and what both of them use of the processor.

use std::path::{Path, PathBuf};
use std::process::Command;

use otp::{Clock, Root, SupervisorSpec};
use platform::DomainName;
use platform::postgres::{APP, Embedded, OWNER, Options};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, PgPool};

/// The domain whose facts are recorded.
pub const DOMAIN: DomainName = DomainName::new("recruit");

/// A PostgreSQL server of the benchmark's own, with the settings the platform gives its own server.
pub struct Server {
    root: Root,
    embedded: Embedded,
    base: DataDir,
}

/// The server's directory, which is gone when the benchmark ends, however it ends.
struct DataDir(PathBuf);

impl Drop for DataDir {
    fn drop(&mut self) {
        // What is left behind in a temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Server {
    /// Starts a server on an empty directory, and makes the database all others are copied from.
    ///
    /// # Panics
    /// When there is no server to start.
    pub async fn start(name: &str) -> Self {
        let base = DataDir(crate::data_dir(name));
        let options = Options { data_dir: Some(base.0.clone()), ..Options::default() };
        let embedded = Embedded::prepare(options).await.expect("a server is installed");
        let spec = SupervisorSpec::default().child(embedded.child());
        let root = Root::start(spec, Clock::system()).await.expect("the server starts");
        let owner = embedded.owner_options();
        platform::migrate(&owner, &[DOMAIN]).await.expect("the migrations run");
        Self { root, embedded, base }
    }

    /// A database of its own, as the migrations and [`Server::prepare`] left the first.
    pub async fn create_database(&self, name: &str) -> Database {
        let copy = format!("create database {name} template finnest");
        run(&self.embedded.owner_options().database("postgres"), &copy).await;
        Database {
            owner: self.embedded.owner_options().database(name),
            app: self.embedded.app_options().database(name),
        }
    }

    /// Runs statements in the database that all others are copied from.
    pub async fn prepare(&self, sql: &str) {
        run(&self.embedded.owner_options(), sql).await;
    }

    /// Runs a script by `pgbench`, as the application, in the database all others are copied from.
    ///
    /// # Panics
    /// When `pgbench` is not installed or the script fails.
    #[must_use]
    pub fn pgbench(&self, script: &str, clients: usize, seconds: u64) -> Speed {
        let file = self.base.0.join("script.sql");
        std::fs::write(&file, script).expect("the directory is ours");
        let before = self.spent_seconds();
        let output = Command::new(program("pgbench"))
            .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string()])
            .args(["-T", &seconds.to_string(), "-U", APP, "-h"])
            .arg(self.embedded.socket_dir())
            .arg("-f")
            .arg(file)
            .arg(OWNER)
            .output()
            .expect("pgbench is installed with the server");
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate: Option<f64> = rate.and_then(|rate| rate.split(' ').next()?.parse().ok());
        let per_second =
            rate.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let spent = self.spent_seconds() - before;
        Speed { per_second, processor_us: spent * 1e6 / (per_second * seconds as f64) }
    }

    /// Processor time that the server, this process and what it started have used so far.
    #[must_use]
    pub fn spent_seconds(&self) -> f64 {
        self.processor_seconds() + own_seconds()
    }

    /// Processor time the server has used so far, with all its processes, in seconds.
    ///
    /// # Panics
    /// When the server is gone.
    #[must_use]
    pub fn processor_seconds(&self) -> f64 {
        let pid = std::fs::read_to_string(self.base.0.join("pg/postmaster.pid"))
            .expect("the server runs");
        let pid = pid.lines().next().expect("its first line is the process").to_owned();
        let processes = std::fs::read_dir("/proc").expect("this is Linux");
        let of_server = processes.filter_map(|entry| {
            let stat = Stat::read(&entry.ok()?.path())?;
            (stat.parent == pid || stat.pid == pid).then_some(stat.seconds)
        });
        of_server.sum()
    }

    /// Stops the server and removes its data.
    pub async fn stop(self) {
        self.root.stop().await;
    }
}

/// How fast something is, and what it costs.
pub struct Speed {
    /// So many a second.
    pub per_second: f64,
    /// Processor time of everybody who takes part, for each of them.
    pub processor_us: f64,
}

/// Processor time of this process, with that of its children which have ended, in seconds.
///
/// # Panics
/// When this is no Linux.
#[must_use]
pub fn own_seconds() -> f64 {
    Stat::read(Path::new("/proc/self")).expect("this is Linux").seconds
}

/// One database of the server.
#[derive(Debug, Clone)]
pub struct Database {
    /// Connects as its owner.
    pub owner: PgConnectOptions,
    /// Connects as the application.
    pub app: PgConnectOptions,
}

impl Database {
    /// Connections as the platform opens them.
    #[must_use]
    pub fn pool(&self, connections_max: u32) -> PgPool {
        let options = self.app.clone().options([("jit", "off")]);
        PgPoolOptions::new().max_connections(connections_max).connect_lazy_with(options)
    }

    /// A connection of the owner, to whom no row security applies.
    ///
    /// # Panics
    /// When the server is gone.
    pub async fn owner(&self) -> PgConnection {
        self.owner.connect().await.expect("the server answers")
    }

    /// Transactions so far, committed or not.
    ///
    /// # Panics
    /// When the server is gone.
    pub async fn transactions(&self) -> i64 {
        let sql = "select xact_commit + xact_rollback from pg_stat_database
                   where datname = current_database()";
        sqlx::query_scalar(sql).fetch_one(&mut self.owner().await).await.expect("it is counted")
    }
}

async fn run(options: &PgConnectOptions, sql: &str) {
    let mut connection = options.connect().await.expect("the server answers");
    // Safe: every statement is written down in this program.
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the owner may");
}

/// A client program; Debian keeps some of them with the server and off the path.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.sort();
    let beside = found.into_iter().rev().map(|bin| bin.join(name)).find(|path| path.exists());
    beside.unwrap_or_else(|| name.into())
}

/// What the kernel says about a process.
struct Stat {
    pid: String,
    parent: String,
    /// Processor time it has used, with that of its children which have ended.
    seconds: f64,
}

/// Ticks of the kernel's processor clock a second, the same on every Linux we know.
const TICKS: f64 = 100.0;

impl Stat {
    /// Reads `stat` in the directory of a process.
    fn read(process: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(process.join("stat")).ok()?;
        let (before, after) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = after.split(' ').collect();
        let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok());
        Some(Self {
            pid: before.split(' ').next()?.to_owned(),
            parent: (*fields.get(1)?).to_owned(),
            seconds: ticks.sum::<f64>() / TICKS,
        })
    }
}
