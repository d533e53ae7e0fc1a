//! Waking: how the nodes that share a log tell each other to look.
//!
//! Every node holds one connection that listens, and speaks on it apart from all business
//! transactions: a `NOTIFY` takes a lock that all committing transactions of the cluster share, so
//! it must not be theirs. There are three words.
//!
//! | word | from | then |
//! |---|---|---|
//! | `committed` | a node whose sealer does not lead | the leader looks for what is new |
//! | `sealed 4711` | the leader, also to a newcomer | the others know the head |
//! | `here` | everybody, now and then and to a newcomer | the leader knows that it has listeners |
//!
//! Words coalesce: however many commits there are, a node says one thing in 5 ms at most, and a
//! node that is alone says nothing of commits and heads. They are hints. Whoever loses its
//! connection opens another and reads the head at once, and what is never said is found by the slow
//! scans of sealer and stand-by.
//!
//! A passenger may ride along: whoever else has something to tell other nodes, as the queues have
//! hints and the bus has who is connected, need not hold a connection for it. Its words begin with
//! `also`, and whatever they say must be able to get lost.
//!
//! **Invariant:** no fact travels here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kernel::Position;
use otp::{ChildSpec, ExitReason, Process, RunContext};
use sqlx::Acquire as _;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::log::Log;
use crate::read;

/// The channel of all words, and the name of the connection among those of the database.
const CHANNEL: &str = "finnest_wake";

/// The shortest time between two words of one node.
const PACE: Duration = Duration::from_millis(5);

/// How often a node says that it is there.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(20);

/// After so long without a word from a node, it is taken to be gone.
const PRESENCE_MAX: Duration = Duration::from_secs(70);

/// A connection that lasted so long was a good one; the next is opened without suspicion.
const STEADY_AFTER: Duration = Duration::from_secs(1);

/// How long Postgres may take for a word until the connection is taken to be dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hints of another part of the node, which travel with those of the log.
pub trait Passenger: Send + Sync + 'static {
    /// Waits for hints to tell other nodes, in one line of 7,000 bytes at most. What is taken while
    /// no other node is there is told to nobody. Must lose nothing when it is dropped.
    fn next(&self) -> BoxFuture<'_, String>;

    /// Hears what the passenger of another node tells.
    fn hear(&self, telling: &str);
}

/// The wake-up of this node, as a child beside its sealer.
#[must_use]
pub fn child(log: &Log) -> ChildSpec {
    build(log, None)
}

/// The same, with somebody riding along.
#[must_use]
pub fn child_with(log: &Log, passenger: Arc<dyn Passenger>) -> ChildSpec {
    build(log, Some(passenger))
}

fn build(log: &Log, passenger: Option<Arc<dyn Passenger>>) -> ChildSpec {
    let log = log.clone();
    ChildSpec::process("wake", move || Wake { log: log.clone(), passenger: passenger.clone() })
}

/// What nodes say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Here,
    Committed,
    Sealed(Position),
    Also(String),
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => formatter.write_str("here"),
            Self::Committed => formatter.write_str("committed"),
            Self::Sealed(position) => write!(formatter, "sealed {position}"),
            Self::Also(telling) => write!(formatter, "also {telling}"),
        }
    }
}

impl FromStr for Word {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(' ') {
            Some(("sealed", position)) => {
                position.parse().map(|position| Self::Sealed(Position(position))).map_err(drop)
            }
            Some(("also", telling)) => Ok(Self::Also(telling.to_owned())),
            None if text == "here" => Ok(Self::Here),
            None if text == "committed" => Ok(Self::Committed),
            _ => Err(()),
        }
    }
}

/// The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
enum LineLost {
    #[error("the database ended the connection")]
    Closed,
    #[error("the database does not answer")]
    Silent,
    #[error("the database refused")]
    Refused(#[from] sqlx::Error),
}

struct Wake {
    log: Log,
    passenger: Option<Arc<dyn Passenger>>,
}

impl Process for Wake {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut backoff = Backoff::default();
        while !context.is_stopping() {
            let begun = Instant::now();
            let lost = tokio::select! {
                () = context.stopping() => break,
                lost = self.listen() => lost,
            };
            let Err(error) = lost;
            if begun.elapsed() >= STEADY_AFTER {
                backoff.reset();
            }
            let wait = backoff.next_wait();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                wait_ms = wait.as_millis(),
                "other nodes are not heard for a moment"
            );
            tokio::select! {
                () = context.stopping() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }
}

impl Wake {
    /// Speaks and hears on one connection for as long as it lasts.
    async fn listen(&self) -> Result<Infallible, LineLost> {
        let mut line = Line::open(&self.log, self.passenger.as_deref()).await?;
        line.catch_up().await?;
        line.talk().await
    }
}

/// One connection, and what was heard on it.
struct Line<'a> {
    log: &'a Log,
    passenger: Option<&'a dyn Passenger>,
    listener: PgListener,
    /// The process in Postgres that speaks for this node.
    own_pid: u32,
    /// When the other nodes were last heard, by their processes in Postgres.
    others: HashMap<u32, Instant>,
    head: watch::Receiver<Position>,
    next_word_at: Instant,
    next_here_at: Instant,
}

impl<'a> Line<'a> {
    async fn open(log: &'a Log, passenger: Option<&'a dyn Passenger>) -> Result<Self, LineLost> {
        // Apart from the pool, in which it would hold a place for ever.
        let options = (*log.pool().connect_options()).clone().application_name(CHANNEL);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        // A word that gets lost costs half a second; waiting for the disk costs it every time.
        sqlx::raw_sql("set role finnest_runtime; set synchronous_commit = off")
            .execute(&mut listener)
            .await?;
        let own_pid: i32 =
            sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut listener).await?;
        listener.listen(CHANNEL).await?;
        let now = Instant::now();
        Ok(Self {
            log,
            passenger,
            listener,
            own_pid: own_pid.unsigned_abs(),
            others: HashMap::new(),
            head: log.head(),
            next_word_at: now,
            next_here_at: now,
        })
    }

    /// Makes up for what was said while nobody here listened.
    async fn catch_up(&mut self) -> Result<(), LineLost> {
        let head = read::head(self.listener.acquire().await?).await?;
        self.log.learn_head(head);
        self.log.wake().nudge();
        Ok(())
    }

    async fn talk(&mut self) -> Result<Infallible, LineLost> {
        loop {
            let (head, next_word_at) = (&mut self.head, self.next_word_at);
            let passenger = self.passenger;
            let say = async {
                tokio::time::sleep_until(next_word_at).await;
                tokio::select! {
                    () = self.log.committed_here() => Word::Committed,
                    Ok(()) = head.changed() => Word::Sealed(*head.borrow_and_update()),
                    () = tokio::time::sleep_until(self.next_here_at) => Word::Here,
                    telling = told(passenger) => Word::Also(telling),
                }
            };
            tokio::select! {
                words = self.listener.try_recv() => {
                    self.hear(&words?.ok_or(LineLost::Closed)?);
                }
                word = say => self.say(word).await?,
            }
        }
    }

    fn hear(&mut self, notification: &PgNotification) {
        if notification.process_id() == self.own_pid {
            return;
        }
        let now = Instant::now();
        if self.others.insert(notification.process_id(), now).is_none() {
            // A newcomer has heard neither who is there nor what was sealed while nobody told it.
            self.next_here_at = now;
            self.head.mark_changed();
        }
        match notification.payload().parse() {
            Ok(Word::Committed) if self.log.leads() => self.log.wake().nudge(),
            Ok(Word::Sealed(position)) => self.log.learn_head(position),
            Ok(Word::Also(telling)) => {
                if let Some(passenger) = self.passenger {
                    passenger.hear(&telling);
                }
            }
            // Another version of this program may have more to say.
            Ok(Word::Here | Word::Committed) | Err(()) => {}
        }
    }

    async fn say(&mut self, word: Word) -> Result<(), LineLost> {
        let now = Instant::now();
        self.next_word_at = now + PACE;
        if word == Word::Here {
            self.next_here_at = now + PRESENCE_INTERVAL;
            self.others.retain(|_, heard| now - *heard < PRESENCE_MAX);
        }
        let leads = self.log.leads();
        let is_news = match word {
            Word::Here => true,
            // Whoever has come to lead since looks by itself.
            Word::Committed => !leads,
            Word::Sealed(_) => leads && !self.others.is_empty(),
            Word::Also(_) => !self.others.is_empty(),
        };
        if !is_news {
            return Ok(());
        }
        let notify = sqlx::query("select pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(word.to_string())
            .execute(&mut self.listener);
        match tokio::time::timeout(PATIENCE, notify).await {
            Ok(said) => said.map(drop).map_err(LineLost::from),
            Err(_) => Err(LineLost::Silent),
        }
    }
}

/// What a passenger has to tell, if there is one.
async fn told(passenger: Option<&dyn Passenger>) -> String {
    match passenger {
        Some(passenger) => passenger.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_said() {
        let also = Word::Also("+recruit =payroll".to_owned());
        for word in [Word::Here, Word::Committed, Word::Sealed(Position(4_711)), also] {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
    }

    #[test]
    fn what_is_no_word_is_no_word() {
        for text in ["", "sealed", "sealed ", "sealed x", "here ", "committed 3", "Here"] {
            assert_eq!(text.parse::<Word>(), Err(()), "{text}");
        }
    }
}
