//! The queue against what its server can do at most, in one run and in turns.
//!
//! `scripts/bench-jobs.sh` runs this. The limit is a bare loop over tables of the same layout, a
//! moment before or after. Nothing is decided here: machines are noisy, people read the ratio.

#![expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]

mod bare;
mod command;
mod figures;
mod history;
mod idle;
mod insert;
mod latency;
mod node;
mod noop;

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use benches::figures::{Session, Size};
use benches::server::{Database, Server};
use benches::{ms, percentile, report};

// What the server runs on, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many transactions that enqueue one job each run at a time.
const WRITERS: [usize; 3] = [1, 8, 32];

/// What the command line asks for.
struct Request {
    rounds: usize,
    /// How many jobs wait before they are performed.
    jobs: usize,
    /// How long each rate of single transactions is measured, in seconds.
    seconds: u64,
    /// How many jobs have been completed before.
    sizes: Vec<Size>,
    /// The page to write, if any.
    page: Option<PathBuf>,
}

/// A queue with a past.
struct Past {
    size: Size,
    database: Database,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let after = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let Some(rounds) = after("--rounds") else {
        // `cargo test --benches` runs every benchmark once.
        return;
    };
    let number = |text: String| text.parse::<u64>().expect("a number");
    let few = |text: String| usize::try_from(number(text)).expect("not too many");
    let sizes = after("--sizes").unwrap_or_else(|| "0".to_owned());
    let request = Request {
        rounds: few(rounds),
        jobs: after("--jobs").map_or(100_000, few),
        seconds: after("--seconds").map_or(3, number),
        sizes: sizes.split(',').map(Size::parse).collect(),
        page: after("--page").map(PathBuf::from),
    };
    let server = Server::start("jobs").await;
    server.prepare(bare::TABLES).await;
    server.prepare(command::TABLE).await;
    let session = measure(&server, &request).await;
    server.stop().await;
    let text = report::tables(&session, &figures::tables(&request.sizes));
    report::show(&text);
    if let Some(page) = &request.page {
        let load = "the benchmark itself makes 2 to 4";
        report::write(page, &head(&request), load, &text, &session);
    }
}

fn head(request: &Request) -> String {
    let Request { rounds, jobs, .. } = request;
    format!(
        "# The queue and its limit\n\n\
         As `make bench-jobs` does it, in {rounds} rounds: in each, a bare loop and we, in turns, \
         on one server with its data on disk and every commit durable. The limit claims 50 jobs \
         with `skip locked` in one statement and moves them to the finished ones in another, over \
         tables of the same columns and indexes, without roles, row security, or anybody who \
         performs anything. Ours is a whole queue of a domain with a limit of 50: each of {jobs} \
         waiting jobs is claimed, performed by a supervised process of its own and recorded, and \
         the time runs until the last is. Medians of the rounds; a ratio is the median of the \
         ratios of each round. Above 1 is better for rates, below 1 for times."
    )
}

async fn measure(server: &Server, request: &Request) -> Session {
    let mut session = Session::default();
    let mut pasts = Vec::new();
    for size in &request.sizes {
        report::progress(&format!("{} jobs have been completed", size.title()));
        let database = server.create_database(&format!("jobs_{}", size.name())).await;
        history::fill(&database, size.count()).await;
        pasts.push(Past { size: *size, database });
    }
    for round in 1..=request.rounds {
        report::progress(&format!("round {round} of {}", request.rounds));
        // Whoever comes first in one round comes later in the next.
        pasts.rotate_left(1);
        for past in &pasts {
            throughput(server, past, request, &mut session).await;
        }
        session.add("load", report::load_now().unwrap_or_default());
    }
    report::progress("doing nothing");
    let idle = server.create_database("jobs_idle").await;
    idle::measure(server, &idle, Duration::from_secs(request.seconds * 10), &mut session).await;
    session
}

/// Everything that is done to one queue, once.
async fn throughput(server: &Server, past: &Past, request: &Request, session: &mut Session) {
    let (database, jobs, name) = (&past.database, request.jobs, past.size.name());
    history::settle(database, past.size).await;
    session.add(&format!("bulk/{name}"), insert::bulk(database, jobs).await);
    if past.size.is_smallest() {
        for loops in [1, 2] {
            let speed = bare::measure(server, database, loops).await;
            session.add_speed(&format!("bare/{loops}"), &speed);
        }
    }
    let speed = noop::measure(server, database, jobs).await;
    session.add_speed(&format!("noop/{name}"), &speed);
    if !past.size.is_smallest() {
        return;
    }
    insert::bulk(database, jobs / 5).await;
    let speed = command::measure(server, database, jobs / 5).await;
    session.add_speed("command", &speed);
    let span = Duration::from_secs(request.seconds);
    for writers in WRITERS {
        history::settle(database, past.size).await;
        session.add(&format!("single/{writers}"), insert::single(database, writers, span).await);
    }
    history::settle(database, past.size).await;
    let latencies = latency::paced(database, span).await;
    session.add("p50", ms(percentile(&latencies, 50)));
    session.add("p99", ms(percentile(&latencies, 99)));
}
