//! Two nodes on one database, as an operator runs them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use nats::JetStream;
use platform::bus::{Backend, BusEvent, Start, SubscriptionSpec, TopicFilter};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use testkit::TestDatabase;
use tokio_tungstenite::tungstenite::Message;

use super::{Data, LOOK_EVERY, PATIENCE, Served};

const DEMO: &str = "0199a000-0000-7000-8000-000000000001";

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens within a minute")
}

/// Waits until a client of this node that has joined recruit's topic is pushed what was opened.
async fn pushed(node: &Served, then: impl Future<Output = Option<String>>) -> (String, Value) {
    let url = format!("ws://{}/socket/websocket?vsn=2.0.0&token=demo-recruiter", node.address);
    let (mut socket, _) =
        within(tokio_tungstenite::connect_async(url)).await.expect("it is let in");
    let join = json!(["1", "1", format!("org:{DEMO}:recruit"), "phx_join", {}]);
    socket.send(Message::text(join.to_string())).await.expect("the node listens");
    let mut opened = None;
    let mut then = Some(then);
    within(async {
        loop {
            let message = socket.next().await.expect("the node stays").expect("and speaks");
            let Ok(text) = message.to_text() else { continue };
            let Ok(frame) = serde_json::from_str::<Value>(text) else { continue };
            if frame[3] == "phx_reply"
                && let Some(then) = then.take()
            {
                opened = then.await;
            }
            // Just before its join something else may have happened, at the other node.
            let id = frame[4]["data"]["job_order_id"].as_str();
            if frame[3] == "job_order_opened" && id.is_some() && id == opened.as_deref() {
                return (opened.expect("the order was opened"), frame[4].clone());
            }
        }
    })
    .await
}

/// A NATS server, gone with the test.
struct NatsServer {
    process: Child,
    url: String,
    _data: Data,
}

impl NatsServer {
    fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = socket.local_addr().expect("it is bound").port().to_string();
        drop(socket);
        let data = Data::new();
        let installed = ["/usr/sbin/nats-server", "/usr/bin/nats-server"];
        let found = installed.into_iter().find(|path| std::path::Path::new(path).exists());
        let process = Command::new(found.unwrap_or("nats-server"))
            .args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"])
            .arg(&data.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed, as scripts/install.sh test does");
        Self { process, url: format!("nats://127.0.0.1:{port}"), _data: data }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // A test that ends needs it no more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The job orders that are on the stream, as soon as there are so many.
async fn orders_in_nats(server: &NatsServer, count: usize) -> Vec<Arc<BusEvent>> {
    let nats = JetStream::connect(&server.url).await.expect("the address is one");
    let filter = TopicFilter::Domain("recruit".into());
    let spec = SubscriptionSpec { name: "reader".into(), filter, start: Start::Origin };
    within(async {
        let mut subscriber = loop {
            match nats.subscribe(&spec).await {
                Ok(subscriber) => break subscriber,
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        let mut orders = Vec::new();
        while orders.len() < count {
            let batch = subscriber.next_batch(100).await.expect("the server runs");
            orders.extend(batch.into_iter().filter(|event| event.event_type == "job_order_opened"));
        }
        orders
    })
    .await
}

#[tokio::test]
async fn what_is_opened_at_one_node_is_pushed_at_the_other_and_is_in_nats() {
    let database = TestDatabase::create("nothing in it", async |_| Ok(())).await.expect("a server");
    let url = database.options().to_url_lossy().to_string();
    let (server, data) = (NatsServer::start(), Data::new());
    let settings = ["--database-url", &url, "--bus", "nats", "--nats-url", &server.url];
    let one = Served::start_with(&data.0, &settings);
    let other = Served::start_with(&data.0, &settings);

    let (first, first_pushed) = pushed(&other, one.open_job_order()).await;
    let (second, second_pushed) = pushed(&one, other.open_job_order()).await;

    assert_eq!(first_pushed["data"]["job_order_id"], first);
    assert_eq!(second_pushed["data"]["job_order_id"], second);
    let orders = orders_in_nats(&server, 2).await;
    let ids = orders.iter().map(|order| order.topic.aggregate_id.map(|id| id.to_string()));
    assert!(ids.eq([Some(first), Some(second)]));
    for node in [one, other] {
        node.signal("-TERM");
        assert!(node.ended().success());
    }
    database.close().await;
}
