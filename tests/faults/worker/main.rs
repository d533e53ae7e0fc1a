//! A worker: a node of the queue reduced to duties and queues, in a process of its own, so that it
//! can be killed, stopped in its tracks and run out of memory.
//!
//! It lives until its standard input ends, so that it outlives no test, and does what it is told
//! there: killing what runs in it is part of the trial.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use faults::order::{Order, Say};
use faults::perform::performers;
use jobs::{Overrides, Queues, duties, producer};
use otp::{Bulkhead, ChildSpec, Clock, Intensity, Root, Strategy, SupervisorSpec, Tree};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::mpsc;

/// Enough for every attempt, and for those who look after them.
const CONNECTIONS_MAX: u32 = 30;
/// How long anybody waits for one of them.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let order = std::env::args().nth(1).expect("a test says what to do");
    let order: Order = serde_json::from_str(&order).expect("a test speaks our language");
    let app: PgConnectOptions = order.database_url.parse().expect("it is an address");
    let pool = connect(&app);
    let queues = Queues::new(pool.clone(), Clock::system(), order.name.as_str());
    let root = Root::start(tree_of(&order, &queues, &pool), Clock::system()).await;
    let root = root.expect("nothing is in the way of a start");
    let mut said = listen();
    while let Some(line) = said.recv().await {
        let say = serde_json::from_str(&line).expect("a test speaks our language");
        let answer = obey(&root.tree(), &queues, &say).await;
        if writeln!(std::io::stdout(), "{answer}").is_err() {
            break;
        }
    }
    root.stop().await;
    ExitCode::SUCCESS
}

/// The lines that a test says.
fn listen() -> mpsc::UnboundedReceiver<String> {
    let (sender, said) = mpsc::unbounded_channel();
    // A thread, because reading cannot be interrupted; it ends with the process.
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    said
}

fn connect(app: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_WITHIN)
        .connect_lazy_with(app.clone())
}

/// The tree of a node, as the platform has it.
fn tree_of(order: &Order, queues: &Queues, pool: &PgPool) -> SupervisorSpec {
    let patient = Intensity::new(100_000, Duration::from_mins(1));
    let duties = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(patient)
        .child(duties::leader(queues))
        .child(duties::stager(queues))
        .child(duties::sweeper(queues))
        .child(duties::settings(queues))
        .child(duties::lifeline(queues))
        .child(duties::pruner(queues));
    let domains =
        order.queues.iter().map(|(queue, limit)| domain(order, queue, *limit, queues, pool));
    let domains = SupervisorSpec::new(Strategy::OneForOne).intensity(patient).children(domains);
    SupervisorSpec::new(Strategy::OneForOne)
        .intensity(patient)
        .child(ChildSpec::supervisor("jobs", duties))
        .child(ChildSpec::supervisor("domains", domains))
}

/// A domain with nothing but its queue. On threads of its own it is watched, as the platform does
/// by default, and has connections of its own.
fn domain(order: &Order, queue: &str, limit: u32, queues: &Queues, pool: &PgPool) -> ChildSpec {
    let is_dedicated = order.dedicated.as_deref() == Some(queue);
    let (name, release) = (queue.to_owned(), order.release.clone());
    let (shared, pool) = (queues.clone(), pool.clone());
    let make = move || {
        let pool = if is_dedicated { connect(&pool.connect_options()) } else { pool.clone() };
        let queues = shared.through(pool.clone());
        let performers = performers(pool, Clock::system(), release.clone());
        let queue = producer::subtree(&queues, &name, limit, performers);
        Ok(SupervisorSpec::new(Strategy::OneForOne).child(queue))
    };
    let child = ChildSpec::supervisor_from(queue, make);
    if is_dedicated { child.bulkhead(Bulkhead::new(queue, 1)) } else { child }
}

/// Does what was said, and answers with a number.
async fn obey(tree: &Tree, queues: &Queues, say: &Say) -> u64 {
    match say {
        Say::Kill(path) => u64::from(tree.kill(path).is_ok()),
        Say::KillAttempts { queue, count, place } => {
            let attempts = tree.find(&format!("root/domains/{queue}/queue/attempts"));
            let running = attempts.map(|attempts| attempts.children).unwrap_or_default();
            let chosen = running.iter().cycle().skip(place % running.len().max(1));
            let chosen = chosen.take((*count).min(running.len()));
            chosen.map(|attempt| u64::from(tree.kill(&attempt.path).is_ok())).sum()
        }
        Say::Limit { queue, limit } => {
            let said = Overrides { global_limit: Some(*limit), ..Overrides::default() };
            u64::from(queues.scale(queue, said).await.is_ok())
        }
        Say::Restarts(path) => tree.find(path).map_or(u64::MAX, |node| node.restarts),
        Say::Superseded(queue) => {
            let every = queues.stats();
            let stats = every.iter().find(|stats| stats.queue == *queue);
            stats.map_or(0, |stats| stats.counts.superseded)
        }
    }
}
