//! The edge against what its protocols can do at most, in one run and in turns.
//!
//! `scripts/bench-edge.sh` runs this. The server is this process, its clients are another; the
//! limits are servers that do nothing else, a moment before or after. Nothing is decided here:
//! machines are noisy, people read the ratio.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of a run are far below 2^52"
)]

mod bare;
mod client;
mod domain;
mod figures;
mod load;
mod node;
mod wire;

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use benches::figures::Session;
use benches::report;
use benches::server::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::bare::Bare;
use crate::load::Load;
use crate::node::{Node, TOKEN, resident_bytes};

// What the server runs on, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a push of an event comes to on the wire, so that the bare servers send as much.
const PUSH_BYTES: usize = 480;

/// What the command line asks for.
struct Request {
    rounds: usize,
    /// Idle connections whose memory is measured.
    idle: usize,
    /// How long each rate is measured.
    span: Duration,
    /// Subscribers, and how many events they are told.
    fan_out: Vec<(usize, u64)>,
    /// The page to write, if any.
    page: Option<PathBuf>,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, mode, rest @ ..] = &arguments[..]
        && flag == "--client"
    {
        return client::run(mode, client::Task::parse(rest)).await;
    }
    let after = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let Some(rounds) = after("--rounds") else {
        // `cargo test --benches` runs every benchmark once.
        return;
    };
    let number = |text: String| text.parse::<usize>().expect("a number");
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let request = Request {
        rounds: number(rounds),
        idle: if is_quick { 1_000 } else { 10_000 },
        span: Duration::from_secs(if is_quick { 1 } else { 4 }),
        fan_out: if is_quick { vec![(1_000, 100)] } else { vec![(1_000, 600), (5_000, 120)] },
        page: after("--page").map(PathBuf::from),
    };
    raise_the_limit_of_files();
    let server = Server::start("edge").await;
    let session = measure(&server, &request).await;
    server.stop().await;
    let text = report::tables(&session, &figures::tables());
    report::show(&text);
    if let Some(page) = &request.page {
        let load = "the benchmark itself makes 2 to 3";
        report::write(page, &head(&request), load, &text, &session);
    }
}

/// As far as this process may; its clients inherit it.
fn raise_the_limit_of_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, raised).expect("a process may raise its own limit that far");
}

fn head(request: &Request) -> String {
    let Request { rounds, idle, span, .. } = request;
    format!(
        "# The edge, its peer and its limits\n\n\
         As `make bench-edge` does it, in {rounds} rounds of {} seconds a rate: in each, servers \
         that do nothing else and we, in turns, in one process, with their clients in another. \
         Ours is a whole system with its event log on a server with every commit durable: each \
         event that is fanned out is a command, sealed and told by the bus. Memory is that of \
         the server's process with {idle} connections, each joined to a topic of its own. \
         Medians of the rounds; a ratio is the median of the ratios of each round. Above 1 is \
         better for rates, below 1 for times and bytes.",
        span.as_secs()
    )
}

async fn measure(server: &Server, request: &Request) -> Session {
    let mut session = Session::default();
    let node = Node::start(server).await;
    let bare = Bare::start().await;
    report::progress("idle connections");
    idle(&node, request, &mut session).await;
    for round in 1..=request.rounds {
        report::progress(&format!("round {round} of {}", request.rounds));
        rates(&node, &bare, request, &mut session).await;
        for (subscribers, events) in &request.fan_out {
            fan_out(&node, &bare, (*subscribers, *events), &mut session).await;
        }
        pace(&node, request, &mut session).await;
        session.add("load", report::load_now().unwrap_or_default());
    }
    report::progress("a slow consumer");
    slow(&node, &mut session).await;
    node.system.stop().await;
    session
}

/// Memory of connections that do nothing.
async fn idle(node: &Node, request: &Request, session: &mut Session) {
    let topic = node.topic();
    let hold = |count| Load::start("hold", node.address, TOKEN, &topic, (count, Duration::ZERO));
    // What is made once and kept is no cost of a connection.
    let mut few = hold(100);
    few.hear("ready").await;
    few.stop().await;
    let before = resident_bytes();
    let mut many = hold(request.idle);
    session.add("joins", many.hear("joins").await as f64);
    many.hear("ready").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    session.add("bytes", (resident_bytes() - before) / request.idle as f64);
    many.stop().await;
}

/// Requests a second.
async fn rates(node: &Node, bare: &Bare, request: &Request, session: &mut Session) {
    let per_second = async |mode, address: SocketAddr, token, place: &str, count| {
        let mut load = Load::start(mode, address, token, place, (count, request.span));
        let total = load.hear("total").await as f64;
        load.stop().await;
        total / request.span.as_secs_f64()
    };
    let topic = node.topic();
    session.add("bare/get", per_second("get", bare.http, "", "/health", 50).await);
    session.add("get", per_second("get", node.address, TOKEN, "/health", 50).await);
    session.add("bare/trips", per_second("trips", bare.sockets, "", &topic, 100).await);
    session.add("trips", per_second("trips", node.address, TOKEN, &topic, 100).await);
}

/// Deliveries a second.
async fn fan_out(node: &Node, bare: &Bare, (subscribers, events): (usize, u64), to: &mut Session) {
    let clients = async |address, token| {
        let count = (subscribers, Duration::ZERO);
        let mut load = Load::start("fan", address, token, &node.topic(), count);
        load.hear("ready").await;
        load
    };
    let mut load = clients(bare.sockets, "").await;
    let text: Utf8Bytes = "x".repeat(PUSH_BYTES).into();
    let publish = async || _ = bare.all.send(text.clone());
    let speed = load.fan_out(subscribers, events, publish).await;
    to.add(&format!("bare/fan/{subscribers}"), speed);
    load.stop().await;
    let mut load = clients(node.address, TOKEN).await;
    let speed =
        load.fan_out(subscribers, events, async || node.publish("to everybody").await).await;
    to.add(&format!("fan/{subscribers}"), speed);
    load.stop().await;
}

/// Times of commands at a steady rate.
async fn pace(node: &Node, request: &Request, session: &mut Session) {
    let (path, span) = ("/api/v1/bench/notes", request.span * 2);
    let mut load = Load::start("pace", node.address, TOKEN, path, (300, span));
    for name in ["p50", "p99"] {
        session.add(name, load.hear(name).await as f64 / 1_000.0);
    }
    session.add("refused", load.hear("refused").await as f64);
    load.stop().await;
}

/// Twenty subscribers that read and one that does not, while 3,000 events of 8 kB are told.
async fn slow(node: &Node, session: &mut Session) {
    const EVENTS: u64 = 3_000;
    const HEALTHY: usize = 20;
    let (topic, text) = (node.topic(), "x".repeat(8_000));
    let mut healthy = Load::start("fan", node.address, TOKEN, &topic, (HEALTHY, Duration::ZERO));
    let mut slow = Load::start("slow", node.address, TOKEN, &topic, (1, Duration::ZERO));
    healthy.hear("ready").await;
    slow.hear("ready").await;
    let before = resident_bytes();
    healthy.fan_out(HEALTHY, EVENTS, async || node.publish(&text).await).await;
    session.add("slow/growth", ((resident_bytes() - before) / 1_048_576.0).max(0.0));
    let received = healthy.said("count").unwrap_or_default() as f64;
    session.add("slow/share", received / (EVENTS * HEALTHY as u64) as f64);
    slow.release();
    session.add("slow/code", slow.hear("closed").await as f64);
    slow.stop().await;
    healthy.stop().await;
}
