//! Restart: from the kill of a process of the running platform to its successor being up, as the
//! platform's own supervision events tell it, and as an operator who clicks sees it.

use std::time::{Duration, Instant};

use benches::{Platform, data_dir, ms, percentile, print};
use hyper::{Method, StatusCode};
use serde_json::json;

const KILLS: usize = 30;
const P50_LIMIT_MS: f64 = 1.0;
const SEEN_LIMIT_MS: f64 = 1_000.0;
const PATH: &str = "root/domains/recruit/children/outreach";
/// Kills are spread out, so that they stay within the intensity of the supervisor.
const BETWEEN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let data = data_dir("restart");
    let platform = Platform::start(&data).await;
    let mut channel = platform.join("system:supervision", "demo-operator").await;

    let (mut recoveries, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        let input = json!({"path": PATH, "reason": "measuring restarts"});
        let clicked = Instant::now();
        let path = "/api/v1/operator/kill";
        let (status, answer) = platform.send(Method::POST, path, "demo-operator", &input).await;
        assert_eq!(status, Some(StatusCode::OK), "{answer}");
        loop {
            let frame = channel.next().await;
            let event = &frame[4];
            if event["path"] == PATH && event["kind"] == "restarted" {
                let recovery_us =
                    event["recovery_us"].as_u64().expect("a restart tells its recovery");
                recoveries.push(Duration::from_micros(recovery_us));
                seen.push(clicked.elapsed());
                break;
            }
        }
        tokio::time::sleep(BETWEEN).await;
    }
    recoveries.sort();
    seen.sort();
    print("kill to child serving again, p50", ms(percentile(&recoveries, 50)), P50_LIMIT_MS, "ms");
    print("kill to child serving again, p99", ms(percentile(&recoveries, 99)), P50_LIMIT_MS, "ms");
    print(
        "click to restart seen by an operator, p50",
        ms(percentile(&seen, 50)),
        SEEN_LIMIT_MS,
        "ms",
    );
    platform.stop().await;
    // What is left behind in a temporary directory harms nobody.
    let _ = std::fs::remove_dir_all(&data);
}
