//! Configuration: what a system needs to start, decided by whoever starts it.

use std::path::PathBuf;

use kernel::{Position, Timestamp};
use otp::config::Tuning;
use otp::{ChildSpec, Clock};
use sqlx::postgres::PgConnectOptions;
use store::archive::Shelf;
use tokio::sync::watch;

use crate::cell::MakeCell;
use crate::postgres::Embedded;
use crate::profile::Profile;
use crate::public_url::PublicUrl;
use crate::relying_party::RelyingParty;
use crate::secret::MasterSecret;
use crate::system::System;

/// Where the data are.
#[allow(clippy::large_enum_variant, reason = "there is one of it, and it is moved once")]
pub enum Database {
    /// A server that the platform runs as its own child.
    Embedded(Embedded),
    /// A server that somebody else runs.
    External {
        /// Connects as the owner, to migrate.
        owner: PgConnectOptions,
        /// Connects as the application.
        app: PgConnectOptions,
    },
}

/// Makes the processes of the edge, which know surfaces and so are not known here.
pub type MakeEdge = Box<dyn FnOnce(&System) -> Vec<ChildSpec> + Send>;

/// How a node hears of what other nodes commit and seal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wakes {
    /// It does not: there is no other, or half a second is soon enough.
    Local,
    /// By words over a connection to the database that all of them hold.
    #[default]
    Shared,
}

/// Makes the relay of this node, which knows where events are passed on to.
pub type MakeRelay = Box<dyn FnOnce(&System) -> Relay + Send>;

/// What passes events on, and how far it has got.
pub struct Relay {
    /// The process.
    pub child: ChildSpec,
    /// How far it has got.
    pub relayed: watch::Receiver<Relayed>,
}

/// What was passed on for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// Everything up to here.
    pub position: Position,
    /// When the last of it was recorded, if anything was passed on since the start.
    pub recorded_at: Option<Timestamp>,
}

/// What a system needs to start.
pub struct Config {
    /// Where the data are.
    pub database: Database,
    /// supervision.toml, read and checked.
    pub tuning: Tuning,
    /// Where supervision.toml is read again when an operator asks for that.
    pub page: PathBuf,
    /// The wall clock.
    pub clock: Clock,
    /// The name of this node among those that share the database.
    pub node: String,
    /// The most database connections this node opens.
    pub connections_max: u32,
    /// How live events reach the nodes that share the database.
    pub wakes: Wakes,
    /// Where months of events go that are older than anybody must keep; without it they stay.
    pub shelf: Option<Shelf>,
    /// Passes every sealed event on to somewhere else; without it nothing does.
    pub relay: Option<MakeRelay>,
    /// The processes of the edge.
    pub edge: MakeEdge,
    /// Runs the cells of domains placed in processes; without it there are none.
    pub cells: Option<MakeCell>,
    /// How checkpoints of the log are signed and where they go; without it none are made.
    pub signing: Option<store::checkpoint::keeper::Options>,
    /// Which rules of security hold, and the secret that all nodes share.
    pub security: Security,
}

/// Which rules of security hold, and the secret that all nodes share.
#[derive(Debug, Clone)]
pub struct Security {
    /// The rules.
    pub profile: Profile,
    /// The secret.
    pub secret: MasterSecret,
    /// Where the installation is reached.
    pub address: PublicUrl,
    /// Whom passkeys are made for; without it there are none.
    pub passkeys: Option<RelyingParty>,
}
