//! The program itself, as an operating-system process that a test kills, and clients that talk to
//! it over HTTP.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use platform::postgres::{Attached, Options};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout};
use uuid::Uuid;

use crate::amount::WRITERS;
use crate::cluster::{Data, folder};

/// How long a start may take, most of it recovery.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time between two requests of one client.
const PACE: Duration = Duration::from_millis(40);

/// The program on data of its own.
pub(crate) struct Program {
    child: Option<Child>,
    address: SocketAddr,
    data: Data,
}

/// What the clients were promised.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The job orders of each client, in the order in which it asked for them.
    pub(crate) job_orders: Vec<Vec<Uuid>>,
    /// Requests without an answer; each was sent again under the same key.
    pub(crate) unanswered: u64,
}

impl Program {
    /// Starts it for the first time.
    pub(crate) async fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a port is free");
        let data = Data(folder(&format!("program-{}", std::process::id())));
        let mut program = Self { child: None, address, data };
        program.start_again().await;
        program
    }

    /// Starts it on the data that are there, and waits until it is ready.
    pub(crate) async fn start_again(&mut self) {
        let mut command = Command::new(binary());
        command.args(["serve", "--demo", "--log", "error", "--listen", &self.address.to_string()]);
        command.arg("--data-dir").arg(&self.data.0).env_remove("DATABASE_URL");
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        self.child = Some(command.spawn().expect("it can be run"));
        let client = Http::new(self.address);
        let deadline = Instant::now() + READY_WITHIN;
        let mut ticks = interval(Duration::from_millis(20));
        while client.ask(Method::GET, "/ready", "", &Value::Null).await.0 != Some(StatusCode::OK) {
            ticks.tick().await;
            assert!(Instant::now() < deadline, "the program does not get ready");
        }
    }

    /// Kills it with -9 and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it was started");
        child.kill().await.expect("it runs");
    }

    /// Connects as the owner of its database.
    pub(crate) fn owner(&self) -> PgConnectOptions {
        let options = Options { data_dir: Some(self.data.0.clone()), ..Options::default() };
        let attached = Attached::find(&options).expect("its folder can be read");
        attached.expect("its server runs").owner_options()
    }

    /// Runs one of its own commands on its database; answers whether it went well, and its words.
    pub(crate) async fn command(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data-dir").arg(&self.data.0).env_remove("DATABASE_URL");
        let output = command.output().await.expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said + &String::from_utf8_lossy(&output.stderr))
    }

    /// Opens job orders from many clients until `is_done`, each under a key of its own, again and
    /// again until there is an answer. Counts the answers in `count` meanwhile.
    pub(crate) fn open_job_orders<'a>(
        &self,
        is_done: &'a AtomicBool,
        count: &'a AtomicU64,
    ) -> impl Future<Output = Answers> + use<'a> {
        let address = self.address;
        async move {
            let mut answers = Answers::default();
            let clients = (0..WRITERS).map(|_| Http::new(address).open(is_done, count));
            for (job_orders, unanswered) in join_all(clients).await {
                answers.job_orders.push(job_orders);
                answers.unanswered += unanswered;
            }
            answers
        }
    }
}

/// The program: what `FINNEST_BIN` names, or what was built beside this test.
fn binary() -> PathBuf {
    std::env::var_os("FINNEST_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows where it is");
            let built = test.ancestors().nth(2).expect("it is in `deps`").join("finnest");
            assert!(built.exists(), "build the program first: cargo build -p server");
            built
        },
        PathBuf::from,
    )
}

/// One client.
struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl Http {
    fn new(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    async fn open(self, is_done: &AtomicBool, count: &AtomicU64) -> (Vec<Uuid>, u64) {
        let (mut job_orders, mut unanswered) = (Vec::new(), 0);
        let mut ticks = interval(PACE);
        while !is_done.load(Ordering::Relaxed) {
            let key = Uuid::now_v7().to_string();
            let body = json!({ "title": format!("Order {key}"), "headcount": 1 });
            // What has begun is decided even after the end, so that it counts.
            loop {
                ticks.tick().await;
                let path = "/api/v1/recruit/job_orders";
                match self.ask(Method::POST, path, &key, &body).await {
                    (Some(status), answer) if status.is_success() => {
                        let id = answer["job_order_id"].as_str().and_then(|id| id.parse().ok());
                        job_orders.push(id.expect("an answer names the job order"));
                        count.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    (None, _) => unanswered += 1,
                    // It is told to come again: the platform is just getting up.
                    (Some(status), answer) => {
                        let is_excused = status.is_server_error()
                            || status == StatusCode::TOO_MANY_REQUESTS
                            || status == StatusCode::UNAUTHORIZED;
                        assert!(is_excused, "{status} {answer}");
                    }
                }
            }
        }
        (job_orders, unanswered)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: &Value,
    ) -> (Option<StatusCode>, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", "Bearer demo-recruiter")
            .header("content-type", "application/json");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let body = Full::new(Bytes::from(body.to_string()));
        let request = request.body(body).expect("the request is well formed");
        let answered = timeout(PATIENCE, async {
            let response = self.client.request(request).await.ok()?;
            let status = response.status();
            let bytes = response.into_body().collect().await.ok()?.to_bytes();
            Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
        });
        answered
            .await
            .ok()
            .flatten()
            .map_or((None, Value::Null), |(status, value)| (Some(status), value))
    }
}
