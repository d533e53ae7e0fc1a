//! Sessions: connections that go from one transaction to the next without being asked how they are.
//!
//! A pool pings a connection when it is taken and again when it is given back. A command that
//! records one event needs three round trips; with the pings it was five, and round trips are most
//! of what a command costs. A session that has just ended a transaction in good order is known to
//! be well, so it is kept apart and taken by the next caller as it is.
//!
//! **Invariant:** a kept session is in no transaction. One that was not given back, because its
//! caller failed or was cancelled, goes through the pool, which clears it up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection as _, PgPool, Postgres, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long a session may have been idle and still be taken without a question: under load always,
/// in quiet times never.
const TRUSTED_FOR: Duration = Duration::from_millis(50);

/// How long a session is kept from the pool, which closes connections that are old or not needed.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Sessions for transactions, out of a pool that others use as well.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    /// One for each session that may be out or kept, so that others always find some in the pool.
    places: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    sessions: Vec<Idle>,
    is_closed: bool,
}

#[derive(Debug)]
struct Idle {
    connection: PoolConnection<Postgres>,
    /// When it came from the pool.
    taken_at: Instant,
    /// When it was given back.
    since: Instant,
}

impl Sessions {
    /// Sessions out of `pool`: three quarters of its connections, and at least one, at the same
    /// time.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let connections_max = pool.options().get_max_connections();
        let places = usize::try_from(connections_max * 3 / 4).unwrap_or(usize::MAX).max(1);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Shared { pool, places, kept: Mutex::default() }))
    }

    /// A session that is in no transaction, as long as the pool lets one wait for it.
    ///
    /// # Errors
    /// When no connection is to be had.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn take(&self) -> Result<Session, sqlx::Error> {
        let wait = self.0.pool.options().get_acquire_timeout();
        let place = Arc::clone(&self.0.places).acquire_owned();
        let place = tokio::time::timeout(wait, place)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(idle) = self.0.pop() {
            let Some((connection, taken_at)) = idle.well().await else { continue };
            return Ok(self.session(connection, taken_at, place));
        }
        let connection = self.0.pool.acquire().await?;
        Ok(self.session(connection, Instant::now(), place))
    }

    fn session(
        &self,
        connection: PoolConnection<Postgres>,
        taken_at: Instant,
        place: OwnedSemaphorePermit,
    ) -> Session {
        Session {
            connection: Some(connection),
            taken_at,
            home: Arc::clone(&self.0),
            is_opening: false,
            place: Some(place),
        }
    }

    /// How many are kept and not in use.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.0.kept().sessions.len()
    }

    /// Ends all that are kept and keeps no more, so that the pool can be closed.
    pub fn close(&self) {
        let sessions = {
            let mut kept = self.0.kept();
            kept.is_closed = true;
            std::mem::take(&mut kept.sessions)
        };
        sessions.into_iter().for_each(Idle::end);
    }
}

impl Shared {
    /// The one given back last: what it has prepared is still in the caches.
    fn pop(&self) -> Option<Idle> {
        self.kept().sessions.pop()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that holds the lock leaves it half-changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    /// Not given back to the pool one by one: the threads that watched them may be gone.
    fn drop(&mut self) {
        self.sessions.drain(..).for_each(Idle::end);
    }
}

impl Idle {
    /// Closes the connection, whatever has become of the threads that watched it.
    fn end(self) {
        drop(self.connection.detach());
    }

    /// The connection, unless it has ended or its time apart from the pool is over.
    async fn well(mut self) -> Option<(PoolConnection<Postgres>, Instant)> {
        if self.taken_at.elapsed() > KEPT_FOR {
            return None;
        }
        if self.since.elapsed() > TRUSTED_FOR && self.connection.ping().await.is_err() {
            return None;
        }
        Some((self.connection, self.taken_at))
    }
}

/// One session, for one caller.
#[derive(Debug)]
pub struct Session {
    /// Gone only while the session is given back or dropped.
    connection: Option<PoolConnection<Postgres>>,
    taken_at: Instant,
    home: Arc<Shared>,
    /// Whether a transaction is on its way that nobody would roll back.
    is_opening: bool,
    place: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Opens a transaction by the statements in `opening`, in one round trip.
    ///
    /// # Errors
    /// When the server refuses or cannot be reached.
    ///
    /// # Cancel safety
    /// The transaction is rolled back when the future is dropped, wherever it is.
    ///
    /// # Panics
    /// Never: only giving the session back takes its connection away.
    pub async fn begin(
        &mut self,
        opening: AssertSqlSafe<String>,
    ) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        self.is_opening = true;
        let connection = self.connection.as_mut().expect("it is there until it is given back");
        let opened = connection.begin_with(opening).await;
        self.is_opening = false;
        opened
    }

    /// Keeps the session for the next caller. Only after its transaction has ended in good order.
    pub fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            let idle = Idle { connection, taken_at: self.taken_at, since: Instant::now() };
            let mut kept = self.home.kept();
            if !kept.is_closed {
                kept.sessions.push(idle);
            }
        }
        // Only now, so that whoever waits for a place finds the session.
        drop(self.place.take());
    }
}

impl Drop for Session {
    /// The pool counts a transaction only once it is open, so one that was being opened would
    /// still be there for whoever got the connection next. It ends with the connection.
    fn drop(&mut self) {
        if self.is_opening
            && let Some(connection) = self.connection.take()
        {
            drop(connection.detach());
        }
    }
}
