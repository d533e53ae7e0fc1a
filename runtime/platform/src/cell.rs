//! Cells: a domain whose processes live in a process of the operating system of their own.
//!
//! The platform runs its own binary once more for such a domain, as a supervised child. That
//! process, the *cell*, has the domain's subtree and a pool of its own on the same database;
//! sealing, surfaces and everything else stay with the platform. An abort, a stack overflow or
//! memory that runs out is then the exit of one child, which its supervisor answers as any other.
//!
//! ```text
//! the platform                                the cell
//! root/domains/payroll     one_for_all        root                  nothing is restarted here
//! ├─ line                  ◀── a socket ──▶   ├─ database            closes the connections
//! └─ process               starts and stops   ├─ jobs                its own lifeline
//!                                             ├─ domains/payroll     the domain's subtree
//!                                             └─ line
//! ```
//!
//! The two ends of the socket tell each other what neither can see: calls and their answers, where
//! the log stands, that something was committed, that there is work, and what the subtree looks
//! like. Whatever ends one side ends the stream, by which the other knows.

mod answer;
mod line;
mod server;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::{DomainName, Scope};
use otp::config::{Placement, Tuning};
use otp::process::OsProcessSpec;
use otp::{ChildSpec, Shutdown, StartError, Strategy, SupervisorSpec};
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use crate::catalog::Catalog;
use crate::dispatch::{Answer, RETRY_AFTER};
use crate::domain::Domain;
use crate::refusal::{Error, Result};
use crate::system::{Here, System};
use answer::Answered;
pub use server::{CellConfig, serve};
use wire::{Call, Hello, ToCell};

/// Makes the command that runs the cell of a domain: this binary, told to be one.
pub type MakeCell = Arc<dyn Fn(DomainName) -> OsProcessSpec + Send + Sync>;

/// How long a cell may take until its domain is up.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// The fewest database connections a cell can live with; it has half as many as the platform.
const CONNECTIONS_MIN: u32 = 4;
/// So many words may wait for a cell that is slow to read before whoever calls has to wait too.
const OUTBOX_MAX: usize = 1_024;

/// The platform's view of one cell, whichever of its lives that is.
pub(crate) struct Cell {
    domain: DomainName,
    hello: Hello,
    command: OsProcessSpec,
    arriving: mpsc::UnboundedSender<UnixStream>,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<UnixStream>>,
    now: Mutex<Option<Arc<Conversation>>>,
}

/// What is said on one socket, from its start to its end.
struct Conversation {
    outbox: mpsc::Sender<ToCell>,
    is_ready: AtomicBool,
    last_id: AtomicU64,
    /// Who waits for which answer; `None` once nobody can be answered any more.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Answered>>>>,
}

impl Cell {
    pub(crate) fn new(domain: DomainName, hello: Hello, command: OsProcessSpec) -> Arc<Self> {
        let (arriving, arrivals) = mpsc::unbounded_channel();
        let arrivals = tokio::sync::Mutex::new(arrivals);
        Arc::new(Self { domain, hello, command, arriving, arrivals, now: Mutex::new(None) })
    }

    pub(crate) const fn domain(&self) -> DomainName {
        self.domain
    }

    /// Has a call answered over there. Access, limits and schema have been checked; the cell checks
    /// them again.
    pub(crate) async fn call(
        &self,
        scope: &Scope,
        operation: &'static str,
        input: Value,
        key: Option<&str>,
        is_read: bool,
    ) -> Result<Answer> {
        let conversation = self.now().clone().filter(|now| now.is_ready()).ok_or_else(|| {
            Error::unavailable(format!("{} is being started again", self.domain), RETRY_AFTER)
        })?;
        let call = Call {
            id: conversation.last_id.fetch_add(1, Ordering::Relaxed),
            scope: scope.clone(),
            operation: operation.to_owned(),
            input,
            key: key.map(str::to_owned),
        };
        match conversation.ask(call).await {
            Outcome::Answered(answered) => answered.into(),
            Outcome::Unheard => Err(Error::unavailable(
                format!("{} ended before it heard of this; send it again", self.domain),
                RETRY_AFTER,
            )),
            Outcome::Unknown => Err(self.unknown(is_read, key.is_some())),
        }
    }

    /// The cell ended in the middle of a call. What it committed is committed, and cannot be told.
    fn unknown(&self, is_read: bool, has_key: bool) -> Error {
        let then = match (is_read, has_key) {
            (true, _) => "; ask again",
            (false, true) => {
                ", so whether this was done is not known; send it again with the same \
                 Idempotency-Key and it is done once"
            }
            (false, false) => {
                ", so whether this was done is not known; look before you send it again, or send \
                 such calls with an Idempotency-Key"
            }
        };
        Error::unavailable(format!("{} ended before it answered{then}", self.domain), RETRY_AFTER)
    }

    fn now(&self) -> MutexGuard<'_, Option<Arc<Conversation>>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a question.
enum Outcome {
    Answered(Answered),
    /// It never left.
    Unheard,
    /// It left, and nothing came back.
    Unknown,
}

impl Conversation {
    fn new() -> (Arc<Self>, mpsc::Receiver<ToCell>) {
        let (outbox, leaving) = mpsc::channel(OUTBOX_MAX);
        let conversation = Self {
            outbox,
            is_ready: AtomicBool::new(false),
            last_id: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
        };
        (Arc::new(conversation), leaving)
    }

    fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    async fn ask(&self, call: Call) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let id = call.id;
        match self.waiting().as_mut() {
            Some(waiting) => drop(waiting.insert(id, reply)),
            None => return Outcome::Unheard,
        }
        if self.outbox.send(ToCell::Call(call)).await.is_err() {
            return Outcome::Unheard;
        }
        answer.await.map_or(Outcome::Unknown, Outcome::Answered)
    }

    fn answer(&self, id: u64, answered: Answered) {
        let asker = self.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some(asker) = asker {
            // Whoever has gone away in the meantime does not want to know any more.
            drop(asker.send(answered));
        }
    }

    /// Lets everybody who waits know that nothing will come.
    fn close(&self) {
        self.is_ready.store(false, Ordering::Release);
        drop(self.waiting().take());
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answered>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cell({})", self.domain)
    }
}

/// The cells of the domains that supervision.toml places in processes of their own.
///
/// # Errors
/// [`StartError`] when nobody knows how to run one.
pub(crate) fn cells(
    catalog: &Catalog,
    tuning: &Tuning,
    app: &PgConnectOptions,
    here: &Here,
    make: Option<&MakeCell>,
) -> Result<Vec<Arc<Cell>>, StartError> {
    let names = catalog.domains().iter().map(Domain::name);
    let away = names.filter(|name| tuning.domain(name.as_str()).placement == Placement::Process);
    away.map(|name| {
        let make = make.ok_or_else(|| {
            StartError::Failed(format!("{name} is placed in a process, and nothing here runs one"))
        })?;
        let hello = Hello {
            database_url: app.to_url_lossy().to_string(),
            node: here.node.clone(),
            connections_max: (here.connections_max / 2).max(CONNECTIONS_MIN),
            profile: here.security.profile,
            secret: *here.security.secret.expose(),
            address: here.security.address.clone(),
            passkeys: here.security.passkeys.clone(),
        };
        Ok(Cell::new(name, hello, make(name)))
    })
    .collect()
}

/// The subtree of a domain that has a cell, as a child of `domains`.
pub(crate) fn subtree(system: &System, cell: &Arc<Cell>) -> ChildSpec {
    let (system, cell) = (system.clone(), cell.clone());
    let name = cell.domain.as_str();
    ChildSpec::supervisor_from(name, move || Ok(spec_of(&system, &cell)))
}

/// The supervisor of a cell by the tuning that holds now: its end of the line, and the process.
pub(crate) fn spec_of(system: &System, cell: &Arc<Cell>) -> SupervisorSpec {
    let tuning = system.tuning().domain(cell.domain.as_str());
    let (arriving, asked) = (cell.arriving.clone(), cell.clone());
    let mut process = cell
        .command
        .clone()
        // Whatever it was about to commit is found again by the next one.
        .killed_with_us()
        // Its end of the line is up before and after it, so it hears of every socket.
        .socket(move |socket| drop(arriving.send(socket)))
        .ready(READY_WITHIN, move |_| {
            let is_ready = asked.now().as_ref().is_some_and(|now| now.is_ready());
            async move { Ok(is_ready) }
        });
    if let Some(bytes) = tuning.memory_max {
        process = process.memory_max(bytes);
    }
    if let Shutdown::Timeout(patience) = tuning.shutdown {
        process = process.patience(patience + SUBTREE_MARGIN);
    }
    // Together: each of the two is of no use without the other.
    SupervisorSpec::new(Strategy::OneForAll)
        .intensity(tuning.intensity)
        .child(line::child(system, cell))
        .child(process.child("process"))
}

/// What a cell needs beyond the patience of its domain to close its connections and end.
const SUBTREE_MARGIN: Duration = Duration::from_secs(2);
