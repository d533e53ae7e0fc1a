//! Benchmarks against the running binary, each printing its figure, its limit and the ratio.
//!
//! They start `target/release/finnest` (or what `FINNEST_BIN` names) on an empty directory, talk to
//! it as a client does, and decide nothing: machines are noisy, people read the ratio. `events` and
//! `jobs` measure a part of it on a [`server`] of their own, in rounds, and make a [`report`].

#![expect(clippy::cast_precision_loss, reason = "counts and times of a run are far below 2^52")]

pub mod figures;
pub mod report;
pub mod server;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// The organisation of the demo.
pub const ORG_ID: &str = "0199a000-0000-7000-8000-000000000001";

/// A platform started for a benchmark.
pub struct Platform {
    child: Child,
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    /// From the start of the process to its first readiness.
    pub ready_after: Duration,
}

/// Where the binary is.
fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/finnest");
    std::env::var_os("FINNEST_BIN").map_or(built, PathBuf::from)
}

/// A directory for the data that the server's own user can enter.
#[must_use]
pub fn data_dir(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("finnest-bench-{name}-{}", std::process::id()))
}

impl Platform {
    /// Starts the demo on `data_dir` and waits until it is ready.
    ///
    /// # Panics
    /// When the binary is missing or does not get ready within a minute.
    pub async fn start(data_dir: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a port is free");
        let began = Instant::now();
        let child = Command::new(binary())
            .args(["serve", "--demo", "--log", "warn", "--listen", &address.to_string()])
            .arg("--data-dir")
            .arg(data_dir)
            .env_remove("DATABASE_URL")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary is built: cargo build --release -p server");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut platform = Self { child, client, address, ready_after: Duration::ZERO };
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        while platform.get("/ready").await.0 != Some(StatusCode::OK) {
            assert!(began.elapsed() < Duration::from_mins(1), "the platform does not get ready");
            ticks.tick().await;
        }
        platform.ready_after = began.elapsed();
        // The demo's users are made once the platform is ready, and then calls can be made as them.
        let path = "/api/v1/recruit/candidates";
        while platform.send(Method::GET, path, "demo-recruiter", &Value::Null).await.0
            != Some(StatusCode::OK)
        {
            ticks.tick().await;
        }
        platform
    }

    /// Sends a request with a token of the demo.
    ///
    /// # Panics
    /// When the path is none.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> (Option<StatusCode>, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("the request is well formed");
        let Ok(response) = self.client.request(request).await else { return (None, Value::Null) };
        let status = response.status();
        let bytes = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let value = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        (Some(status), value.unwrap_or_default())
    }

    /// Asks without a token.
    ///
    /// # Panics
    /// When the path is none.
    pub async fn get(&self, path: &str) -> (Option<StatusCode>, Value) {
        self.send(Method::GET, path, "", &Value::Null).await
    }

    /// Joins a topic over the Phoenix wire.
    ///
    /// # Panics
    /// When the topic cannot be joined.
    pub async fn join(&self, topic: &str, token: &str) -> Channel {
        let url = format!("ws://{}/socket/websocket?vsn=2.0.0&token={token}", self.address);
        let (mut socket, _) = connect_async(url).await.expect("the socket opens");
        let join = json!(["1", "1", topic, "phx_join", {}]).to_string();
        socket.send(Message::text(join)).await.expect("the socket takes a frame");
        let mut channel = Channel { socket };
        let reply = channel.next().await;
        assert_eq!(reply[4]["status"], "ok", "the topic is joined: {reply}");
        channel
    }

    /// Resident memory of the platform's own process, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let pid = self.child.id().expect("the process runs");
        let status =
            std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells it");
        let kibibytes = line.split_whitespace().nth(1).and_then(|count| count.parse::<u64>().ok());
        kibibytes.expect("a count of kibibytes") * 1_024
    }

    /// Asks the platform to stop, and waits for it.
    ///
    /// # Panics
    /// When it does not stop in order.
    pub async fn stop(mut self) {
        let pid = self.child.id().expect("the process runs").to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there");
        let status = self.child.wait().await.expect("the process ends");
        assert!(status.success(), "the platform stops in order: {status}");
    }
}

/// A joined topic.
pub struct Channel {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Channel {
    /// The next frame, as its five elements.
    ///
    /// # Panics
    /// When the socket closes.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = self.socket.next().await.expect("the socket stays open");
            if let Ok(Message::Text(text)) = message {
                return serde_json::from_str(&text).expect("a frame is JSON");
            }
        }
    }
}

/// The value below which `percent` of the sorted samples lie.
///
/// # Panics
/// When there are no samples.
#[must_use]
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[((sorted.len() * percent).div_ceil(100)).clamp(1, sorted.len()) - 1]
}

/// Prints one line: what, figure, limit, ratio.
#[allow(clippy::print_stdout, reason = "printing the figures is what a benchmark is for")]
pub fn print(what: &str, figure: f64, limit: f64, unit: &str) {
    println!(
        "{what:<52} {figure:>10.2} {unit:<3} limit {limit:>8.2} {unit:<3} ratio {:>5.2}",
        figure / limit
    );
}

/// A duration in milliseconds.
#[must_use]
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
