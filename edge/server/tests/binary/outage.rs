//! A database that stands still: whoever lives is not killed for it, and whoever cannot answer says
//! so.

use std::process::Command;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::cell::until;
use super::{Data, Served, postmaster};

/// The processes of a database server, held still until this is dropped.
struct Held(Vec<String>);

impl Held {
    fn all_of(postmaster: &str) -> Self {
        // First the one that makes the others, so that none is missed.
        signal("-STOP", postmaster);
        let mut held = Self(vec![postmaster.to_owned()]);
        for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if parent(&id).is_some_and(|parent| parent == postmaster) {
                signal("-STOP", &id);
                held.0.push(id);
            }
        }
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.iter().for_each(|id| signal("-CONT", id));
    }
}

/// The id of the process that made this one, if it is one.
fn parent(id: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let after_name = stat.rsplit(')').next()?;
    after_name.split_whitespace().nth(1).map(str::to_owned)
}

/// One that has ended meanwhile needs none.
fn signal(name: &str, id: &str) {
    let _ = Command::new("kill").args([name, id]).status();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_stands_still_health_says_yes_and_ready_says_no() {
    let data = Data::new();
    let served = Served::start(&data.0);
    let get = async |path| served.send_as("", Method::GET, path, &Value::Null).await;
    served.open_job_order().await.expect("the order is opened");

    // Whoever asks this database anything now gets no answer at all.
    let held = Held::all_of(&postmaster(&data.0));
    let health = get("/health").await;
    let ready = get("/ready").await;
    drop(held);
    until("it is ready again", async || {
        (get("/ready").await.0 == Some(StatusCode::OK)).then_some(())
    })
    .await;
    let order = served.open_job_order().await;

    assert_eq!((health.0, &health.1["status"]), (Some(StatusCode::OK), &json!("ok")));
    let (status, problem) = ready;
    assert_eq!(status, Some(StatusCode::SERVICE_UNAVAILABLE), "{problem}");
    assert_eq!((&problem["code"], &problem["status"]), (&json!("unavailable"), &json!(503)));
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("database"), "{problem}");
    assert!(order.is_some(), "what needs the database is answered again too");
    served.signal("-TERM");
    assert_eq!(served.ended().code(), Some(0));
}
