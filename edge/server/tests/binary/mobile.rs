//! A phone that loses the network, as docs/mobile.md tells its developer to build it.

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Method;
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use testkit::TestDatabase;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Data, PATIENCE, Served};

const TOPIC: &str = "org:0199a000-0000-7000-8000-000000000001:recruit";

/// An app: its tokens, and how far it has read.
struct Phone {
    token: String,
    refresh_token: String,
    last_seq: Value,
    epoch: Value,
    /// What it has been told of, in order.
    orders: Vec<String>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Phone {
    async fn sign_in(node: &Served) -> Self {
        let (email, password) = ("rosa@acme.example", "demo-recruiter");
        let who = json!({"organisation": "acme", "email": email, "password": password,
            "kind": "app", "client": "a test's phone"});
        let answer = node.asked("", "/api/v1/accounts/sign_in", &who).await;
        let mut phone = Self {
            token: String::new(),
            refresh_token: String::new(),
            last_seq: Value::Null,
            epoch: Value::Null,
            orders: Vec::new(),
        };
        phone.keep(&answer);
        phone
    }

    fn keep(&mut self, answer: &Value) {
        let text = |name: &str| answer[name].as_str().expect("the answer has it").to_owned();
        self.token = text("token");
        self.refresh_token = text("refresh_token");
    }

    /// Gets a new access token; the refresh token is good once.
    async fn refresh(&mut self, node: &Served) {
        let token = json!({"refresh_token": self.refresh_token});
        let answer = node.asked("", "/api/v1/accounts/refresh", &token).await;
        self.keep(&answer);
    }

    /// Connects with a ticket, and joins from where it has read.
    async fn join(&mut self, node: &Served) -> (Socket, Value) {
        let answer = node.asked(&self.token, "/api/v1/accounts/tickets", &json!({})).await;
        let ticket = answer["ticket"].as_str().expect("there is a ticket");
        let url = format!("ws://{}/socket/websocket?vsn=2.0.0&ticket={ticket}", node.address);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("it is let in");
        let params = json!({"last_seq": self.last_seq, "epoch": self.epoch});
        let join = json!(["1", "1", TOPIC, "phx_join", params]);
        socket.send(Message::text(join.to_string())).await.expect("the node listens");
        let reply = next(&mut socket).await;
        assert_eq!(reply[4]["status"], "ok", "{reply}");
        let answer = reply[4]["response"].clone();
        if self.last_seq.is_null() || answer["gap"] == true {
            self.last_seq = answer["seq"].clone();
        }
        self.epoch = answer["epoch"].clone();
        (socket, answer)
    }

    /// Reads until it has been told of so many orders.
    async fn reads(&mut self, socket: &mut Socket, count: usize) {
        while self.orders.len() < count {
            let frame = next(socket).await;
            let payload = &frame[4];
            if let Some(seq) = payload.get("_seq") {
                self.last_seq = seq.clone();
            }
            if frame[3] == "job_order_opened" {
                let id = payload["data"]["job_order_id"].as_str().expect("an order has an id");
                self.orders.push(id.to_owned());
            }
        }
    }
}

async fn next(socket: &mut Socket) -> Value {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await;
    let message = message.expect("something is said").expect("the node stays").expect("it is read");
    serde_json::from_str(message.to_text().expect("it is text")).expect("frames are JSON")
}

impl Served {
    /// Asks as whoever has `token`; nobody if it is empty.
    async fn asked(&self, token: &str, path: &str, input: &Value) -> Value {
        let (status, answer) = self.send_as(token, Method::POST, path, input).await;
        let status = status.unwrap_or_else(|| panic!("{path} was not answered"));
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn opened(&self) -> String {
        self.open_job_order().await.expect("the order is opened")
    }
}

#[tokio::test]
async fn a_phone_that_was_away_while_edge_and_server_died_has_missed_nothing() {
    let database = TestDatabase::create("nothing in it", async |_| Ok(())).await.expect("a server");
    let url = database.options().to_url_lossy().to_string();
    let (data, settings) = (Data::new(), ["--database-url", url.as_str()]);
    let secret = data.0.join("secret.key");
    let secret = secret.to_str().expect("the path is UTF-8");
    let settings = [settings.as_slice(), &["--secret-file", secret]].concat();
    let near = Served::start_with(&data.0, &settings);
    let far = Served::start_with(&data.0, &settings);
    let mut phone = Phone::sign_in(&near).await;
    let (mut socket, answer) = phone.join(&near).await;
    assert_eq!(answer["gap"], false);
    let mut orders = vec![near.opened().await];
    phone.reads(&mut socket, 1).await;

    // The network is gone: nobody says goodbye. Meanwhile the edge dies, then the whole server.
    drop(socket);
    orders.push(near.opened().await);
    let kill = json!({"path": "root/edge", "reason": "a test"});
    near.asked("demo-operator", "/api/v1/operator/kill", &kill).await;
    orders.push(far.opened().await);
    near.signal("-KILL");
    near.ended();
    orders.push(far.opened().await);
    orders.push(far.opened().await);
    let near = Served::start_with(&data.0, &settings);

    phone.refresh(&near).await;
    let (mut socket, answer) = phone.join(&near).await;
    assert_eq!(answer["gap"], false, "{answer}");
    let live = far.opened().await;
    phone.reads(&mut socket, 6).await;

    orders.push(live);
    assert_eq!(phone.orders, orders);
    for node in [near, far] {
        node.signal("-TERM");
        assert!(node.ended().success());
    }
    database.close().await;
}
