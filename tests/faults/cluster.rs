//! A Postgres server of one test, durable as in production, supervised as in production, and free
//! to be killed: the server that other tests share is neither.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kernel::{Digest, EventId};
use otp::{Clock, Intensity, Root, Strategy, SupervisorSpec};
use platform::postgres::{Embedded, Options};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::proxy::Proxy;
use crate::random::Random;

/// Settings that keep durability as it is and leave room for many clients.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("max_connections", "150"),
    // Small enough that checkpoints happen while harm is done.
    ("max_wal_size", "64MB"),
    ("min_wal_size", "32MB"),
];

/// A running server with an empty log.
pub(crate) struct Cluster {
    data: Data,
    embedded: Embedded,
    root: Root,
    /// Connections of a superuser, to look behind the scenes.
    pub(crate) owner: PgPool,
}

impl Cluster {
    /// A server below the system's folder for temporary files.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_in(folder(&format!("{name}-{}", std::process::id()))).await
    }

    /// A server whose data are in `base`, copied from a template: making them takes seconds.
    pub(crate) async fn start_in(base: PathBuf) -> Self {
        copy(&template().await, &base);
        Self::run_on(base).await
    }

    /// The server on the data in `base`, which are made if there are none.
    async fn run_on(base: PathBuf) -> Self {
        let settings = SETTINGS.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let options = Options {
            data_dir: Some(base.clone()),
            settings: settings.collect(),
            ..Options::default()
        };
        let embedded = Embedded::prepare(options).await.expect("a server is installed");
        let patient = Intensity::new(1_000, Duration::from_mins(1));
        let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(patient);
        let root = Root::start(spec.child(embedded.child()), Clock::system())
            .await
            .expect("the server starts");
        let owner = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(embedded.owner_options());
        Self { data: Data(base), embedded, root, owner }
    }

    /// Connects as the application.
    pub(crate) fn app(&self) -> PgConnectOptions {
        self.embedded.app_options()
    }

    /// A proxy in front of the server.
    pub(crate) fn proxy(&self, random: &mut Random) -> Proxy {
        Proxy::start(self.data.0.join("proxy"), self.embedded.socket_dir(), random)
    }

    /// Runs statements as a superuser.
    pub(crate) async fn run(&self, statements: &str) {
        run(&self.owner, statements).await;
    }

    /// A number that a superuser can see; `None` while the server is away.
    pub(crate) async fn number(&self, query: &'static str) -> Option<i64> {
        sqlx::query_scalar(query).fetch_one(&self.owner).await.ok()
    }

    /// Whether this event has its place in the log.
    pub(crate) async fn is_sealed(&self, event_id: EventId) -> bool {
        sqlx::query_scalar("select exists(select from events.seals where event_id = $1)")
            .bind(event_id)
            .fetch_one(&self.owner)
            .await
            .expect("the owner may look at everything")
    }

    /// Whether any consumer has been given this event.
    pub(crate) async fn is_delivered(&self, event_id: Uuid) -> bool {
        sqlx::query_scalar("select exists(select from faults.deliveries where event_id = $1)")
            .bind(event_id)
            .fetch_one(&self.owner)
            .await
            .expect("the owner may look at everything")
    }

    /// How many deliveries a consumer has committed.
    pub(crate) async fn delivered(&self, consumer: &str) -> i64 {
        sqlx::query_scalar("select count(*) from faults.deliveries where consumer = $1")
            .bind(consumer)
            .fetch_one(&self.owner)
            .await
            .expect("the owner may look at everything")
    }

    /// The process of the server, unless it is away.
    pub(crate) fn postmaster(&self) -> Option<u32> {
        self.data.postmaster()
    }

    /// The user and the group that run the server.
    pub(crate) fn server_user(&self) -> (u32, u32) {
        let data = std::fs::metadata(self.data.0.join("pg")).expect("the data are there");
        (data.uid(), data.gid())
    }

    /// The server's own children: one for each session, and its housekeeping.
    pub(crate) fn backends(&self) -> Vec<u32> {
        let Some(postmaster) = self.postmaster() else { return Vec::new() };
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let listed = std::fs::read_to_string(children).unwrap_or_default();
        listed.split_whitespace().filter_map(|process| process.parse().ok()).collect()
    }

    /// Stops the server in good order.
    pub(crate) async fn stop(self) {
        self.owner.close().await;
        self.root.clone().stop().await;
    }
}

/// The folder of one server. It is removed, and the server in it killed, when it is dropped: a test
/// that fails leaves nothing behind.
pub(crate) struct Data(pub(crate) PathBuf);

impl Data {
    /// The process of the server, unless it is away.
    fn postmaster(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.0.join("pg/postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(postmaster) = self.postmaster() {
            signal("QUIT", &[postmaster]);
        }
        // Whatever is still being written below it harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs statements as a superuser.
pub(crate) async fn run(owner: &PgPool, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(owner)
        .await
        .expect("the owner may do anything");
}

/// Sends a signal to processes; those that are gone already are no error.
pub(crate) fn signal(name: &str, processes: &[u32]) {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}")).args(processes.iter().map(ToString::to_string));
    command.stderr(std::process::Stdio::null());
    command.status().expect("every system has `kill`");
}

/// A folder of the tests of this crate.
pub(crate) fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("finnest-faults-{name}"))
}

/// Where there are data with an empty log, made by whoever needs them first.
async fn template() -> PathBuf {
    let tables = ROLES.to_owned() + &migrations() + DELIVERIES;
    let digest = Digest::of(tables.as_bytes()).to_string();
    let template = folder(&format!("template-{}", &digest[..16]));
    let lock = File::create(folder("template.lock")).expect("anybody may write there");
    lock.lock().expect("it can be waited for");
    if !template.exists() {
        let partial = folder(&format!("partial-{}", std::process::id()));
        let cluster = Cluster::run_on(partial.clone()).await;
        cluster.run(&tables).await;
        cluster.owner.close().await;
        cluster.root.clone().stop().await;
        copy(&partial, &template);
    }
    template
}

/// Copies a folder with everything in it, owners and rights as well.
fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    let status = copy.arg("-a").arg("-T").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "{} is copied", from.display());
}

/// The roles the platform makes before it runs the migrations.
const ROLES: &str = "
create role finnest_runtime nologin;
create role recruit nologin;
create role payroll nologin;
create role finnest_app login noinherit;
grant finnest_runtime, recruit, payroll to finnest_app;
";

/// Where the projection writes each delivery: nothing in it would hide a second one.
pub(crate) const DELIVERIES: &str = "
create schema faults;
create table faults.deliveries (
    delivery bigint generated always as identity,
    consumer text not null,
    event_id uuid not null,
    position bigint not null
);
grant usage on schema faults to finnest_runtime;
grant insert on faults.deliveries to finnest_runtime;
";

/// The text of all migrations of the log and of the queue, in their order.
fn migrations() -> String {
    let migrations = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations"));
    ["events", "jobs"].map(|part| texts(&migrations.join(part))).concat()
}

fn texts(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("the migrations are in the repository");
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    let text = |file| std::fs::read_to_string(file).expect("a migration is text");
    files.iter().map(text).collect()
}
