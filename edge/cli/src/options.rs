//! Options: what can be set by flag or environment, with the help a newcomer reads.
//!
//! The doc comments here are that help.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use platform::store::archive::RETENTION_MONTHS;

use crate::audit::CheckpointOptions;
use crate::config::Profile;

/// Text that must not show up in logs, such as a token. Its `Debug` form does not tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the running platform is, and who asks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The platform to ask")]
pub struct Server {
    /// Address of a running platform
    #[arg(
        long,
        global = true,
        env = "FINNEST_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:4000"
    )]
    pub url: String,
    /// Bearer token that says who you are; the environment keeps it out of the process list
    #[arg(long, global = true, env = "FINNEST_TOKEN", hide_env_values = true)]
    #[arg(value_parser = secret)]
    pub token: Option<Secret>,
    /// Profile of the config file that has address and token; its default unless told
    #[arg(
        id = "use_profile",
        long = "use",
        value_name = "PROFILE",
        global = true,
        env = "FINNEST_PROFILE",
        hide_env_values = true
    )]
    pub profile: Option<String>,
}

/// How answers are printed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Printing")]
pub struct Style {
    /// How to print answers; tables on a terminal and JSON in a pipe, unless told
    #[arg(long, short, global = true, value_enum, env = "FINNEST_OUTPUT", hide_env_values = true)]
    #[arg(visible_alias = "format")]
    pub output: Option<Format>,
    /// Print no colours; setting `NO_COLOR` does the same
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// A form of printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Where the data are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseOptions {
    /// A PostgreSQL that somebody else runs; without it the platform runs one of its own
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    #[arg(value_parser = secret)]
    pub database_url: Option<Secret>,
    /// Where the platform's own PostgreSQL keeps its data
    ///
    /// Unless told: `$XDG_DATA_HOME/finnest`, or `/var/lib/finnest` when run as root.
    #[arg(long, value_name = "DIRECTORY", env = "FINNEST_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,
}

/// How to run the platform.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// Which rules of security hold: irap wants a second factor of everybody and ends sessions
    /// after 15 minutes
    #[arg(
        long,
        value_enum,
        env = "FINNEST_ENV",
        hide_env_values = true,
        default_value = "commercial"
    )]
    pub profile: ProfileKind,
    /// File with the 32 random bytes that all nodes share, to sign and encrypt what they hand out;
    /// made if it does not exist, and beside the embedded database unless told
    #[arg(long, value_name = "FILE", env = "FINNEST_SECRET_FILE", hide_env_values = true)]
    pub secret_file: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_parser = address,
        env = "FINNEST_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:4000"
    )]
    pub listen: SocketAddr,
    /// A proxy in front, by address or network; only what it says of its own peer is believed
    /// (`X-Forwarded-For`, `X-Forwarded-Proto`). May be given several times, or with commas
    #[arg(
        long,
        value_name = "ADDRESS[/BITS]",
        value_delimiter = ',',
        value_parser = network,
        env = "FINNEST_TRUSTED_PROXIES",
        hide_env_values = true
    )]
    pub trusted_proxy: Vec<Network>,
    /// Where the platform is reached by people elsewhere, as in `https://finnest.example.com`: what
    /// links in letters begin with, and what agents and the OpenAPI document are told. The same on
    /// all nodes
    #[arg(long, value_name = "URL", env = "FINNEST_PUBLIC_URL", hide_env_values = true)]
    pub public_url: Option<String>,
    /// Further names under which the MCP servers are reached from elsewhere, as in
    /// `finnest.example.com`; this machine's own and that of the public address always count
    #[arg(
        long = "public-host",
        value_name = "HOST[:PORT]",
        value_delimiter = ',',
        env = "FINNEST_PUBLIC_HOSTS",
        hide_env_values = true
    )]
    pub public_hosts: Vec<String>,
    /// Origins whose pages may use the API and the sockets from a browser, as in
    /// `https://app.example.com`; nobody's but the platform's own unless said. May be given several
    /// times, or with commas
    #[arg(
        long = "web-origin",
        value_name = "ORIGIN",
        value_delimiter = ',',
        env = "FINNEST_WEB_ORIGINS",
        hide_env_values = true
    )]
    pub web_origins: Vec<String>,
    /// Let people sign in with passkeys at this origin (scheme, host and port); they are made for
    /// its host. Further origins are hosts below it, or apps
    #[arg(
        long = "passkey-origin",
        value_name = "ORIGIN",
        value_delimiter = ',',
        env = "FINNEST_PASSKEY_ORIGINS",
        hide_env_values = true
    )]
    pub passkey_origins: Vec<String>,
    /// Add the demo organisation, its users and their tokens
    #[arg(long, env = "FINNEST_DEMO", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub demo: bool,
    /// The tuning of the supervision tree
    #[arg(
        long,
        value_name = "FILE",
        env = "FINNEST_CONFIG",
        hide_env_values = true,
        default_value = "supervision.toml"
    )]
    pub config: PathBuf,
    /// Name of this node among those that share the database; a new one at each start unless told
    #[arg(long, value_name = "NAME", env = "FINNEST_NODE", hide_env_values = true)]
    pub node: Option<String>,
    /// The most database connections this node opens
    #[arg(
        long,
        value_name = "N",
        env = "FINNEST_CONNECTIONS_MAX",
        hide_env_values = true,
        default_value_t = 20
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub connections_max: u32,
    /// How events reach other nodes, and whether they are passed on to NATS
    #[arg(
        long,
        value_enum,
        env = "FINNEST_BUS",
        hide_env_values = true,
        default_value = "postgres"
    )]
    pub bus: BusKind,
    /// The NATS server with JetStream that events are passed on to with `--bus nats`
    #[arg(
        long,
        value_name = "URL",
        value_parser = secret,
        env = "FINNEST_NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: Secret,
    /// Where to write months of events that are old enough, before they leave the database; they
    /// stay in it unless told
    #[arg(long, value_name = "DIRECTORY", env = "FINNEST_ARCHIVE_DIR", hide_env_values = true)]
    pub archive_dir: Option<PathBuf>,
    /// How many months of events are kept in the database; seven years unless told
    #[arg(
        long,
        value_name = "N",
        env = "FINNEST_RETENTION_MONTHS",
        hide_env_values = true,
        default_value_t = RETENTION_MONTHS
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1200))]
    pub retention_months: u32,
    /// What to log, for example `info` or `warn,platform=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "FINNEST_LOG",
        hide_env_values = true,
        default_value = "info,ractor=warn,sqlx=warn"
    )]
    pub log: String,
    /// The form of log lines
    #[arg(
        long,
        value_enum,
        env = "FINNEST_LOG_FORMAT",
        hide_env_values = true,
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// How the chains of the log are signed.
    #[command(flatten)]
    pub checkpoints: CheckpointOptions,
    /// Where the data are.
    #[command(flatten)]
    pub database: DatabaseOptions,
}

/// A network: an address, and how many of its first bits are the same for all that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// The bits; no more than the address has.
    pub bits: u8,
}

/// Which rules of security hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileKind {
    /// Sessions of an hour, a second factor for whoever wants one
    Commercial,
    /// Sessions of 15 minutes, a second factor for everybody
    Irap,
}

/// How events reach the nodes that share a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BusKind {
    /// This node is the only one; it opens no connection for others to wake it
    Local,
    /// Nodes wake each other through the database they share
    Postgres,
    /// The same, and every event is passed on to a stream in NATS
    Nats,
}

/// How the platform runs one domain in a process of its own.
#[derive(Debug, Clone, Args)]
pub struct CellOptions {
    /// The domain
    pub domain: String,
    /// The tuning of the supervision tree
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// What to log
    #[arg(long, value_name = "FILTER")]
    pub log: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For programs, one object a line
    Json,
}

/// Where to listen, by number or by name. A name that stands for several addresses stands for its
/// first of version 4, as `localhost` does where it means both.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = match text.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            return Err(format!(
                "{error}; an address or name of this machine and a port are expected, as in \
                 127.0.0.1:4000 or localhost:4000"
            ));
        }
    };
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| format!("no address is known by the name {text}"))
}

/// A network by its first address and its bits, or a single address.
fn network(text: &str) -> Result<Network, String> {
    let expected = "an address or a network is expected, as in 10.0.0.7 or 10.0.0.0/8";
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let address: IpAddr = address.trim().parse().map_err(|_| expected)?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(all), |bits| bits.trim().parse().map_err(|_| expected))?;
    if bits > all { Err(expected.to_owned()) } else { Ok(Network { address, bits }) }
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that could refuse")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::from(text))
}

impl DatabaseOptions {
    /// An empty variable means that nothing was said, as with every other program.
    pub(crate) fn without_empty(mut self) -> Self {
        self.database_url = self.database_url.filter(|url| !url.expose().is_empty());
        self.data_dir = self.data_dir.filter(|path| !path.as_os_str().is_empty());
        self
    }
}

impl Server {
    /// An empty variable means that nothing was said.
    pub(crate) fn without_empty(mut self) -> Self {
        self.token = self.token.filter(|token| !token.expose().is_empty());
        self.profile = self.profile.filter(|profile| !profile.is_empty());
        self
    }

    /// The same with what the config file has where nothing was said.
    pub(crate) fn filled(mut self, is_url_said: bool, profile: Profile) -> Self {
        if let (false, Some(url)) = (is_url_said, profile.url) {
            self.url = url;
        }
        self.token = self.token.or(profile.token);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen_may_be_said_by_name() {
        for (text, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:4000", "[::1]:4000"),
            ("localhost:4000", "127.0.0.1:4000"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let check = |text: &str, expected: Option<(&str, u8)>| {
            let expected = expected.map(|(address, bits)| Network {
                address: address.parse().expect("an address"),
                bits,
            });
            assert_eq!(network(text).ok(), expected, "{text}");
        };

        check("10.0.0.7", Some(("10.0.0.7", 32)));
        check("10.0.0.0/8", Some(("10.0.0.0", 8)));
        check("2001:db8::/32", Some(("2001:db8::", 32)));
        check("10.0.0.0/33", None);
        check("10.0.0.0/-1", None);
        check("proxy.internal", None);
    }

    #[test]
    fn what_is_no_place_to_listen_is_refused_with_an_example() {
        for text in ["4000", "localhost", "127.0.0.1:http", ""] {
            let refused = address(text).expect_err(text);

            assert!(refused.ends_with("as in 127.0.0.1:4000 or localhost:4000"), "{refused}");
        }
    }
}
