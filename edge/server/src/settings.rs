//! Settings: what the command line and the environment say, decided in one place and read nowhere
//! else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cli::{
    BusKind, CheckpointOptions, DatabaseOptions, Network, ProfileKind, Secret, ServeOptions,
};
use platform::otp::config::Tuning;
use platform::otp::{Clock, Root, SupervisorSpec};
use platform::postgres::{Attached, Embedded, Options};
use platform::store::archive::Shelf;
use platform::{Catalog, Database, Profile, PublicUrl, RelyingParty, Wakes};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

/// What `finnest serve` needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whose word about its own peer is believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether to make the demo organisation.
    pub demo: bool,
    /// supervision.toml; the one built in when there is none at the usual place.
    pub supervision: PathBuf,
    /// Where the data are.
    pub source: Source,
    /// The name of this node.
    pub node: String,
    /// The most database connections.
    pub connections_max: u32,
    /// How it hears of what other nodes do.
    pub wakes: Wakes,
    /// The NATS server that events are passed on to, if there is one.
    pub nats: Option<Secret>,
    /// Where months of events go that are older than anybody must keep; they stay unless told.
    pub shelf: Option<Shelf>,
    /// What to log.
    pub log: String,
    /// How the chains of the log are signed.
    pub checkpoints: CheckpointOptions,
    /// Which rules of security hold.
    pub profile: Profile,
    /// Where the secret is that all nodes share.
    pub secret_file: Option<PathBuf>,
    /// The names under which the platform is reached from elsewhere.
    pub public_hosts: Vec<String>,
    /// The origins whose pages may use the platform from a browser.
    pub web_origins: Vec<String>,
    /// Where it is reached by those who are sent a link; where it listens unless told.
    pub public_url: Option<String>,
    /// The origins at which passkeys are shown; without them there are none.
    pub passkey_origins: Vec<String>,
}

/// Where the data are: a server somebody else runs, or one of our own.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The server somebody else runs.
    pub database_url: Option<String>,
    /// Where our own keeps its data; a place of the system's choice unless given.
    pub data_dir: Option<PathBuf>,
}

/// The file an operator finds in the working directory.
const SUPERVISION_TOML: &str = "supervision.toml";

impl From<ServeOptions> for Settings {
    fn from(options: ServeOptions) -> Self {
        let retention_months = options.retention_months;
        let directory = options.archive_dir.filter(|path| !path.as_os_str().is_empty());
        let shelf = directory.map(|directory| Shelf {
            // A relative one must not move with the process.
            directory: std::path::absolute(&directory).unwrap_or(directory),
            retention_months,
        });
        Self {
            shelf,
            listen: options.listen,
            trusted_proxies: options.trusted_proxy,
            demo: options.demo,
            supervision: options.config,
            source: options.database.into(),
            node: options.node.unwrap_or_else(|| Uuid::now_v7().to_string()),
            connections_max: options.connections_max,
            wakes: match options.bus {
                BusKind::Local => Wakes::Local,
                BusKind::Postgres | BusKind::Nats => Wakes::Shared,
            },
            nats: (options.bus == BusKind::Nats).then_some(options.nats_url),
            log: options.log,
            checkpoints: options.checkpoints,
            profile: match options.profile {
                ProfileKind::Commercial => Profile::Commercial,
                ProfileKind::Irap => Profile::Irap,
            },
            secret_file: options.secret_file,
            public_hosts: options
                .public_hosts
                .into_iter()
                .filter(|host| !host.is_empty())
                .collect(),
            web_origins: options.web_origins,
            public_url: options.public_url.filter(|url| !url.is_empty()),
            passkey_origins: options
                .passkey_origins
                .into_iter()
                .filter(|origin| !origin.is_empty())
                .collect(),
        }
    }
}

impl From<DatabaseOptions> for Source {
    fn from(options: DatabaseOptions) -> Self {
        let database_url = options.database_url.map(|url| url.expose().to_owned());
        Self { database_url, data_dir: options.data_dir }
    }
}

impl Settings {
    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn check(&self) -> Result<()> {
        if self.demo && !self.listen.ip().is_loopback() {
            bail!(
                "the demo's tokens are well known, so `--demo` listens on loopback addresses only, \
                 not on {}; leave one of the two out",
                self.listen.ip()
            );
        }
        self.passkeys().map(drop)
    }

    /// Where the platform is reached by those who are sent a link to it.
    ///
    /// # Errors
    /// What is wrong with the address that was given.
    pub fn address(&self) -> Result<PublicUrl> {
        let Some(url) = &self.public_url else { return Ok(PublicUrl::of_listener(self.listen)) };
        PublicUrl::parse(url).context("FINNEST_PUBLIC_URL, or --public-url, is not as it should be")
    }

    /// Whom passkeys are made for, if there are any.
    ///
    /// # Errors
    /// The first origin that will not do.
    pub fn passkeys(&self) -> Result<Option<RelyingParty>> {
        if self.passkey_origins.is_empty() {
            return Ok(None);
        }
        Ok(Some(RelyingParty::of(&self.passkey_origins).context("`--passkey-origin` will not do")?))
    }

    /// What to say before the reason when the platform does not start.
    #[must_use]
    pub fn cannot_start(&self) -> String {
        match self.source.external() {
            Ok(Some(server)) => format!(
                "the platform cannot start with the database of DATABASE_URL, {} at {}:{}",
                server.get_database().unwrap_or("unnamed"),
                server.get_host(),
                server.get_port()
            ),
            _ => "the platform cannot start".to_owned(),
        }
    }

    /// Where an edited supervision.toml is looked for, wherever the process goes meanwhile.
    #[must_use]
    pub fn page(&self) -> PathBuf {
        std::path::absolute(&self.supervision).unwrap_or_else(|_| self.supervision.clone())
    }

    /// Reads and checks supervision.toml.
    ///
    /// # Errors
    /// Every mistake in the file, with its line.
    pub fn tuning(&self, catalog: &Catalog) -> Result<Tuning> {
        tuning(&self.supervision, catalog)
    }
}

/// Reads and checks supervision.toml; the one built in when there is none at the usual place.
///
/// # Errors
/// Every mistake in the file, with its line.
pub fn tuning(file: &Path, catalog: &Catalog) -> Result<Tuning> {
    let known = platform::known(catalog);
    if file == Path::new(SUPERVISION_TOML) && !file.exists() {
        let built_in = include_str!("../../../supervision.toml");
        return Ok(Tuning::parse(built_in, "the built-in supervision.toml", &known)?);
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Tuning::parse(&text, &file.display().to_string(), &known)?)
}

impl Source {
    /// The database for a platform that is about to start.
    ///
    /// # Errors
    /// A sentence that says what to do when there is no server to be found or run.
    pub async fn database(&self) -> Result<Database> {
        Ok(match self.external()? {
            Some(owner) => Database::External { app: owner.clone(), owner },
            None => Database::Embedded(Embedded::prepare(self.embedded()).await?),
        })
    }

    /// Reaches the data for a single command: the server of `DATABASE_URL`, our own if a platform
    /// runs it now, or our own started for as long as the command takes.
    ///
    /// # Errors
    /// A sentence that says what to do when there is no server to be found or run.
    pub async fn reach(&self) -> Result<Reached> {
        if let Some(owner) = self.external()? {
            return Ok(Reached { owner, root: None });
        }
        if let Some(running) = Attached::find(&self.embedded())? {
            return Ok(Reached { owner: running.owner_options(), root: None });
        }
        let embedded = Embedded::prepare(self.embedded()).await?;
        let spec = SupervisorSpec::default().child(embedded.child());
        let root = Root::start(spec, Clock::system()).await?;
        Ok(Reached { owner: embedded.owner_options(), root: Some((root, embedded)) })
    }

    fn external(&self) -> Result<Option<PgConnectOptions>> {
        let Some(url) = self.database_url.as_deref() else { return Ok(None) };
        let expected =
            "DATABASE_URL is no PostgreSQL address, as in postgres://user@host:5432/name";
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            bail!(expected);
        }
        url.parse().map(Some).context(expected)
    }

    fn embedded(&self) -> Options {
        Options { data_dir: self.data_dir.clone(), ..Options::default() }
    }
}

/// A database that can be asked, and the server that was started for it, if one was.
pub struct Reached {
    /// Connects as the owner.
    pub owner: PgConnectOptions,
    root: Option<(Root, Embedded)>,
}

impl Reached {
    /// A pool of a few connections.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(4).connect_lazy_with(self.owner.clone())
    }

    /// Stops the server that was started for this command.
    pub async fn leave(self) {
        if let Some((root, _embedded)) = self.root {
            root.stop().await;
        }
    }
}
