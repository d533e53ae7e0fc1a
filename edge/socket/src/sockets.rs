//! Sockets: how many connections there are, and the word to all of them that the server stops.
//!
//! A connection is a task of its own and outlives the process below, so killing that harms nobody.
//! The process shows their number in the tree, and when the tree stops it tells them to go, so that
//! their clients come back at once and to the next server, instead of waiting for a dead line.

use std::sync::Arc;
use std::time::Duration;

use platform::otp::{ChildSpec, ExitReason, Process, RunContext, Shutdown, StartError};
use tokio::sync::watch;

/// The open connections of one edge. Clones are the same.
#[derive(Debug, Clone)]
pub struct Sockets {
    inner: Arc<Inner>,
    patience: Patience,
}

/// Idle and stuck connections are looked for at least this often.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(10);

/// How long a client is waited for before its connection is closed.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// While it says nothing; it sends a heartbeat every 30 seconds.
    pub silent: Duration,
    /// While it reads nothing at all although something waits for it.
    pub unread: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silent: Duration::from_mins(1), unread: Duration::from_secs(10) }
    }
}

impl Patience {
    /// How often idle and stuck connections are looked for.
    pub(crate) fn look_every(self) -> Duration {
        (self.silent.min(self.unread) / 6).clamp(Duration::from_millis(10), LOOK_EVERY_MAX)
    }
}

#[derive(Debug)]
struct Inner {
    open: watch::Sender<u64>,
    draining: watch::Sender<bool>,
}

impl Default for Sockets {
    fn default() -> Self {
        let inner = Inner { open: watch::Sender::new(0), draining: watch::Sender::new(false) };
        Self { inner: Arc::new(inner), patience: Patience::default() }
    }
}

impl Sockets {
    /// None open yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with this patience for whoever connects through it.
    #[must_use]
    pub const fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The process that tells the open connections to go when the tree stops.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        let sockets = self.clone();
        ChildSpec::process("sockets", move || Drain { sockets: sockets.clone() })
            .shutdown(Shutdown::Timeout(DRAIN_WITHIN))
            .label("WebSocket connections")
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_count(&self) -> u64 {
        *self.inner.open.borrow()
    }

    /// Counts a connection until the answer is dropped.
    pub(crate) fn enter(&self) -> Open {
        self.inner.open.send_modify(|open| *open += 1);
        Open { sockets: self.clone(), draining: self.inner.draining.subscribe() }
    }
}

/// How long the connections have to say goodbye.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// One open connection.
pub(crate) struct Open {
    sockets: Sockets,
    draining: watch::Receiver<bool>,
}

impl Open {
    pub(crate) const fn patience(&self) -> Patience {
        self.sockets.patience
    }

    /// Waits until the server stops.
    pub(crate) async fn draining(&mut self) {
        // The sender lives as long as `sockets`, so an error cannot occur; waiting for ever would
        // be right if it did.
        if self.draining.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.sockets.inner.open.send_modify(|open| *open -= 1);
    }
}

struct Drain {
    sockets: Sockets,
}

impl Process for Drain {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        self.sockets.inner.draining.send_replace(false);
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut open = self.sockets.inner.open.subscribe();
        loop {
            context.report_backlog(*open.borrow_and_update());
            tokio::select! {
                () = context.stopping() => break,
                _ = open.changed() => {}
            }
        }
        self.sockets.inner.draining.send_replace(true);
        // Whoever is still there when the patience ends is cut off with the process.
        let _ = open.wait_for(|open| *open == 0).await;
        Ok(())
    }
}
