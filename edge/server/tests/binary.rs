//! The real binary on the embedded default, as an operator runs it: started, killed, stopped.

#[path = "binary/cell.rs"]
mod cell;
#[path = "binary/mobile.rs"]
mod mobile;
#[path = "binary/nodes.rs"]
mod nodes;
#[path = "binary/outage.rs"]
mod outage;
#[path = "binary/public_url.rs"]
mod public_url;
#[path = "binary/sign_in.rs"]
mod sign_in;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a waiting test looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A directory for the data, gone with the test.
struct Data(PathBuf);

impl Data {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("finnest-test-{}", uuid::Uuid::now_v7())))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // What cannot be removed lies in a temporary directory and harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A started `finnest serve`.
struct Served {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

fn finnest(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finnest"));
    command.args(arguments).env_remove("DATABASE_URL").env_remove("FINNEST_TOKEN");
    command
}

fn free_address() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("a bound socket has an address")
}

/// What a command that must end says and how it ends.
fn outcome(command: &mut Command) -> (ExitStatus, String) {
    let output = command.output().expect("the binary can be run");
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8(said).expect("it speaks UTF-8"))
}

impl Served {
    fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    fn start_with(data: &Path, further: &[&str]) -> Self {
        let address = free_address();
        let mut process = finnest(&["serve", "--demo", "--listen", &address.to_string()])
            .arg("--data-dir")
            .arg(data)
            .args(further)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let said = process.stderr.take().expect("its words are piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                // A test that has heard enough does not listen any more.
                let _ = sender.send(line);
            }
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        let served = Self { process, lines, client, address };
        served.hears("Finnest is ready");
        served
    }

    /// Waits until the platform says something.
    fn hears(&self, words: &str) {
        let mut said = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("`{words}` was not said, but {said:#?}"));
            if line.contains(words) {
                return;
            }
            said.push(line);
        }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> (Option<StatusCode>, Value) {
        let token = if path.contains("/operator/") { "demo-operator" } else { "demo-recruiter" };
        self.send_as(token, method, path, body).await
    }

    /// Sends as whoever has `token`; as nobody if it is empty.
    async fn send_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> (Option<StatusCode>, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("the request is well formed");
        let Ok(response) = self.client.request(request).await else { return (None, Value::Null) };
        let status = response.status();
        let bytes = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let value = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        (Some(status), value.unwrap_or_default())
    }

    /// Opens a job order; its id if that was answered with a yes.
    async fn open_job_order(&self) -> Option<String> {
        let input = json!({"title": "Forklift driver", "headcount": 1});
        let (status, order) = self.send(Method::POST, "/api/v1/recruit/job_orders", &input).await;
        let is_created = status == Some(StatusCode::CREATED);
        is_created.then(|| order["job_order_id"].as_str().expect("an order has an id").to_owned())
    }

    async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, &Value::Null).await.1
    }

    /// Waits until so many rows are listed.
    async fn lists(&self, path: &str, count: usize) -> Vec<Value> {
        let mut seen = 0;
        let listed = tokio::time::timeout(PATIENCE, async {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            loop {
                let items = self.get(path).await["items"].as_array().cloned().unwrap_or_default();
                seen = items.len();
                if seen >= count {
                    return items;
                }
                ticks.tick().await;
            }
        });
        listed.await.unwrap_or_else(|_| panic!("{path} lists {seen}, not {count}"))
    }

    fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &process]).status();
        assert!(sent.expect("kill can be run").success());
    }

    fn ended(mut self) -> ExitStatus {
        self.process.wait().expect("the process ends")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that failed leaves no platform behind; one that did not has ended it already.
        let _ = self.process.kill();
    }
}

/// The process id of the database server.
fn postmaster(data: &Path) -> String {
    let file = std::fs::read_to_string(data.join("pg/postmaster.pid")).expect("the server runs");
    file.lines().next().expect("its first line is its process id").trim().to_owned()
}

/// The commands that take the log into files and out of them, beside a running platform.
fn assert_log_goes_into_files(data: &Path) {
    let directory = data.to_str().expect("the path is UTF-8");
    let file = data.join("events.jsonl");
    let out = file.to_str().expect("the path is UTF-8");
    let export = ["events", "export", "--local", "--data-dir", directory, "--out", out];
    let (exported, said) = outcome(&mut finnest(&export));
    assert_eq!(exported.code(), Some(0), "{said}");
    let lines = std::fs::read_to_string(&file).expect("the export is a file");
    assert!(lines.trim_end().lines().last().is_some_and(|last| last.contains(r#""end":true"#)));
    let (refused, said) = outcome(&mut finnest(&export));
    assert_eq!(refused.code(), Some(1), "{said}");
    assert!(said.contains("exists already; --force replaces it"), "{said}");
    let local = ["--local", "--data-dir", directory];
    let say = |arguments: &[&str]| outcome(&mut finnest(&[arguments, &local].concat()));
    let (imported, said) = say(&["events", "import", out]);
    assert_eq!(imported.code(), Some(0), "{said}");
    assert!(said.contains("everything in the file was here already"), "{said}");
    let (kept, said) = say(&["events", "archive", "--month", "2019-03", "--dir", directory]);
    assert_eq!(kept.code(), Some(1), "{said}");
    assert!(said.contains("there is no partition of 2019-03"), "{said}");
    let (unknown, said) = say(&["events", "attach", "2019-03"]);
    assert_eq!(unknown.code(), Some(1), "{said}");
    assert!(said.contains("2019-03 has not left"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_killed_database_a_stop_and_a_start() {
    let data = Data::new();
    let served = Served::start(&data.0);
    let mut answered = Vec::new();
    for _ in 0..5 {
        answered.push(served.open_job_order().await.expect("the order is opened"));
    }

    let killed = Command::new("kill").args(["-9", &postmaster(&data.0)]).status();
    assert!(killed.expect("kill can be run").success());
    let healed = tokio::time::timeout(PATIENCE, async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            if let Some(job_order_id) = served.open_job_order().await {
                return job_order_id;
            }
            ticks.tick().await;
        }
    });
    answered.push(healed.await.expect("the server is started again"));
    let bills = served.lists("/api/v1/payroll/billing_records?limit=100", answered.len()).await;
    let supervision = served.get("/api/v1/operator/supervision_events?limit=1000").await;
    served.signal("-TERM");
    assert_eq!(served.ended().code(), Some(0), "SIGTERM ends it in order");

    assert_eq!(bills.len(), answered.len(), "each order has one bill");
    let restarts = supervision["items"].as_array().expect("they are listed").iter();
    let mut restarted = restarts.filter(|event| event["kind"] == "restarted");
    assert!(
        restarted.all(|event| event["path"] == "root/postgres/server"),
        "nobody but the server was restarted: {supervision}"
    );
    let served = Served::start(&data.0);
    let orders = served.lists("/api/v1/recruit/job_orders?limit=100", answered.len()).await;
    let kept: Vec<&str> =
        orders.iter().filter_map(|order| order["job_order_id"].as_str()).collect();
    assert!(answered.iter().all(|order| kept.contains(&order.as_str())), "{answered:?} {kept:?}");
    let directory = data.0.to_str().expect("the path is UTF-8");
    let (verified, said) = outcome(&mut finnest(&["verify", "--local", "--data-dir", directory]));
    assert_eq!(verified.code(), Some(0), "{said}");
    assert_log_goes_into_files(&data.0);
    served.signal("-INT");
    assert_eq!(served.ended().code(), Some(0), "Ctrl-C ends it in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_page_is_applied_by_a_command_or_a_signal_and_a_wrong_one_is_told() {
    let data = Data::new();
    std::fs::create_dir_all(&data.0).expect("a directory can be made");
    let file = data.0.join("page.toml");
    let page = include_str!("../../../supervision.toml");
    let write = |text: String| std::fs::write(&file, text).expect("a file can be written");
    write(page.to_owned());
    let config = file.to_str().expect("the path is UTF-8");
    let served = Served::start_with(&data.0.join("data"), &["--config", config]);
    let url = format!("http://{}", served.address);
    let arguments = ["reload", "--url", &url, "--token", "demo-operator", "--output", "table"];
    let reload = || outcome(&mut finnest(&arguments));
    let edited = |restarts: &str| page.replacen("max_restarts = 3", restarts, 1);

    let (same, nothing) = reload();
    write(edited("max_restarts = 4"));
    let (applied, changes) = reload();
    write(edited("max_restart = 4"));
    let (wrong, mistakes) = reload();
    write(edited("max_restarts = 5"));
    served.signal("-HUP");
    // Said of a reload by signal only, whose sender sees nothing else.
    served.hears("a key is different");
    let tree = served.get("/api/v1/operator/tree").await;

    assert_eq!((same.code(), applied.code(), wrong.code()), (Some(0), Some(0), Some(2)));
    assert!(nothing.contains("nothing changed"), "{nothing}");
    assert!(changes.contains("[domain.recruit] max_restarts: 3 -> 4 (applied)"), "{changes}");
    assert!(mistakes.contains("page.toml:") && mistakes.contains("`max_restarts`"), "{mistakes}");
    let domains = tree["children"].as_array().expect("it has children");
    let domains = domains.iter().find(|child| child["id"] == "domains").expect("they are there");
    let recruit = domains["children"].as_array().and_then(|domains| domains.first());
    assert_eq!(recruit.map(|recruit| &recruit["max_restarts"]), Some(&json!(5)), "{tree}");
    served.signal("-TERM");
    assert_eq!(served.ended().code(), Some(0));
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let data = Data::new();
    let served = Served::start(&data.0);

    served.signal("-INT");
    served.hears("stopping");
    served.signal("-INT");

    let code = served.ended().code();
    assert_eq!(code, Some(130));
}

#[test]
fn a_taken_port_or_directory_is_told_in_one_sentence() {
    let data = Data::new();
    let served = Served::start(&data.0);
    let directory = data.0.to_str().expect("the path is UTF-8");
    let taken = served.address.to_string();

    let (port_status, port) =
        outcome(&mut finnest(&["serve", "--listen", &taken, "--data-dir", "/tmp/never-used"]));
    let other = free_address().to_string();
    let (directory_status, in_use) =
        outcome(&mut finnest(&["serve", "--listen", &other, "--data-dir", directory]));

    assert_eq!((port_status.code(), directory_status.code()), (Some(1), Some(1)));
    assert!(port.contains(&format!("port {} is taken", served.address.port())), "{port}");
    assert!(in_use.contains("another finnest already uses"), "{in_use}");
    served.signal("-TERM");
    assert_eq!(served.ended().code(), Some(0), "the first one did not notice");
}

#[test]
fn a_mistake_in_supervision_toml_is_told_with_its_line_and_the_nearest_name() {
    let data = Data::new();
    std::fs::create_dir_all(&data.0).expect("a directory can be made");
    let file = data.0.join("supervision.toml");
    let page = include_str!("../../../supervision.toml");
    let mistaken = format!("{page}\n[domain.recriut]\nqueue_limit = \"many\"\n");
    std::fs::write(&file, mistaken).expect("a file can be written");
    let listen = free_address().to_string();

    let config = file.to_str().expect("the path is UTF-8");
    let (status, said) = outcome(&mut finnest(&["serve", "--listen", &listen, "--config", config]));

    assert_eq!(status.code(), Some(1));
    let line = page.lines().count() + 2;
    assert!(said.contains(&format!("supervision.toml:{line}")), "{said}");
    assert!(said.contains("recriut") && said.contains("recruit"), "{said}");
}

#[test]
fn the_demo_is_not_shown_to_the_network() {
    let (status, said) = outcome(&mut finnest(&["serve", "--demo", "--listen", "0.0.0.0:0"]));

    assert_eq!(status.code(), Some(1));
    assert!(said.contains("loopback"), "{said}");
}

#[test]
fn an_origin_that_is_none_is_told_with_the_name_of_its_setting() {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "/tmp/never-used"];
    let mut by_argument = finnest(&[&serve[..], &["--web-origin", "app.example"]].concat());
    let mut by_environment = finnest(&serve);
    by_environment.env("FINNEST_WEB_ORIGINS", "https://app.example,https://*.example");

    for (command, origin) in
        [(&mut by_argument, "`app.example`"), (&mut by_environment, "`https://*.example`")]
    {
        let (status, said) = outcome(command);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("--web-origin (FINNEST_WEB_ORIGINS)"), "{said}");
        assert!(said.contains(origin), "{said}");
    }
}
