//! Push: from sending a command over HTTP to receiving its sealed event over a WebSocket, at a
//! steady hundred commands a second while all consequences in the other domains happen too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use benches::{ORG_ID, Platform, data_dir, ms, percentile, print};
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

const RATE_PER_SECOND: u32 = 100;
const COMMANDS: u32 = 2_000;
/// The first commands warm caches and prepared statements and are not counted.
const WARM_UP: u32 = 200;
const P50_LIMIT_MS: f64 = 10.0;
const P99_LIMIT_MS: f64 = 40.0;

#[tokio::main]
#[allow(clippy::disallowed_methods, reason = "the load is no part of a tree")]
async fn main() {
    let data = data_dir("push");
    let platform = std::sync::Arc::new(Platform::start(&data).await);
    let mut channel = platform.join(&format!("org:{ORG_ID}:recruit"), "demo-recruiter").await;

    let received = tokio::spawn(async move {
        let mut at = HashMap::new();
        while at.len() < COMMANDS as usize {
            let frame = channel.next().await;
            if frame[3] == "job_order_opened" {
                let title = frame[4]["data"]["title"].as_str().unwrap_or_default().to_owned();
                at.insert(title, Instant::now());
            }
        }
        at
    });
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE_PER_SECOND);
    let mut calls = JoinSet::new();
    for number in 0..COMMANDS {
        ticks.tick().await;
        let platform = std::sync::Arc::clone(&platform);
        calls.spawn(async move {
            let title = format!("Order {number}");
            let sent = Instant::now();
            let input = json!({"title": title, "headcount": 1});
            let path = "/api/v1/recruit/job_orders";
            let (status, answer) =
                platform.send(Method::POST, path, "demo-recruiter", &input).await;
            assert_eq!(status, Some(StatusCode::CREATED), "{answer}");
            (number, title, sent, sent.elapsed())
        });
    }
    let calls = calls.join_all().await;
    let received = received.await.expect("all pushes arrive");

    let counted: Vec<_> = calls.into_iter().filter(|(number, ..)| *number >= WARM_UP).collect();
    let mut pushes: Vec<Duration> =
        counted.iter().map(|(_, title, sent, _)| received[title] - *sent).collect();
    let mut answers: Vec<Duration> = counted.iter().map(|(.., answer)| *answer).collect();
    pushes.sort();
    answers.sort();
    print("command to push, p50 at 100/s", ms(percentile(&pushes, 50)), P50_LIMIT_MS, "ms");
    print("command to push, p99 at 100/s", ms(percentile(&pushes, 99)), P99_LIMIT_MS, "ms");
    print("command to answer, p50 at 100/s", ms(percentile(&answers, 50)), P50_LIMIT_MS, "ms");
    print("command to answer, p99 at 100/s", ms(percentile(&answers, 99)), P99_LIMIT_MS, "ms");
    let platform = std::sync::Arc::into_inner(platform).expect("nobody else holds the platform");
    platform.stop().await;
    // What is left behind in a temporary directory harms nobody.
    let _ = std::fs::remove_dir_all(&data);
}
