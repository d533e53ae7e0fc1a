//! The embedded default: a real PostgreSQL server as a child of the tree.
//!
//! A machine without a `DATABASE_URL` still has everything after one command. The platform finds a
//! server on the machine, gives it a directory of its own and runs it under supervision: reachable
//! through a socket that only its user may open, authenticated by the operating system, without any
//! password. A server that dies is started again; its data are on disk, with checksums.
//!
//! **Invariant:** while an [`Embedded`] or its child lives, no other platform uses its directory.

mod cluster;
mod installation;
mod place;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use otp::ChildSpec;
use otp::process::{OsProcessSpec, OsUser, StopSignal, Stream};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use installation::Installation;
use place::Place;

/// The user who owns the database and migrates it.
pub const OWNER: &str = "finnest";
/// The user the application logs in as.
pub const APP: &str = "finnest_app";
/// The name of the database.
pub const DATABASE: &str = "finnest";

/// The oldest server that has everything the platform uses.
const MAJOR_MIN: u32 = 14;
/// The server listens on no network; the port only names its socket.
const PORT: u16 = 5432;
/// How long a start may take, most of it recovery after a crash.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// After a kill, the server's own children hold its shared memory for a few seconds.
const RETRY_WITHIN: Duration = Duration::from_secs(15);
/// How long a fast shutdown may take, most of it the last checkpoint.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the embedded server is found and kept.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the data are; a place of the system's choice unless given.
    pub data_dir: Option<PathBuf>,
    /// Where `postgres` and `initdb` are; searched for unless given.
    pub bin_dir: Option<PathBuf>,
    /// Settings of the server beyond the defaults, such as `("max_connections", "200")`.
    pub settings: Vec<(String, String)>,
}

/// Why there is no embedded server, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Nothing is installed that could run.
    #[error(
        "no PostgreSQL server ({MAJOR_MIN} or newer) found; install one with `{}`, or set \
         DATABASE_URL",
        installation::INSTALL
    )]
    NoServer,
    /// The directory somebody named holds no server.
    #[error(
        "no PostgreSQL server ({MAJOR_MIN} or newer) in {}; it must hold `postgres` and `initdb`",
        .0.display()
    )]
    NoServerIn(PathBuf),
    /// The data were written by another major version.
    #[error(
        "the data in {} were written by PostgreSQL {major}, which is not installed; install that \
         version, or set FINNEST_DATA_DIR to another directory",
        data.display()
    )]
    OtherVersion {
        /// The data directory.
        data: PathBuf,
        /// Its major version.
        major: u32,
    },
    /// Another platform runs on the same data.
    #[error(
        "another finnest already uses {}; stop it, or set FINNEST_DATA_DIR to another directory",
        .0.display()
    )]
    InUse(PathBuf),
    /// The server's own user cannot reach its data.
    #[error(
        "the server runs as the user `{user}`, who cannot enter {}; set FINNEST_DATA_DIR to a \
         directory below folders that everybody may enter, such as /var/lib/finnest",
        blocked.display()
    )]
    Unreachable {
        /// Who cannot enter.
        user: String,
        /// The first directory on the way that is closed.
        blocked: PathBuf,
    },
    /// The socket would be at a place that belongs to somebody else.
    #[error("{} belongs to another user; remove it and start again", .0.display())]
    Foreign(PathBuf),
    /// There is no home for the data.
    #[error("there is no home directory for the data; set FINNEST_DATA_DIR to a directory")]
    Homeless,
    /// Root runs the platform, and there is nobody to run the server.
    #[error(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`; create \
         one with `useradd --system postgres`"
    )]
    NoUser,
    /// `initdb` failed.
    #[error("the data directory {} could not be initialised: {said}", data.display())]
    Initdb {
        /// The data directory.
        data: PathBuf,
        /// What `initdb` said last.
        said: String,
    },
    /// The file system refused.
    #[error(
        "cannot {doing} {}: {source}; the data may also be elsewhere, set FINNEST_DATA_DIR",
        path.display()
    )]
    File {
        /// What was attempted.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server started outside the tree did not become ready.
    #[error(
        "the server did not become ready within {} s; see {}",
        READY_WITHIN.as_secs(), .0.display()
    )]
    NotReady(PathBuf),
}

/// A found server with an initialised directory of its own. It runs once [`child`](Self::child)
/// is in the tree.
#[derive(Debug)]
pub struct Embedded {
    installation: Installation,
    place: Place,
    settings: Vec<(String, String)>,
    /// Keeps other platforms away for as long as it is open.
    lock: Arc<File>,
}

impl Embedded {
    /// Finds a server, and initialises the directory unless an earlier start did.
    pub async fn prepare(options: Options) -> Result<Self, PostgresError> {
        let preparing = tokio::task::spawn_blocking(move || Self::prepare_blocking(options)).await;
        // Nobody cancels it, so the only way to lose it is a panic, which belongs to the caller.
        preparing.unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic()))
    }

    fn prepare_blocking(options: Options) -> Result<Self, PostgresError> {
        let place = Place::choose(options.data_dir.as_deref())?;
        let lock = place.claim()?;
        let pinned = place.version();
        let installation = installation::find(options.bin_dir.as_deref(), pinned).map_err(
            |error| match pinned {
                Some(major) => PostgresError::OtherVersion { data: place.data.clone(), major },
                None => error,
            },
        )?;
        place.make()?;
        if pinned.is_some() {
            cluster::evict(&installation, &place);
        } else {
            cluster::initialise(&installation, &place)?;
        }
        cluster::admit(&place)?;
        Ok(Self { installation, place, settings: options.settings, lock: Arc::new(lock) })
    }

    /// The server as a child of the tree. It has started when it answers.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        let owner = self.owner_options();
        let (data, lock) = (self.place.data.clone(), Arc::clone(&self.lock));
        let mut spec = OsProcessSpec::new(self.installation.program("postgres"))
            .args(self.arguments())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir(&self.place.data)
            .stop_signal(StopSignal::Interrupt)
            .patience(PATIENCE)
            .retry_within(RETRY_WITHIN)
            .ready(READY_WITHIN, move |id| {
                // The specification outlives this value, and with it must the lock.
                let _held = &lock;
                is_ready(data.clone(), owner.clone(), id)
            })
            .on_line(log);
        if let Some(user) = &self.place.server_user {
            spec = spec.user(OsUser { uid: user.uid, gid: user.gid });
        }
        spec.child("server")
    }

    /// Connects as the owner of the database, to migrate.
    #[must_use]
    pub fn owner_options(&self) -> PgConnectOptions {
        connect_options(&self.place.socket, OWNER)
    }

    /// Connects as the application.
    #[must_use]
    pub fn app_options(&self) -> PgConnectOptions {
        connect_options(&self.place.socket, APP)
    }

    /// The directory that holds the data of the server, and what belongs to it.
    #[must_use]
    pub fn base_dir(&self) -> &Path {
        &self.place.base
    }

    /// Where the server's socket is.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.place.socket
    }

    /// Starts the server outside any tree, so that it outlives this process; for test clusters.
    pub async fn start_detached(&self) -> Result<(), PostgresError> {
        let log = self.place.base.join("server.log");
        let file = File::create(&log).map_err(at("write", &log))?;
        let errors = file.try_clone().map_err(at("write", &log))?;
        let mut command = self.place.command(&self.installation.program("postgres"));
        command.args(self.arguments()).stdin(Stdio::null()).stdout(file).stderr(errors);
        let program = self.installation.program("postgres");
        let child = command.spawn().map_err(at("run", &program))?;
        let deadline = tokio::time::Instant::now() + READY_WITHIN;
        while tokio::time::Instant::now() < deadline {
            let ready = is_ready(self.place.data.clone(), self.owner_options(), child.id()).await;
            if ready == Ok(true) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        Err(PostgresError::NotReady(log))
    }

    fn arguments(&self) -> Vec<String> {
        let own = [
            ("listen_addresses", ""),
            ("unix_socket_permissions", "0700"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            // The log knows the time of each line already.
            ("log_line_prefix", "[%p] "),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let path = |path: &Path| path.display().to_string();
        let mut arguments =
            vec!["-D".into(), path(&self.place.data), "-k".into(), path(&self.place.socket)];
        arguments.extend(["-p".into(), PORT.to_string()]);
        for (name, value) in own.chain(self.settings.iter().cloned()) {
            arguments.extend(["-c".into(), format!("{name}={value}")]);
        }
        arguments
    }
}

/// A server that already runs, for commands beside the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Where its socket is.
    pub socket_dir: PathBuf,
}

impl Attached {
    /// Finds the server that runs on this data directory; `None` if none does.
    pub fn find(options: &Options) -> Result<Option<Self>, PostgresError> {
        let place = Place::choose(options.data_dir.as_deref())?;
        let Some(pid_file) = cluster::PidFile::read(&place.data) else {
            return Ok(None);
        };
        let socket = pid_file.socket_dir.join(format!(".s.PGSQL.{PORT}"));
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        // A server too busy to take one more connection at once still runs.
        let runs = match std::os::unix::net::UnixStream::connect(socket) {
            Ok(_) => true,
            Err(error) => !absent.contains(&error.kind()),
        };
        Ok(runs.then_some(Self { socket_dir: pid_file.socket_dir }))
    }

    /// Connects as the owner of the database.
    #[must_use]
    pub fn owner_options(&self) -> PgConnectOptions {
        connect_options(&self.socket_dir, OWNER)
    }

    /// Connects as the application.
    #[must_use]
    pub fn app_options(&self) -> PgConnectOptions {
        connect_options(&self.socket_dir, APP)
    }
}

fn connect_options(socket_dir: &Path, user: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_dir)
        .port(PORT)
        .ssl_mode(PgSslMode::Disable)
        .username(user)
        .database(DATABASE)
        .application_name("finnest")
        // What is there already and is therefore not made again is no news.
        .options([("client_min_messages", "warning")])
}

/// Whether the server says so in its own file, and answers. Makes the database at the first time.
async fn is_ready(data: PathBuf, owner: PgConnectOptions, id: u32) -> Result<bool, String> {
    let said = cluster::PidFile::read(&data).is_some_and(|file| file.id == id && file.is_ready);
    if !said {
        return Ok(false);
    }
    // The database that every server has; asking ours before it is there would alarm the log.
    match owner.database("postgres").connect().await {
        Ok(connection) => make_database(connection).await.map_err(|error| error.to_string()),
        Err(_) => Ok(false),
    }
}

async fn make_database(mut connection: PgConnection) -> Result<bool, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("select exists(select from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
    if !exists {
        sqlx::raw_sql("create database finnest").execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(true)
}

/// The server's own words for how bad it is decide the level; its complaints are about a client's
/// statement more often than about the server, so they are not raised to errors.
fn log(_: Stream, line: &str) {
    // Said of every connection that a shutdown meets while it is being closed.
    let is_farewell = line.contains("terminating connection due to administrator command");
    if is_farewell {
        tracing::debug!(target: "postgres", "{line}");
    } else if line.contains("PANIC:") || line.contains("FATAL:") {
        tracing::warn!(target: "postgres", "{line}");
    } else if line.contains("WARNING:") || line.contains("ERROR:") {
        tracing::info!(target: "postgres", "{line}");
    } else {
        tracing::debug!(target: "postgres", "{line}");
    }
}

/// Says what was attempted with which file.
fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PostgresError + use<> {
    let path = path.to_owned();
    move |source| PostgresError::File { doing, path, source }
}

#[cfg(test)]
mod tests;
