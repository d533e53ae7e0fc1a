//! A domain in a process of its own: it answers as it would anywhere, dies alone, and leaves
//! nothing behind.

use std::path::{Path, PathBuf};
use std::process::Command;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Data, LOOK_EVERY, PATIENCE, Served};

/// The operator's page with some domains in processes of their own.
fn page(data: &Data, placed: &[(&str, &str)]) -> PathBuf {
    std::fs::create_dir_all(&data.0).expect("a directory can be made");
    let file = data.0.join("supervision.toml");
    let mut text = include_str!("../../../../supervision.toml").to_owned();
    for (domain, more) in placed {
        let table = format!("[domain.{domain}]\n");
        let (before, after) = text.split_once(&table).expect("the page has a table per domain");
        // A page may not say a key twice, and of these tables only payroll's says this one.
        let after = after.replacen(
            "max_restarts = 1 #",
            "#",
            usize::from(more.contains("max") && *domain == "payroll"),
        );
        text = format!("{before}{table}placement = \"process\"\n{more}{after}\n");
    }
    std::fs::write(&file, text).expect("a file can be written");
    file
}

fn start(data: &Data, placed: &[(&str, &str)]) -> Served {
    let page = page(data, placed);
    Served::start_with(&data.0, &["--config", page.to_str().expect("the path is UTF-8")])
}

/// The process of a domain, as the system knows it: a child of the platform.
fn cell_of(served: &Served, domain: &str) -> Option<u32> {
    let platform = served.process.id().to_string();
    let processes = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.into_iter().find(|id| {
        let read = |file: &str| std::fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
        let (stat, command) = (read("stat"), read("cmdline"));
        let stat = String::from_utf8_lossy(&stat).into_owned();
        // After the name in brackets: the state, and the parent.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = fields.split_whitespace();
        let is_alive = fields.next().is_some_and(|state| state != "Z");
        let is_ours = fields.next() == Some(platform.as_str());
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        let is_cell = words.windows(2).any(|two| two == [&b"cell"[..], domain.as_bytes()]);
        // Between its birth and its program it has the command line of whoever made it.
        is_alive && is_ours && is_cell && !words[0].ends_with(b"setpriv")
    })
}

/// Whether a process exists and is more than an entry that nobody has read yet.
fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn exists(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

fn kill(id: u32) {
    signal(id, "-9");
}

fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([name, &id.to_string()]).status();
    assert!(sent.expect("kill can be run").success());
}

/// Waits for an answer that satisfies.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            ticks.tick().await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// The node of the tree at a path.
fn find<'a>(node: &'a Value, path: &str) -> Option<&'a Value> {
    if node["path"] == path {
        return Some(node);
    }
    node["children"].as_array()?.iter().find_map(|child| find(child, path))
}

async fn node(served: &Served, path: &str) -> Option<Value> {
    find(&served.get("/api/v1/operator/tree").await, path).cloned()
}

/// A value without what differs between two platforms: ids and times.
fn alike(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let is_time = text.len() > 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
            let is_id = |word: &str| uuid::Uuid::parse_str(word).is_ok();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let ids: Vec<&str> = words.filter(|word| is_id(word)).collect();
            let bare = ids.iter().fold(text.clone(), |text, id| text.replace(id, "<id>"));
            Value::String(if is_time { "<time>".to_owned() } else { bare })
        }
        Value::Array(items) => items.into_iter().map(alike).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, alike(value))).collect()
        }
        other => other,
    }
}

/// Calls of every kind, with their answers: what is done, refused by the schema, by a rule, for
/// want of a right, and what is not there.
async fn conversation(served: &Served) -> Vec<(Option<StatusCode>, Value)> {
    let orders = "/api/v1/recruit/job_orders";
    let nobody = "0199a000-0000-7000-8000-00000000dead";
    let opened =
        served.send(Method::POST, orders, &json!({"title": "Welder", "headcount": 2})).await;
    let id = opened.1["job_order_id"].as_str().expect("it was opened").to_owned();
    let reason = json!({"reason": "the site is closed"});
    let mut answers = vec![opened];
    for (method, path, body) in [
        (Method::GET, format!("{orders}/{id}"), Value::Null),
        (Method::GET, format!("{orders}/{nobody}"), Value::Null),
        (Method::GET, format!("{orders}/no-id"), Value::Null),
        (Method::GET, format!("{orders}?limit=0"), Value::Null),
        (Method::POST, orders.to_owned(), json!({"title": "", "headcount": 2})),
        (Method::POST, orders.to_owned(), json!({"title": "Welder", "headcount": "two"})),
        (Method::POST, orders.to_owned(), json!({"title": "Welder", "headcount": 0})),
        (Method::POST, orders.to_owned(), json!({"heads": 2})),
        (Method::POST, format!("{orders}/{id}/cancel"), reason.clone()),
        (Method::POST, format!("{orders}/{id}/cancel"), reason.clone()),
        (Method::POST, format!("{orders}/{id}/fill"), json!({})),
        (Method::GET, "/api/v1/recruit/candidates?limit=100".to_owned(), Value::Null),
    ] {
        answers.push(served.send(method, &path, &body).await);
    }
    answers.into_iter().map(|(status, value)| (status, alike(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_in_a_process_gives_the_answers_it_gives_without() {
    let (here, there) = (Data::new(), Data::new());
    let (inline, placed) = (Served::start(&here.0), start(&there, &[("recruit", "")]));

    let expected = conversation(&inline).await;
    let answered = conversation(&placed).await;

    assert!(cell_of(&placed, "recruit").is_some(), "it really is elsewhere");
    for (there, here) in answered.iter().zip(&expected) {
        assert_eq!(there, here);
    }
    assert_eq!(answered.len(), expected.len());
    let statuses: Vec<u16> =
        answered.iter().filter_map(|(s, _)| Some(s.as_ref()?.as_u16())).collect();
    assert!(
        [201, 200, 404, 422, 409].iter().all(|status| statuses.contains(status)),
        "{statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cell_is_started_again_and_every_event_is_handled_once() {
    let data = Data::new();
    let served = start(&data, &[("payroll", "max_restarts = 100\n")]);
    let mut opened = 0;

    for _ in 0..3 {
        let cell = until("the cell runs", async || cell_of(&served, "payroll")).await;
        kill(cell);
        for _ in 0..20 {
            assert!(served.open_job_order().await.is_some(), "recruit does not notice");
            opened += 1;
        }
        until("it is another", async || cell_of(&served, "payroll").filter(|now| *now != cell))
            .await;
    }
    let path = "/api/v1/payroll/billing_records?limit=100";
    let bills = served.lists(path, opened).await;

    assert_eq!(bills.len(), opened, "each order has one bill");
    let process =
        until("the process is shown", async || node(&served, "root/domains/payroll/process").await)
            .await;
    assert_eq!(
        (&process["restarts"], &process["last_exit"]),
        (&json!(3), &json!("signal:SIGKILL"))
    );
    let cell = cell_of(&served, "payroll").expect("it runs");
    served.signal("-TERM");
    assert_eq!(served.ended().code(), Some(0), "SIGTERM ends it in order");
    assert!(!exists(cell), "and nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_outlives_no_platform() {
    let data = Data::new();
    let served = start(&data, &[("payroll", "")]);
    let cell = cell_of(&served, "payroll").expect("it runs");

    served.signal("-KILL");
    served.ended();

    until("the cell is gone", async || (!is_alive(cell)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_dies_too_often_is_quarantined_and_tried_again() {
    let data = Data::new();
    let served = start(&data, &[("payroll", "max_restarts = 1\n")]);
    let bills = "/api/v1/payroll/billing_records";

    for _ in 0..2 {
        kill(until("the cell runs", async || cell_of(&served, "payroll")).await);
        until("it is gone or another", async || {
            let status = served.send(Method::GET, bills, &Value::Null).await.0;
            (status == Some(StatusCode::SERVICE_UNAVAILABLE)).then_some(())
        })
        .await;
    }
    let refused = until("it is in quarantine", async || {
        let (status, problem) = served.send(Method::GET, bills, &Value::Null).await;
        let says = problem["detail"].as_str().unwrap_or_default().contains("quarantine");
        (status == Some(StatusCode::SERVICE_UNAVAILABLE) && says).then_some(problem)
    })
    .await;

    assert_eq!(refused["code"], "unavailable");
    assert!(served.open_job_order().await.is_some(), "its neighbours are up");
    let listed = served.lists(bills, 1).await;
    assert_eq!(listed.len(), 1, "it came back by itself and caught up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_in_a_cell_is_seen_and_killed_at_its_usual_path() {
    let data = Data::new();
    let served = start(&data, &[("payroll", "")]);
    let producer = "root/domains/payroll/queue/producer";
    until("it is shown", async || node(&served, producer).await).await;

    let kill = json!({"path": producer, "reason": "fire drill"});
    let (status, killed) = served.send(Method::POST, "/api/v1/operator/kill", &kill).await;

    assert_eq!((status, &killed["path"]), (Some(StatusCode::OK), &json!(producer)));
    until("it was restarted over there", async || {
        node(&served, producer).await.filter(|node| node["restarts"] == 1)
    })
    .await;
    let process = node(&served, "root/domains/payroll/process").await;
    assert_eq!(process.expect("it is shown")["restarts"], 0, "and nobody else noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_dead_cell_did_not_answer_says_that_its_outcome_is_unknown() {
    let data = Data::new();
    let served = start(&data, &[("recruit", "max_restarts = 100\n")]);
    let input = json!({"title": "Welder", "headcount": 1});

    let problem = until("a call is caught in the middle", async || {
        let cell = until("the cell runs", async || cell_of(&served, "recruit")).await;
        signal(cell, "-STOP");
        let calling = served.send(Method::POST, "/api/v1/recruit/job_orders", &input);
        let (answer, ()) = tokio::join!(calling, async {
            // Long enough for the call to reach the socket; if not, it is tried once more.
            tokio::time::sleep(LOOK_EVERY * 10).await;
            kill(cell);
        });
        let says = answer.1["detail"].as_str().unwrap_or_default();
        says.contains("ended before it answered").then_some(answer)
    })
    .await;

    assert_eq!(problem.0, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(problem.1["code"], "unavailable");
    let detail = problem.1["detail"].as_str().expect("it says what happened");
    assert!(detail.contains("not known") && detail.contains("Idempotency-Key"), "{detail}");
}

#[test]
fn a_cell_is_no_command_for_people() {
    let (status, said) =
        super::outcome(&mut super::finnest(&["cell", "payroll", "--log", "info", "--config", "x"]));

    assert_eq!(status.code(), Some(1));
    assert!(said.contains("run `finnest serve`"), "{said}");
}
