//! Homes: what a domain on threads of its own has for itself.
//!
//! A connection is watched by the runtime that opened it. Shared with others, it would stand still
//! for them when its domain holds all its threads; so such a domain opens its own, anew with every
//! start of its subtree, and its operations are answered on its threads.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::Queues;
use kernel::DomainName;
use otp::config::Tuning;
use otp::{Bulkhead, BulkheadError};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use store::{Log, Sessions};
use tokio::runtime::{Handle, Id};

use crate::catalog::Catalog;
use crate::dispatch::RETRY_AFTER;
use crate::refusal::{Error, Result};
use crate::system::{ACQUIRE_WITHIN, System};

/// Which part of the node's connections a domain on threads of its own may open besides.
const SHARE: u32 = 4;
/// The least it may open: its consumers and its queue must not wait for its operations.
const CONNECTIONS_MIN: u32 = 4;
/// An operation that holds its thread holds its locks too. The server ends such a transaction.
const IDLE_IN_TRANSACTION: &str = "10s";

/// The domains that supervision.toml puts on threads of their own.
pub(crate) struct Homes(HashMap<&'static str, Arc<Home>>);

impl Homes {
    pub(crate) fn new(
        catalog: &Catalog,
        tuning: &Tuning,
        app: &PgConnectOptions,
        connections_max: u32,
    ) -> Self {
        let homes = catalog.domains().iter().filter_map(|domain| {
            let (domain, name) = (domain.name(), domain.name().as_str());
            let bulkhead = tuning.domain(name).bulkhead(name)?;
            Some((name, Arc::new(Home::new(domain, bulkhead, app, connections_max))))
        });
        Self(homes.collect())
    }

    /// The home of a domain, if it is on threads of its own.
    pub(crate) fn of(&self, domain: DomainName) -> Option<&Arc<Home>> {
        self.0.get(domain.as_str())
    }

    /// Closes their connections, when all of them have ended.
    ///
    /// Dropped rather than closed: the threads that would have to close them are gone.
    pub(crate) fn move_out(&self) {
        for home in self.0.values() {
            drop(home.lock().take());
        }
    }
}

impl System {
    /// The same system as the processes of `domain` use it: through what it has for itself, if it
    /// is on threads of its own and has moved in there.
    pub(crate) fn at_home(&self, domain: DomainName) -> Self {
        match self.homes().of(domain).and_then(|home| home.rooms()) {
            Some(rooms) => self.within(rooms),
            None => self.clone(),
        }
    }
}

/// A domain on threads of its own.
pub(crate) struct Home {
    domain: DomainName,
    bulkhead: Bulkhead,
    options: PgConnectOptions,
    connections_max: u32,
    rooms: Mutex<Option<Arc<Rooms>>>,
}

/// What the domain uses on its present threads.
pub(crate) struct Rooms {
    runtime: Id,
    pub(crate) pool: PgPool,
    pub(crate) sessions: Sessions,
    pub(crate) log: Log,
    pub(crate) queues: Queues,
}

impl Home {
    fn new(
        domain: DomainName,
        bulkhead: Bulkhead,
        app: &PgConnectOptions,
        connections_max: u32,
    ) -> Self {
        let options =
            app.clone().options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION)]);
        let connections_max = (connections_max / SHARE).max(CONNECTIONS_MIN);
        Self { domain, bulkhead, options, connections_max, rooms: Mutex::default() }
    }

    /// The threads.
    pub(crate) const fn bulkhead(&self) -> &Bulkhead {
        &self.bulkhead
    }

    /// Moves in: whoever calls this runs on the new threads.
    pub(crate) fn move_in(&self, system: &System) {
        let pool = PgPoolOptions::new()
            .max_connections(self.connections_max)
            .acquire_timeout(ACQUIRE_WITHIN)
            .connect_lazy_with(self.options.clone());
        let rooms = Rooms {
            runtime: Handle::current().id(),
            log: system.log().through(pool.clone()),
            queues: system.queues().through(pool.clone()),
            sessions: Sessions::new(pool.clone()),
            pool,
        };
        let before = self.lock().replace(Arc::new(rooms));
        // Dropped after the lock: it may be the last reference to connections.
        drop(before);
    }

    /// What the domain uses, once it has moved in.
    fn rooms(&self) -> Option<Arc<Rooms>> {
        self.lock().clone()
    }

    /// Answers a call on the threads of the domain; `name` is what its watchdog calls it.
    pub(crate) async fn answer<T, W>(
        &self,
        system: &System,
        name: &'static str,
        work: impl FnOnce(System) -> W + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send,
    {
        let (domain, rooms, system) = (self.domain, self.rooms(), system.clone());
        let answered = self.bulkhead.run(name, async move {
            // The rooms of threads that were given up are of no use on the new ones.
            match rooms.filter(|rooms| rooms.runtime == Handle::current().id()) {
                Some(rooms) => work(system.within(rooms)).await,
                None => Err(not_up(domain)),
            }
        });
        match answered.await {
            Ok(answer) => answer,
            Err(BulkheadError::Closed { .. }) => Err(not_up(domain)),
            Err(BulkheadError::Abandoned { .. }) => Err(Error::unavailable(
                format!(
                    "{domain} held its threads too long and is being replaced; whether {name} was \
                     done is not known"
                ),
                RETRY_AFTER,
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Rooms>>> {
        // Only whole rooms are ever put there.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_up(domain: DomainName) -> Error {
    Error::unavailable(format!("{domain} is being started"), RETRY_AFTER)
}

impl fmt::Debug for Home {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Home({})", self.domain)
    }
}
