//! A worker that can be asked for anything, a journal of what happened, and ways to wait for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use otp::{
    Actor, ActorRef, CallError, ChildSpec, Clock, Context, ExitReason, Intensity, Reply, Root,
    StartError, Strategy, SupervisionEvent, SupervisionEventKind as Kind, SupervisorSpec, Tree,
};
use tokio::sync::{broadcast, oneshot};

pub const SECOND: Duration = Duration::from_secs(1);

/// What happened, in order, in words.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// What a [`Worker`] can be asked for.
pub enum Ask {
    /// How many times it has been asked.
    Count(Reply<u64>),
    /// Write this down.
    Note(u32),
    Panic(&'static str),
    End(ExitReason),
    /// Handle this message until the sender is dropped.
    Busy(oneshot::Sender<()>, oneshot::Receiver<()>),
    /// Never answer, but go on.
    Forget(Reply<u64>),
    /// Let somebody else answer.
    Delegate(Reply<u64>, oneshot::Sender<Reply<u64>>),
    /// Pass the question on to this actor, which may be itself, and say what it answered.
    Pass(ActorRef<Ask>, Reply<Result<u64, CallError>>),
}

pub struct Worker {
    journal: Journal,
    name: &'static str,
    farewell: Duration,
    count: u64,
}

impl Actor for Worker {
    type Message = Ask;

    async fn init(&mut self, _: &Context<Ask>) -> Result<(), StartError> {
        self.journal.note(format!("start {}", self.name));
        Ok(())
    }

    async fn handle(&mut self, message: Ask, _: &Context<Ask>) -> Result<(), ExitReason> {
        self.count += 1;
        match message {
            Ask::Count(reply) => reply.send(self.count),
            Ask::Note(number) => self.journal.note(number.to_string()),
            // Panics like `panic!`, without a line in the log for each planned panic.
            Ask::Panic(text) => std::panic::resume_unwind(Box::new(text)),
            Ask::End(reason) => return Err(reason),
            Ask::Busy(entered, done) => {
                entered.send(()).unwrap();
                let _ = done.await;
            }
            Ask::Forget(reply) => drop(reply),
            Ask::Delegate(reply, other) => other.send(reply).unwrap(),
            Ask::Pass(other, reply) => reply.send(other.request(Ask::Count).await),
        }
        Ok(())
    }

    async fn terminate(&mut self, reason: &ExitReason) {
        tokio::time::sleep(self.farewell).await;
        self.journal.note(format!("stop {} {reason}", self.name));
    }
}

pub fn worker(journal: &Journal, name: &'static str) -> ChildSpec {
    slow_worker(journal, name, Duration::ZERO)
}

/// A worker that takes its time to say farewell.
pub fn slow_worker(journal: &Journal, name: &'static str, farewell: Duration) -> ChildSpec {
    let journal = journal.clone();
    let count = 0;
    ChildSpec::worker(name, move || Worker { journal: journal.clone(), name, farewell, count })
}

/// A supervisor that does not mind many restarts.
pub fn patient(strategy: Strategy) -> SupervisorSpec {
    SupervisorSpec::new(strategy).intensity(Intensity::new(1_000, SECOND))
}

pub async fn start(spec: SupervisorSpec) -> Root {
    Root::start(spec, Clock::system()).await.unwrap()
}

pub fn actor(tree: &Tree, path: &str) -> ActorRef<Ask> {
    tree.whereis(path).unwrap()
}

pub async fn count(tree: &Tree, path: &str) -> u64 {
    actor(tree, path).call(Ask::Count, SECOND).await.unwrap()
}

type Events = broadcast::Receiver<Arc<SupervisionEvent>>;

/// The next event at `path` that `is_it`.
pub async fn event(
    events: &mut Events,
    path: &str,
    is_it: impl Fn(&Kind) -> bool,
) -> Arc<SupervisionEvent> {
    loop {
        let event = events.recv().await.unwrap();
        if event.path == path && is_it(&event.kind) {
            return event;
        }
    }
}

/// Keeps the actor busy until the sender is dropped.
pub async fn occupy(actor: &ActorRef<Ask>) -> oneshot::Sender<()> {
    let (entered, was_entered) = oneshot::channel();
    let (hold, done) = oneshot::channel();
    actor.cast(Ask::Busy(entered, done)).unwrap();
    was_entered.await.unwrap();
    hold
}

pub async fn restarted(events: &mut Events, path: &str) -> Arc<SupervisionEvent> {
    event(events, path, |kind| *kind == Kind::Restarted).await
}
