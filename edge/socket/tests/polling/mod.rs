//! The socket by polling: the same sessions, one HTTP request after the other.

use std::time::Duration;

use futures_util::SinkExt as _;
use platform::Role;
use platform::otp::Clock;
use serde_json::{Value, json};
use socket::{Patience, Sockets};
use testkit::ACME;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{Edge, MIB, SOON, fixture, topic};

/// A client that polls.
struct Poller<'a> {
    edge: &'a Edge,
    credential: String,
    token: String,
    heard: Vec<Value>,
}

/// One request over a connection of its own: the head of the answer, and its body.
async fn ask(edge: &Edge, method: &str, query: &str, extra: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(edge.address).await.expect("the server listens");
    let head = format!(
        "{method} /socket/longpoll?vsn=2.0.0&{query} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-length: {}\r\n{extra}\r\n",
        edge.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("the server reads");
    // A body that is too large is refused before it is read.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON * 2, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("it answers soon");
    let answer = String::from_utf8(answer).expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

async fn ask_json(edge: &Edge, method: &str, query: &str, extra: &str, body: &[u8]) -> Value {
    let (head, body) = ask(edge, method, query, extra, body).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    serde_json::from_str(&body).expect("the body is JSON")
}

impl<'a> Poller<'a> {
    async fn connect(edge: &'a Edge, role: Role) -> Self {
        let credential = edge.system.member(ACME, role).token().to_owned();
        let extra = format!("x-phoenix-authtoken: {credential}\r\n");
        let opened = ask_json(edge, "GET", "", &extra, b"").await;
        assert_eq!(opened["status"], 410, "{opened}");
        let token = opened["token"].as_str().expect("a session has a token").to_owned();
        Self { edge, credential, token, heard: Vec::new() }
    }

    async fn poll(&self) -> Value {
        let query = format!("token={}", self.token);
        ask_json(self.edge, "GET", &query, "", b"").await
    }

    async fn post(&self, body: &[u8]) -> Value {
        let query = format!("token={}", self.token);
        let extra = "content-type: application/x-ndjson\r\n";
        ask_json(self.edge, "POST", &query, extra, body).await
    }

    async fn send(&self, frames: &[Value]) {
        let lines: Vec<String> = frames.iter().map(Value::to_string).collect();
        let taken = self.post(lines.join("\n").as_bytes()).await;
        assert_eq!(taken, json!({ "status": 200 }));
    }

    async fn frame(&mut self) -> Value {
        while self.heard.is_empty() {
            let answer = self.poll().await;
            let messages = answer["messages"].as_array().expect("an answer has messages").clone();
            self.heard = messages
                .iter()
                .map(|text| serde_json::from_str(text.as_str().expect("a text")).expect("a frame"))
                .collect();
        }
        self.heard.remove(0)
    }
}

fn quick() -> Patience {
    Patience { poll: Duration::from_millis(50), ..Patience::default() }
}

#[tokio::test]
async fn whoever_polls_joins_asks_and_hears_as_over_a_websocket() {
    let edge = Edge::start().await;
    let mut poller = Poller::connect(&edge, Role::Staff).await;

    poller
        .send(&[
            json!(["1", "1", topic(), "phx_join", {"binary": true}]),
            json!(["1", "2", topic(), "pack_crate", {"label": "nails"}]),
            json!(["1", "3", topic(), "pack_crate", {"label": "joke"}]),
        ])
        .await;
    let mut frames = Vec::new();
    while frames.len() < 4 {
        frames.push(poller.frame().await);
    }

    let position = frames.iter().position(|frame| frame[3] == "crate_packed");
    let event = frames.remove(position.expect("the event is heard"));
    assert_eq!((&event[0], &event[4]["data"]["label"]), (&json!(null), &json!("nails")));
    let answers: Vec<_> = frames.iter().map(|frame| (&frame[1], &frame[4]["status"])).collect();
    let (ok, error) = (json!("ok"), json!("error"));
    assert_eq!(answers, [(&json!("1"), &ok), (&json!("2"), &ok), (&json!("3"), &error)]);
    assert_eq!(edge.sockets.open_count(), 1);
    edge.system.stop().await;
}

#[tokio::test]
async fn bytes_are_pushed_as_base64_and_answered_as_text() {
    let edge = Edge::start().await;
    let mut poller = Poller::connect(&edge, Role::Staff).await;
    poller.send(&[json!(["1", "1", topic(), "phx_join", {}])]).await;
    poller.frame().await;
    let length = u8::try_from(topic().len()).expect("it is short");
    let mut push = vec![0, 1, 1, length, 10];
    push.extend(format!("15{}pack_crate{{\"label\":\"nails\"}}", topic()).bytes());

    let taken = poller.post(fixture::base64_padded(&push).as_bytes()).await;
    let mut answer = poller.frame().await;
    if answer[3] == "crate_packed" {
        answer = poller.frame().await;
    }

    assert_eq!(taken["status"], 200);
    assert_eq!((&answer[1], &answer[4]["response"]["label"]), (&json!("5"), &json!("nails")));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_poll_that_hears_nothing_is_answered_when_its_time_is_over() {
    let edge = Edge::start_with(quick()).await;
    let poller = Poller::connect(&edge, Role::Staff).await;

    let answer = poller.poll().await;

    assert_eq!((&answer["status"], &answer["token"]), (&json!(204), &json!(poller.token)));
    edge.system.stop().await;
}

#[tokio::test]
async fn what_happens_between_two_polls_waits_for_the_next() {
    let edge = Edge::start().await;
    let mut poller = Poller::connect(&edge, Role::Staff).await;
    poller.send(&[json!(["1", "1", topic(), "phx_join", {}])]).await;
    poller.frame().await;

    for label in ["a", "b", "c"] {
        edge.pack(label).await;
    }
    edge.system.settle().await;

    for label in ["a", "b", "c"] {
        assert_eq!(poller.frame().await[4]["data"]["label"], label);
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn a_session_that_is_not_polled_ends_and_says_so() {
    let unpolled = Duration::from_millis(200);
    let edge = Edge::start_with(Patience { unpolled, ..quick() }).await;
    let poller = Poller::connect(&edge, Role::Staff).await;
    let mut changes = edge.system.system().tree().changes();
    while edge.sockets.open_count() > 0 {
        tokio::time::timeout(SOON, changes.changed()).await.expect("it ends").expect("it lives");
    }

    let (heard, posted) = (poller.poll().await, poller.post(b"[]").await);

    assert_eq!(heard, json!({ "status": 410, "token": null, "messages": [] }));
    assert_eq!(posted, json!({ "status": 410 }));
    edge.system.stop().await;
}

#[tokio::test]
async fn nobody_polls_without_a_credential_or_with_a_token_of_their_own() {
    let edge = Edge::start().await;
    let poller = Poller::connect(&edge, Role::Staff).await;
    let forged = format!("{}0", poller.token);
    let foreign = "origin: https://evil.example\r\n";
    let credential = format!("x-phoenix-authtoken: {}\r\n{foreign}", poller.credential);

    let bare = ask_json(&edge, "GET", "", "", b"").await;
    let stolen = ask_json(&edge, "GET", "", "x-phoenix-authtoken: stolen\r\n", b"").await;
    let forged_get = ask_json(&edge, "GET", &format!("token={forged}"), "", b"").await;
    let forged_post = ask_json(&edge, "POST", &format!("token={forged}"), "", b"[]").await;
    let page = ask_json(&edge, "GET", "", &credential, b"").await;

    for refused in [bare, stolen, forged_get, page] {
        assert_eq!(refused, json!({ "status": 403 }));
    }
    assert_eq!(forged_post, json!({ "status": 410 }));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_token_of_another_server_sends_its_client_to_begin_anew() {
    let edge = Edge::start().await;
    let other = Edge::start().await;
    let poller = Poller::connect(&other, Role::Staff).await;

    let answer = ask_json(&edge, "GET", &format!("token={}", poller.token), "", b"").await;

    assert_eq!(answer, json!({ "status": 410, "token": null, "messages": [] }));
    other.system.stop().await;
    edge.system.stop().await;
}

#[tokio::test]
async fn what_is_no_batch_is_refused_and_the_session_lives_on() {
    let edge = Edge::start().await;
    let mut poller = Poller::connect(&edge, Role::Staff).await;
    let many = "[]\n".repeat(101);

    let statuses = [
        poller.post(b"").await,
        poller.post(b"hello there").await,
        poller.post(b"\xff").await,
        poller.post(many.as_bytes()).await,
        poller.post(&vec![b'x'; 3 * MIB]).await,
    ];
    poller.send(&[json!([null, "7", "phoenix", "heartbeat", {}])]).await;

    let codes: Vec<&Value> = statuses.iter().map(|answer| &answer["status"]).collect();
    assert_eq!(codes, [400, 400, 400, 400, 413]);
    assert_eq!(poller.frame().await[1], "7");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_line_that_is_no_frame_ends_that_session_alone() {
    let edge = Edge::start_with(quick()).await;
    let mut bystander = edge.connect(Role::Staff).await;
    let poller = Poller::connect(&edge, Role::Staff).await;

    poller.post(b"[1]").await;
    let mut last = poller.poll().await;
    while last["status"] == 204 {
        last = poller.poll().await;
    }

    assert_eq!(last["status"], 410);
    let heartbeat = json!([null, "7", "phoenix", "heartbeat", {}]).to_string();
    bystander.stream.send(Message::text(heartbeat)).await.expect("the server reads");
    assert_eq!(bystander.frame().await[1], "7");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_session_whose_client_reads_nothing_is_bounded() {
    let edge = Edge::start().await;
    let poller = Poller::connect(&edge, Role::Staff).await;
    poller.send(&[json!(["1", "1", topic(), "phx_join", {}])]).await;

    let reference = "r".repeat(MIB / 2);
    let heartbeat = json!([null, reference, "phoenix", "heartbeat", {}]).to_string();
    let mut status = json!(200);
    for _ in 0..20 {
        status = poller.post(heartbeat.as_bytes()).await["status"].clone();
        if status != 200 {
            break;
        }
    }

    assert_eq!(status, 429, "what waits is read before more is taken");
    edge.system.stop().await;
}

#[tokio::test]
async fn sessions_are_processes_and_end_with_the_server() {
    let edge = Edge::start_through(Sockets::new().patience(quick()), Clock::system()).await;
    let _poller = Poller::connect(&edge, Role::Staff).await;

    let polls = edge.system.system().tree().find("root/edge/polls").expect("it is there");
    assert_eq!(polls.children.len(), 1);
    edge.system.system().stop().await;

    assert_eq!(edge.sockets.open_count(), 0);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_page_is_told_what_it_may_send() {
    let edge = Edge::start().await;
    let extra = "access-control-request-headers: x-phoenix-authtoken\r\n";

    let (head, _) = ask(&edge, "OPTIONS", "", extra, b"").await;

    for line in [
        "access-control-allow-headers: x-phoenix-authtoken",
        "access-control-allow-methods: get, post, options",
        "access-control-max-age: 3600",
    ] {
        assert!(head.contains(line), "{head}");
    }
    edge.system.stop().await;
}
