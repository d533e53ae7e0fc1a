//! The event log against what its server can do at most, in one run and in turns.
//!
//! `scripts/bench-events.sh` runs this. The limit is what `pgbench` reaches with plain durable
//! inserts on the same server, a moment before or after. Nothing is decided here: machines are
//! noisy, people read the ratio.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "counts and times of a run are far below 2^52"
)]

mod figures;
mod history;
mod idle;
mod latency;
mod limit;
mod node;
mod replay;
mod writers;

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use benches::figures::{Session, Size};
use benches::server::{Database, Server};
use benches::{ms, percentile, report};
use node::Node;

// What the server runs on, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many commands run at a time.
const WRITERS: [usize; 3] = [1, 8, 32];
/// Events sealed at once when the sealer is measured alone.
const BACKLOG: i64 = 60_000;

/// What the command line asks for.
struct Request {
    rounds: usize,
    /// How long each rate is measured, in seconds.
    seconds: u64,
    /// How many events the logs hold before they are measured.
    sizes: Vec<Size>,
    /// The page to write, if any.
    page: Option<PathBuf>,
}

/// A log with a past.
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
    let sizes = after("--sizes").unwrap_or_else(|| "0".to_owned());
    let request = Request {
        rounds: usize::try_from(number(rounds)).expect("a few rounds"),
        seconds: after("--seconds").map_or(3, number),
        sizes: sizes.split(',').map(Size::parse).collect(),
        page: after("--page").map(PathBuf::from),
    };
    let server = limit::start_server().await;
    let session = measure(&server, &request).await;
    server.stop().await;
    let text = report::tables(&session, &figures::tables(&request.sizes));
    report::show(&text);
    if let Some(page) = &request.page {
        let load = "the benchmark itself makes 3 to 10";
        report::write(page, &head(request.rounds), load, &text, &session);
    }
}

fn head(rounds: usize) -> String {
    format!(
        "# The event log and its limit\n\n\
         As `make bench-events` does it, in {rounds} rounds: in each, `pgbench` with as many \
         clients as we have writers, then we, on one server with its data on disk and every \
         commit durable. The limit is a plain insert of 500 bytes, one row and one round trip a \
         commit. Ours is a whole command of a domain: a transaction of its role and tenant, one \
         event of about 500 bytes, found, sealed, hashed and handed to a consumer in order; the \
         time runs until the consumer has the last. Medians of the rounds; a ratio is the median \
         of the ratios of each round. Above 1 is better for rates, below 1 for times."
    )
}

async fn measure(server: &Server, request: &Request) -> Session {
    let mut session = Session::default();
    let mut pasts = Vec::new();
    for size in &request.sizes {
        report::progress(&format!("filling a log with {} events", size.title()));
        let database = server.create_database(&format!("log_{}", size.name())).await;
        history::fill(&database, size.count()).await;
        history::seal(&database).await;
        pasts.push(Past { size: *size, database });
    }
    for past in &pasts {
        history::settle(&past.database).await;
    }
    for round in 1..=request.rounds {
        report::progress(&format!("round {round} of {}", request.rounds));
        // Whoever comes first in one round comes later in the next.
        pasts.rotate_left(1);
        round_of(server, &pasts, request.seconds, &mut session).await;
        session.add("load", report::load_now().unwrap_or_default());
    }
    for _ in 0..request.rounds.min(3) {
        pasts.rotate_left(1);
        for past in &pasts {
            report::progress(&format!("walking a log of {} events and more", past.size.title()));
            walk(past, &mut session).await;
        }
    }
    report::progress("doing nothing");
    let idle = server.create_database("log_idle").await;
    idle::measure(server, &idle, Duration::from_secs(request.seconds * 6), &mut session).await;
    session
}

/// Everything that writes, once.
async fn round_of(server: &Server, pasts: &[Past], seconds: u64, session: &mut Session) {
    let span = Duration::from_secs(seconds);
    let mut nodes = Vec::new();
    for past in pasts {
        nodes.push((past.size, Node::start(&past.database, 1).await));
    }
    for writers in WRITERS {
        session.add_speed(&format!("limit/{writers}"), &limit::measure(server, writers, seconds));
        for (size, node) in &nodes {
            if size.is_smallest() {
                let speed = node.throughput(server, writers, 1, span).await;
                session.add_speed(&format!("delivered/{writers}/1/{}", size.name()), &speed);
            }
            let speed = node.throughput(server, writers, 100, span).await;
            session.add_speed(&format!("delivered/{writers}/100/{}", size.name()), &speed);
        }
    }
    for (size, node) in &nodes {
        let latencies = latency::paced(node, span).await;
        session.add(&format!("p50/{}", size.name()), ms(percentile(&latencies, 50)));
        session.add(&format!("p99/{}", size.name()), ms(percentile(&latencies, 99)));
    }
    for (_, node) in nodes {
        node.stop().await;
    }
    for past in pasts {
        history::fill(&past.database, BACKLOG).await;
        session.add(&format!("seal/{}", past.size.name()), history::seal(&past.database).await);
    }
}

/// Everything that only reads, once.
async fn walk(past: &Past, session: &mut Session) {
    let name = past.size.name();
    session.add(&format!("verify/{name}"), history::verify(&past.database).await);
    session.add(&format!("stream/{name}"), history::stream(&past.database).await);
    session.add(&format!("replay/{name}"), replay::rebuild(&past.database).await);
    session.add(&format!("catch_up/{name}"), history::catch_up(&past.database).await);
}
