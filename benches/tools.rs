//! Tools: what the record of every call costs an agent. One query is asked over REST, where reading
//! is not recorded, and as a tool, where it is, in turns over a kept connection.

use std::time::{Duration, Instant};

use benches::{Platform, data_dir, ms, percentile, print};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

const TURNS: u32 = 2_000;
/// The first turns warm caches and prepared statements and are not counted.
const WARM_UP: u32 = 200;
/// Below what a credential may ask for, with three requests a turn.
const TURNS_PER_SECOND: u32 = 100;
const TOKEN: &str = "demo-recruiter";

#[tokio::main]
async fn main() {
    let data = data_dir("tools");
    let platform = Platform::start(&data).await;
    let order = json!({"title": "Forklift driver", "headcount": 1});
    let path = "/api/v1/recruit/job_orders";
    let (status, order) = platform.send(Method::POST, path, TOKEN, &order).await;
    assert_eq!(status, Some(StatusCode::CREATED), "{order}");
    let id = order["job_order_id"].as_str().expect("an order has an id");
    let path = format!("{path}/{id}");
    let call = json!({"name": "recruit_get_job_order", "arguments": {"job_order_id": id}});
    let (call, list) = (message("tools/call", &call), message("ping", &json!({})));

    let (mut asked, mut called, mut pinged) = (Vec::new(), Vec::new(), Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / TURNS_PER_SECOND);
    for turn in 0..TURNS {
        ticks.tick().await;
        let one = time(platform.send(Method::GET, &path, TOKEN, &Value::Null)).await;
        let two = time(platform.send(Method::POST, "/mcp/recruit", TOKEN, &call)).await;
        let three = time(platform.send(Method::POST, "/mcp/recruit", TOKEN, &list)).await;
        if turn >= WARM_UP {
            asked.push(one);
            called.push(two);
            pinged.push(three);
        }
    }
    platform.stop().await;
    for times in [&mut asked, &mut called, &mut pinged] {
        times.sort();
    }
    let at = |times: &[Duration], percent| ms(percentile(times, percent));
    for percent in [50, 99] {
        let what = format!("a tool that reads, recorded, against REST, p{percent}");
        print(&what, at(&called, percent), at(&asked, percent), "ms");
    }
    let (called, asked, pinged) = (at(&called, 50), at(&asked, 50), at(&pinged, 50));
    print("a message that asks for nothing, against REST, p50", pinged, asked, "ms");
    // Both ask the same query; what is left is the record and the wrapping of the protocol.
    print("the record, of all that a recorded call takes", (called - asked) / called, 1.0, "");
}

/// A message to a server of agents.
fn message(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// How long a request takes, which must be a good one.
async fn time(request: impl Future<Output = (Option<StatusCode>, Value)>) -> Duration {
    let begun = Instant::now();
    let (status, answer) = request.await;
    let took = begun.elapsed();
    assert_eq!(status, Some(StatusCode::OK), "{answer}");
    assert!(answer.get("error").is_none(), "{answer}");
    took
}
