//! The clients: this program once more, so that what is measured of the server is the server's.
//!
//! A client prints what it sees as lines of a word and a number, and ends with its input.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::percentile;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::wire::{Frame, Wire, find};

/// Connections that are opened at once.
const OPENING: usize = 64;
/// How often it is said how much was received.
const TELL_EVERY: Duration = Duration::from_millis(10);

/// What the command line asks for.
pub(crate) struct Task {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    /// The topic to join, or the path to ask for.
    pub(crate) place: String,
    /// How many connections, or how many requests a second.
    pub(crate) count: usize,
    pub(crate) span: Duration,
}

impl Task {
    pub(crate) fn parse(arguments: &[String]) -> Self {
        let [address, token, place, count, span_ms] = arguments else {
            panic!("address, token, place, count and milliseconds are wanted");
        };
        let span_ms = span_ms.parse().expect("milliseconds are a number");
        Self {
            address: address.parse().expect("an address"),
            token: token.clone(),
            place: place.clone(),
            count: count.parse().expect("a count is a number"),
            span: Duration::from_millis(span_ms),
        }
    }
}

pub(crate) async fn run(mode: &str, task: Task) {
    match mode {
        "hold" => hold(&task).await,
        "fan" => fan(&task).await,
        "slow" => slow(&task).await,
        "trips" => trips(task).await,
        "get" => get(task).await,
        "pace" => pace(task).await,
        _ => panic!("there is no client `{mode}`"),
    }
}

#[expect(clippy::print_stdout, reason = "this is how the clients speak to the benchmark")]
fn tell(word: &str, number: u64) {
    println!("{word} {number}");
}

/// Waits until the benchmark closes the input.
async fn told_to_end() {
    let read = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    // Whichever way the input ends, it has ended.
    let _ = tokio::task::spawn_blocking(read).await;
}

/// Opens so many connections, each joined; tells how many were joined a second.
async fn joined(task: &Task, topic: impl Fn() -> String) -> Vec<Wire> {
    let begun = Instant::now();
    let opened = futures_util::stream::iter(0..task.count).map(|_| async {
        let mut wire = Wire::connect(task.address, &task.token).await.expect("it may connect");
        wire.join(&topic()).await.expect("it may join");
        wire
    });
    let wires: Vec<Wire> = opened.buffer_unordered(OPENING).collect().await;
    let joins = task.count as f64 / begun.elapsed().as_secs_f64();
    tell("joins", joins.round() as u64);
    wires
}

/// Idle connections, each on a topic of its own.
async fn hold(task: &Task) {
    let wires = joined(task, || format!("{}:{}", task.place, Uuid::now_v7())).await;
    tell("ready", 0);
    told_to_end().await;
    drop(wires);
}

/// Connections that count what they are told.
async fn fan(task: &Task) {
    let wires = joined(task, || task.place.clone()).await;
    let count = Arc::new(AtomicU64::new(0));
    let mut listening = JoinSet::new();
    for mut wire in wires {
        let count = Arc::clone(&count);
        listening.spawn(async move {
            while let Ok(frame) = wire.next().await {
                match frame {
                    Frame::Text => _ = count.fetch_add(1, Ordering::Relaxed),
                    Frame::Close(code) => tell("cut", u64::from(code)),
                    Frame::Other => {}
                }
            }
        });
    }
    tell("ready", 0);
    let mut ticks = tokio::time::interval(TELL_EVERY);
    let mut told = 0;
    let ended = told_to_end();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            _ = ticks.tick() => {
                let now = count.load(Ordering::Relaxed);
                if now != told {
                    tell("count", now);
                    told = now;
                }
            }
        }
    }
}

/// A connection that reads nothing for a while, and then tells how it was closed.
async fn slow(task: &Task) {
    let mut wires = joined(task, || task.place.clone()).await;
    tell("ready", 0);
    told_to_end().await;
    for wire in &mut wires {
        let code = loop {
            match wire.next().await {
                Ok(Frame::Close(code)) => break code,
                Ok(_) => {}
                Err(_) => break 1_006,
            }
        };
        tell("closed", u64::from(code));
    }
}

/// Asks and waits for the answer, again and again, on every connection.
async fn trips(task: Task) {
    let wires = joined(&task, || task.place.clone()).await;
    let until = Instant::now() + task.span;
    let mut asking = JoinSet::new();
    for mut wire in wires {
        let (topic, echoes) = (task.place.clone(), task.token.is_empty());
        asking.spawn(async move {
            let word = if echoes { "echo" } else { "repeat_word" };
            let ask = json!(["1", "2", topic, word, { "word": "hello" }]).to_string();
            let mut count = 0;
            while Instant::now() < until {
                wire.send(&ask).await.expect("the server reads");
                while wire.next().await.expect("the server answers") != Frame::Text {}
                count += 1;
            }
            count
        });
    }
    tell("total", asking.join_all().await.into_iter().sum());
}

/// A connection that asks and reads answers.
struct Http(TcpStream, Vec<u8>);

impl Http {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it may connect");
        stream.set_nodelay(true).expect("a socket has this switch");
        Self(stream, Vec::new())
    }

    /// Sends a request, and reads an answer that says its length; whether it is good.
    async fn ask(&mut self, request: &[u8]) -> bool {
        let Self(stream, buffer) = self;
        stream.write_all(request).await.expect("the server reads");
        loop {
            if let Some(end) = end_of_answer(buffer) {
                let is_good = buffer.starts_with(b"HTTP/1.1 2");
                buffer.drain(..end);
                return is_good;
            }
            let read = stream.read_buf(buffer).await.expect("the server answers");
            assert!(read > 0, "the server closes");
        }
    }
}

fn end_of_answer(bytes: &[u8]) -> Option<usize> {
    const LENGTH: &str = "content-length: ";
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&bytes[..end]).ok()?;
    let lines = head.lines().find_map(|line| line.strip_prefix(LENGTH));
    let length: usize = lines.expect("the answer says its length").parse().ok()?;
    (bytes.len() >= end + length).then_some(end + length)
}

/// The same small request, again and again, on every connection.
async fn get(task: Task) {
    let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", task.place, task.address);
    let request: Arc<[u8]> = request.into_bytes().into();
    let until = Instant::now() + task.span;
    let mut asking = JoinSet::new();
    for _ in 0..task.count {
        let (request, address) = (request.clone(), task.address);
        asking.spawn(async move {
            let mut http = Http::connect(address).await;
            let mut count = 0;
            while Instant::now() < until {
                assert!(http.ask(&request).await, "the server refuses");
                count += 1;
            }
            count
        });
    }
    tell("total", asking.join_all().await.into_iter().sum());
}

/// A command at a steady rate, whether the last one is answered or not; its times from when it
/// should have been asked.
async fn pace(task: Task) {
    let body = json!({ "text": "steady" }).to_string();
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        task.place,
        task.address,
        task.token,
        body.len()
    );
    let request: Arc<[u8]> = request.into_bytes().into();
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(Http::connect(task.address).await);
    }
    let idle = Arc::new(tokio::sync::Mutex::new(idle));
    let mut asking = JoinSet::new();
    let between = Duration::from_secs(1) / u32::try_from(task.count).expect("a small rate");
    let mut ticks = tokio::time::interval(between);
    let begun = Instant::now();
    while begun.elapsed() < task.span {
        let due = ticks.tick().await.into_std();
        let (request, idle, address) = (request.clone(), idle.clone(), task.address);
        asking.spawn(async move {
            let found = idle.lock().await.pop();
            let mut http = match found {
                Some(http) => http,
                None => Http::connect(address).await,
            };
            let is_good = http.ask(&request).await;
            let took = due.elapsed();
            idle.lock().await.push(http);
            (is_good, took)
        });
    }
    let answers = asking.join_all().await;
    let refused = answers.iter().filter(|(is_good, _)| !is_good).count();
    let mut times: Vec<Duration> = answers.into_iter().map(|(_, took)| took).collect();
    times.sort();
    for (word, percent) in [("p50", 50), ("p99", 99)] {
        tell(word, u64::try_from(percentile(&times, percent).as_micros()).unwrap_or(u64::MAX));
    }
    tell("refused", refused as u64);
}
