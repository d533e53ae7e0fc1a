//! Sockets: which connections are open, whose they are, and the words to them from outside: that
//! the server stops, that somebody's credential may have ended, that somebody has to go.
//!
//! A connection is a task of its own and outlives the processes here, so killing those harms
//! nobody. `sockets` shows the number of connections in the tree, and when the tree stops it tells
//! them to go, so that their clients come back at once and to the next server, instead of waiting
//! for a dead line. It tells them in batches: clients that all come back at one instant would be an
//! attack on whoever is left.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use platform::otp::config::DrainTuning;
use platform::otp::{ChildSpec, ExitReason, Process, RunContext, Shutdown, StartError};
use platform::{OrgId, Position, UserId};
use tokio::sync::watch;

use crate::limits::Limits;

/// The open connections of one edge, and what holds for them. Clones are the same.
#[derive(Clone)]
pub struct Sockets {
    inner: Arc<Inner>,
    patience: Patience,
    limits: Limits,
    draining: Arc<dyn Fn() -> Draining + Send + Sync>,
    origins: Arc<[String]>,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("open", &self.open_count()).finish_non_exhaustive()
    }
}

/// Idle and stuck connections are looked for at least this often.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(10);
/// How long the connections of the last batch have to say goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);
/// No way of draining takes longer: the smallest batches with the longest breaks between them are
/// through with the most connections a server has in ten minutes.
const DRAINED_WITHIN: Duration = Duration::from_mins(11);

/// How long a client is waited for before its connection is closed.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// While it says nothing; it sends a heartbeat every 30 seconds.
    pub silent: Duration,
    /// While it reads nothing at all although something waits for it.
    pub unread: Duration,
    /// Between two polls of a client that polls.
    pub unpolled: Duration,
    /// How long a poll is held open while nothing happens.
    pub poll: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silent: Duration::from_mins(1),
            unread: Duration::from_secs(10),
            unpolled: Duration::from_secs(15),
            poll: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// How often idle and stuck connections are looked for.
    pub(crate) fn look_every(self) -> Duration {
        let least = self.silent.min(self.unread).min(self.unpolled);
        (least / 6).clamp(Duration::from_millis(10), LOOK_EVERY_MAX)
    }
}

/// How connections are told to go when the server stops.
#[derive(Debug, Clone, Copy)]
pub struct Draining {
    /// How many at once.
    pub batch: usize,
    /// Between two batches.
    pub every: Duration,
}

impl Default for Draining {
    fn default() -> Self {
        Self { batch: 10_000, every: Duration::from_secs(2) }
    }
}

impl From<DrainTuning> for Draining {
    fn from(tuning: DrainTuning) -> Self {
        let batch = usize::try_from(tuning.batch).unwrap_or(usize::MAX);
        Self { batch, every: tuning.interval }
    }
}

#[derive(Debug)]
struct Inner {
    open: watch::Sender<u64>,
    /// Connections whose number is below this have to go.
    leaving: watch::Sender<u64>,
    present: Mutex<Present>,
    /// Up to where it was heard whom an operator sends away, by a process that may begin anew.
    sent_away_until: Mutex<Option<Position>>,
}

/// Who is connected.
#[derive(Debug, Default)]
struct Present {
    next: u64,
    numbers: BTreeSet<u64>,
    users: HashMap<UserId, User>,
}

/// A user with connections.
#[derive(Debug)]
struct User {
    org_id: OrgId,
    connections: usize,
    word: watch::Sender<Word>,
}

/// How often a user's connections were told something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Word {
    checks: u64,
    farewells: u64,
}

/// What a connection is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The server stops.
    Restart,
    /// What it was opened with may have ended.
    Check,
    /// It has to go.
    Leave,
}

impl Default for Sockets {
    fn default() -> Self {
        let inner = Inner {
            open: watch::Sender::new(0),
            leaving: watch::Sender::new(0),
            present: Mutex::default(),
            sent_away_until: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            patience: Patience::default(),
            limits: Limits::default(),
            draining: Arc::new(Draining::default),
            origins: Arc::default(),
        }
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

    /// The same, with these limits for each connection.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, emptied in this way when the server stops; it is asked for then.
    #[must_use]
    pub fn draining(mut self, draining: impl Fn() -> Draining + Send + Sync + 'static) -> Self {
        self.draining = Arc::new(draining);
        self
    }

    /// The same, open also to pages of these origins, each as `https://app.example`; pages of the
    /// server's own host may always connect.
    #[must_use]
    pub fn origins(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        self.origins = origins.into_iter().collect();
        self
    }

    /// The process that tells the open connections to go when the tree stops.
    #[must_use]
    pub fn child(&self) -> ChildSpec {
        let sockets = self.clone();
        ChildSpec::process("sockets", move || Drain { sockets: sockets.clone() })
            .shutdown(Shutdown::Timeout(DRAINED_WITHIN))
            .label("connections of sockets")
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_count(&self) -> u64 {
        *self.inner.open.borrow()
    }

    /// Has every connection of a user asked whether it may stay.
    pub(crate) fn check(&self, user_id: UserId) {
        self.tell(|id, _| *id == user_id, |word| word.checks += 1);
    }

    /// Has every connection of an organisation asked whether it may stay; of all of them when none
    /// is named.
    pub(crate) fn check_all(&self, org_id: Option<OrgId>) {
        let is_meant = |_: &UserId, user: &User| org_id.is_none_or(|org_id| user.org_id == org_id);
        self.tell(is_meant, |word| word.checks += 1);
    }

    /// Has every connection of a user go.
    pub(crate) fn send_away(&self, user_id: UserId) {
        self.tell(|id, _| *id == user_id, |word| word.farewells += 1);
    }

    /// Up to where it was heard whom an operator sends away.
    pub(crate) fn sent_away_until(&self) -> MutexGuard<'_, Option<Position>> {
        self.inner.sent_away_until.lock().expect("no holder of this lock panics")
    }

    fn tell(&self, is_meant: impl Fn(&UserId, &User) -> bool, change: impl Fn(&mut Word)) {
        let present = self.inner.present();
        for (_, user) in present.users.iter().filter(|(id, user)| is_meant(id, user)) {
            user.word.send_modify(&change);
        }
    }

    pub(crate) fn may_come_from(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin)
    }

    pub(crate) const fn patience_of_all(&self) -> Patience {
        self.patience
    }

    /// Counts a connection of a user until the answer is dropped.
    pub(crate) fn enter(&self, user_id: UserId, org_id: OrgId) -> Open {
        let (number, word) = self.inner.present().enter(user_id, org_id);
        self.inner.open.send_modify(|open| *open += 1);
        let leaving = self.inner.leaving.subscribe();
        let heard = *word.borrow();
        Open { sockets: self.clone(), number, user_id, leaving, word, heard }
    }
}

impl Inner {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().expect("no holder of this lock panics")
    }
}

impl Present {
    fn enter(&mut self, user_id: UserId, org_id: OrgId) -> (u64, watch::Receiver<Word>) {
        let number = self.next;
        self.next += 1;
        self.numbers.insert(number);
        let user = self.users.entry(user_id).or_insert_with(|| User {
            org_id,
            connections: 0,
            word: watch::Sender::default(),
        });
        user.connections += 1;
        (number, user.word.subscribe())
    }

    fn leave(&mut self, number: u64, user_id: UserId) {
        self.numbers.remove(&number);
        if let Some(user) = self.users.get_mut(&user_id) {
            user.connections -= 1;
            if user.connections == 0 {
                self.users.remove(&user_id);
            }
        }
    }
}

/// One open connection.
pub(crate) struct Open {
    sockets: Sockets,
    number: u64,
    user_id: UserId,
    leaving: watch::Receiver<u64>,
    word: watch::Receiver<Word>,
    heard: Word,
}

impl Open {
    pub(crate) const fn patience(&self) -> Patience {
        self.sockets.patience
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.sockets.limits
    }

    /// Waits until there is something to be told.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn order(&mut self) -> Order {
        let Self { number, leaving, word, heard, .. } = self;
        // The senders live as long as this, so an error cannot occur; waiting for ever would be
        // right if it did.
        tokio::select! {
            left = async { leaving.wait_for(|leaving| *number < *leaving).await.map(drop) } => {
                match left {
                    Ok(()) => return Order::Restart,
                    Err(_) => std::future::pending().await,
                }
            }
            told = word.changed() => match told {
                Ok(()) => {}
                Err(_) => std::future::pending().await,
            },
        }
        let now = *word.borrow_and_update();
        let is_farewell = now.farewells != heard.farewells;
        *heard = now;
        if is_farewell { Order::Leave } else { Order::Check }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.sockets.inner.present().leave(self.number, self.user_id);
        self.sockets.inner.open.send_modify(|open| *open -= 1);
    }
}

struct Drain {
    sockets: Sockets,
}

impl Process for Drain {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        self.sockets.inner.leaving.send_replace(0);
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
        self.drain().await;
        // Whoever is still there after that is cut off with its connection.
        let _ = tokio::time::timeout(GOODBYE_WITHIN, open.wait_for(|open| *open == 0)).await;
        Ok(())
    }
}

impl Drain {
    /// Tells everybody to go, the oldest first.
    async fn drain(&self) {
        let Draining { batch, every } = (self.sockets.draining)();
        let mut told = 0;
        loop {
            let next =
                self.sockets.inner.present().numbers.range(told..).nth(batch.max(1)).copied();
            told = next.unwrap_or(u64::MAX);
            self.sockets.inner.leaving.send_replace(told);
            if next.is_none() {
                return;
            }
            tokio::time::sleep(every).await;
        }
    }
}
