//! The socket over a real system: the wire as a client sees it, frame by frame.

mod decoders;
mod door;
mod fixture;
mod polling;
mod states;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use platform::otp::{ChildSpec, Clock};
use platform::{Role, System};
use serde_json::{Value, json};
use socket::{Patience, Sockets};
use testkit::warehouse::PackCrate;
use testkit::{ACME, GLOBEX, TestSystem};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

const MIB: usize = 1024 * 1024;
/// How long anything may take before a test has failed.
const SOON: Duration = Duration::from_secs(10);

/// A system that serves its socket.
struct Edge {
    system: TestSystem,
    sockets: Sockets,
    address: SocketAddr,
}

impl Edge {
    async fn start() -> Self {
        Self::start_with(Patience::default()).await
    }

    async fn start_with(patience: Patience) -> Self {
        Self::start_through(Sockets::new().patience(patience), Clock::system()).await
    }

    async fn start_through(sockets: Sockets, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let served = sockets.clone();
        let edge = move |system: &System| {
            let router = socket::router(system.clone(), &served);
            let serve = ChildSpec::task("serve", move |context| async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is bound");
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    () = context.stopping() => {}
                }
                Ok(())
            });
            let mut children = socket::children(system, &served);
            children.push(serve);
            children
        };
        let domains = [fixture::domain(), fixture::accounts()];
        let system = testkit::start_with(domains, clock, "", Box::new(edge)).await;
        Self { system, sockets, address }
    }

    fn url(&self, parameters: &str) -> String {
        format!("ws://{}/socket/websocket?{parameters}", self.address)
    }

    /// Connects as a member of Acme.
    async fn connect(&self, role: Role) -> Client {
        let member = self.system.member(ACME, role);
        self.connect_with(&format!("token={}", member.token())).await
    }

    async fn connect_with(&self, credential: &str) -> Client {
        let url = self.url(&format!("vsn=2.0.0&{credential}"));
        let (stream, _) = connect_async(url).await.expect("a member may connect");
        Client { stream, reference: 0 }
    }

    /// Connects as a member of Acme whose machine holds little of what is sent to it.
    async fn connect_narrowly(&self, role: Role) -> Client {
        let token = self.system.member(ACME, role).token().to_owned();
        let socket = tokio::net::TcpSocket::new_v4().expect("there are sockets");
        socket.set_recv_buffer_size(16 * 1024).expect("it may be small");
        let stream = socket.connect(self.address).await.expect("the server listens");
        let url = self.url(&format!("vsn=2.0.0&token={token}"));
        let stream = MaybeTlsStream::Plain(stream);
        let (stream, _) = client_async(url, stream).await.expect("a member may connect");
        Client { stream, reference: 0 }
    }

    async fn refusal_of(&self, parameters: String) -> StatusCode {
        self.refusal(&parameters).await
    }

    async fn refusal(&self, parameters: &str) -> StatusCode {
        match connect_async(self.url(parameters)).await {
            Err(WsError::Http(answer)) => answer.status(),
            other => panic!("a refusal was expected, not {other:?}"),
        }
    }

    /// Has a member of staff pack a crate.
    async fn pack(&self, label: &str) {
        let packed = PackCrate { label: label.into() };
        self.system.member(ACME, Role::Staff).run(packed).await.expect("anybody may pack");
    }
}

struct Client {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    reference: u64,
}

impl Client {
    async fn send(&mut self, frame: Value) {
        self.stream.send(Message::text(frame.to_string())).await.expect("the server reads");
    }

    async fn message(&mut self) -> Message {
        let message = tokio::time::timeout(SOON, self.stream.next()).await;
        message.expect("something comes soon").expect("the socket is open").expect("and well")
    }

    async fn frame(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).expect("a frame is JSON"),
            other => panic!("a text frame was expected, not {other:?}"),
        }
    }

    async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Message::Close(frame) = self.message().await {
                return frame;
            }
        }
    }

    /// Joins with the reference as join reference, and gives status and response.
    async fn join(&mut self, topic: &str, params: Value) -> (Value, Value) {
        self.reference += 1;
        let reference = self.reference.to_string();
        self.send(json!([reference, reference, topic, "phx_join", params])).await;
        let frame = self.frame().await;
        let is_unmatched = frame[4]["response"]["reason"] == "unmatched topic";
        let join_ref = if is_unmatched { json!(null) } else { json!(reference) };
        assert_eq!(frame[0], join_ref, "{frame}");
        assert_eq!((&frame[1], &frame[3]), (&json!(reference), &json!("phx_reply")), "{frame}");
        (frame[4]["status"].clone(), frame[4]["response"].clone())
    }

    /// Pushes an event on a topic joined first, and gives status and response.
    async fn call(&mut self, topic: &str, event: &str, payload: Value) -> (Value, Value) {
        self.reference += 1;
        let reference = self.reference.to_string();
        self.send(json!([null, reference, topic, event, payload])).await;
        loop {
            let frame = self.frame().await;
            if frame[1] == json!(reference) {
                return (frame[4]["status"].clone(), frame[4]["response"].clone());
            }
        }
    }
}

fn topic() -> String {
    format!("org:{ACME}:fixture")
}

#[tokio::test]
async fn whoever_has_no_token_of_ours_is_refused_before_the_upgrade() {
    let edge = Edge::start().await;
    let token = edge.system.member(ACME, Role::Staff).token().to_owned();

    for parameters in [
        "vsn=2.0.0".to_owned(),
        "vsn=2.0.0&token=stolen".to_owned(),
        format!("token={token}"),
        format!("vsn=1.0.0&token={token}"),
    ] {
        assert_eq!(edge.refusal(&parameters).await, StatusCode::FORBIDDEN, "{parameters}");
    }
    assert_eq!(edge.sockets.open_count(), 0);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_token_may_come_as_a_sub_protocol_as_browsers_send_it() {
    let edge = Edge::start().await;
    let token = edge.system.member(ACME, Role::Staff).token().to_owned();
    let encoded = fixture::base64(&token);
    let protocols = format!("phoenix, base64url.bearer.phx.{encoded}");
    let mut request = edge.url("vsn=2.0.0").into_client_request().expect("the address is valid");
    let protocols = HeaderValue::from_str(&protocols).expect("base64 is ASCII");
    request.headers_mut().insert("sec-websocket-protocol", protocols);

    let connected: Result<(_, Response<_>), _> = connect_async(request).await;

    let (_, answer) = connected.expect("the token is known");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "phoenix");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_page_of_another_host_is_refused() {
    let edge = Edge::start().await;
    let token = edge.system.member(ACME, Role::Staff).token().to_owned();
    let url = edge.url(&format!("vsn=2.0.0&token={token}"));
    let mut request = url.into_client_request().expect("the address is valid");
    request.headers_mut().insert("origin", HeaderValue::from_static("https://evil.example"));

    let refused = connect_async(request).await;

    assert!(
        matches!(refused, Err(WsError::Http(answer)) if answer.status() == StatusCode::FORBIDDEN)
    );
    edge.system.stop().await;
}

#[tokio::test]
async fn a_heartbeat_is_answered() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;

    client.send(json!([null, "7", "phoenix", "heartbeat", {}])).await;

    let answer = client.frame().await;
    let expected = json!([null, "7", "phoenix", "phx_reply", {"status": "ok", "response": {}}]);
    assert_eq!(answer, expected);
    edge.system.stop().await;
}

#[tokio::test]
async fn events_of_a_joined_domain_are_pushed_in_their_order() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    let (status, response) = client.join(&topic(), json!({})).await;

    for label in ["a", "b", "c"] {
        edge.pack(label).await;
    }

    assert_eq!((status, &response["gap"]), (json!("ok"), &json!(false)), "{response}");
    let mut last = response["seq"].as_i64().expect("a position is a number");
    for label in ["a", "b", "c"] {
        let push = client.frame().await;
        let named = (&push[0], &push[1], &push[2], &push[3]);
        assert_eq!(named, (&json!(null), &json!(null), &json!(topic()), &json!("crate_packed")));
        assert_eq!(push[4]["data"]["label"], label);
        assert_eq!(push[4].get("response"), None);
        let position = push[4]["position"].as_i64().expect("a position is a number");
        assert!(position > last);
        last = position;
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn a_topic_of_one_aggregate_tells_of_that_alone() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    let (_, packed) = client.call(&topic(), "pack_crate", json!({"label": "first"})).await;
    let crate_id = packed["crate_id"].as_str().expect("a crate has an id").to_owned();
    edge.system.settle().await;
    let mut other = edge.connect(Role::Staff).await;

    let one = format!("{}:{crate_id}", topic());
    let (_, response) = other.join(&one, json!({"last_seq": 0})).await;
    edge.pack("second").await;
    let told = other.frame().await;
    let (status, _) = other.call(&one, "get_crate", json!({"crate_id": crate_id})).await;

    assert_eq!(response["replayed"], 1);
    assert_eq!((&told[2], &told[4]["data"]["label"]), (&json!(one), &json!("first")));
    assert_eq!(status, "error");
    edge.system.stop().await;
}

#[tokio::test]
async fn who_may_not_listen_is_told_why() {
    let edge = Edge::start().await;
    let cases = [
        (Role::Staff, format!("org:{GLOBEX}:fixture"), "forbidden"),
        (Role::Worker, topic(), "forbidden"),
        (Role::Staff, format!("org:{ACME}:operator"), "forbidden"),
        // Everybody may ask about themselves there, and hear of the others nowhere.
        (Role::Staff, format!("org:{ACME}:accounts"), "forbidden"),
        (Role::Staff, "system:supervision".to_owned(), "forbidden"),
        (Role::Staff, format!("org:{ACME}:nothing"), "unmatched topic"),
        (Role::Staff, "room:lobby".to_owned(), "unmatched topic"),
    ];

    for (role, topic, reason) in cases {
        let mut client = edge.connect(role).await;
        let (status, response) = client.join(&topic, json!({})).await;
        let told = (status, response["reason"].clone());
        assert_eq!(told, (json!("error"), json!(reason)), "{topic}");
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn operations_are_answered_as_on_every_surface() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    let cases = [
        ("pack_crate", json!({"label": "joke"}), "invalid", "joke", json!("/label")),
        ("pack_crate", json!({"label": 7}), "invalid", "malformed_input", json!("/label")),
        ("pack_crate", json!("text"), "invalid", "malformed_input", json!("")),
        ("pack_crate", json!({"label": "panic"}), "failure", "failure", json!(null)),
        ("no_such", json!({}), "not_found", "unknown_operation", json!(null)),
        ("recount_crates", json!({}), "not_found", "unknown_operation", json!(null)),
    ];

    let (status, packed) = client.call(&topic(), "pack_crate", json!({"label": "nails"})).await;
    assert_eq!((status, &packed["label"]), (json!("ok"), &json!("nails")), "{packed}");
    for (event, input, reason, code, pointer) in cases {
        let (status, response) = client.call(&topic(), event, input).await;
        assert_eq!(status, "error");
        let told = (&response["reason"], &response["code"], &response["errors"][0]["pointer"]);
        assert_eq!(told, (&json!(reason), &json!(code), &pointer), "{response}");
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn raw_bytes_are_no_input_but_are_answered() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    let lengths = [1, 1, u8::try_from(topic().len()).expect("short"), 4];
    let mut push = vec![0];
    push.extend(lengths);
    push.extend(format!("19{}open", topic()).bytes());
    push.extend([0, 255]);

    client.stream.send(Message::binary(push)).await.expect("the server reads");

    let answer = client.frame().await;
    assert_eq!((&answer[0], &answer[1]), (&json!("1"), &json!("9")));
    assert_eq!(answer[4]["response"]["code"], "binary_payload");
    edge.system.stop().await;
}

#[tokio::test]
async fn whoever_comes_back_is_told_what_was_missed() {
    let edge = Edge::start().await;
    for label in ["a", "b", "c"] {
        edge.pack(label).await;
    }
    edge.system.settle().await;
    let mut client = edge.connect(Role::Staff).await;
    let (_, all) = client.join(&topic(), json!({"last_seq": 0})).await;
    let first = client.frame().await;
    let position = first[4]["position"].clone();

    let mut again = edge.connect(Role::Staff).await;
    let (_, response) = again.join(&topic(), json!({ "last_seq": position })).await;
    edge.pack("d").await;

    assert_eq!((&all["replayed"], &first[4]["data"]["label"]), (&json!(3), &json!("a")));
    assert_eq!((&response["replayed"], &response["gap"]), (&json!(2), &json!(false)));
    for label in ["b", "c", "d"] {
        let push = again.frame().await;
        assert_eq!((&push[3], &push[4]["data"]["label"]), (&json!("crate_packed"), &json!(label)));
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn a_position_that_cannot_be_resumed_from_is_a_gap() {
    let edge = Edge::start().await;
    edge.pack("a").await;
    edge.system.settle().await;
    let mut client = edge.connect(Role::Staff).await;

    let (status, response) = client.join(&topic(), json!({"last_seq": 1_000_000})).await;
    let mut other = edge.connect(Role::Staff).await;
    let (refused, reason) = other.join(&topic(), json!({"last_seq": "x"})).await;

    assert_eq!((status, &response["gap"]), (json!("ok"), &json!(true)));
    assert_eq!((&response["replayed"], &response["seq"]), (&json!(0), &json!(1)));
    assert_eq!((refused, &reason["code"]), (json!("error"), &json!("bad_last_seq")));
    edge.system.stop().await;
}

#[tokio::test]
async fn operators_watch_the_tree_live() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Operator).await;

    let (status, response) = client.join("system:supervision", json!({})).await;
    edge.system.system().tree().kill("root/bus/bridge").expect("the bridge is there");

    assert_eq!((status, &response["tree"]["path"]), (json!("ok"), &json!("root")), "{response}");
    loop {
        let push = client.frame().await;
        assert_eq!(push[3], "supervision");
        if push[4]["path"] == "root/bus/bridge" {
            break;
        }
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn leaving_ends_the_pushes_of_that_channel_alone() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;

    client.send(json!(["1", "5", topic(), "phx_leave", {}])).await;
    let (left, closed) = (client.frame().await, client.frame().await);
    edge.pack("unheard").await;
    edge.system.settle().await;
    client.send(json!([null, "7", "phoenix", "heartbeat", {}])).await;
    let next = client.frame().await;

    assert_eq!((&left[1], &left[4]["status"]), (&json!("5"), &json!("ok")));
    assert_eq!(closed, json!(["1", "1", topic(), "phx_close", {}]));
    assert_eq!(next[1], "7");
    edge.system.stop().await;
}

#[tokio::test]
async fn something_else_than_a_frame_ends_that_connection_alone() {
    let edge = Edge::start().await;
    let mut bystander = edge.connect(Role::Staff).await;
    for bad in [Message::text("hello"), Message::binary(vec![9, 9]), Message::text("[1]")] {
        let mut client = edge.connect(Role::Staff).await;
        client.stream.send(bad).await.expect("the server reads");

        let closed = client.closed().await.expect("it says why");

        assert_eq!(u16::from(closed.code), 1007);
    }
    bystander.send(json!([null, "7", "phoenix", "heartbeat", {}])).await;
    assert_eq!(bystander.frame().await[1], "7");
    edge.system.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_in_words() {
    let edge = Edge::start().await;
    for large in [Message::text("x".repeat(MIB + 1)), Message::binary(vec![0; 2 * MIB])] {
        let mut client = edge.connect(Role::Staff).await;
        client.stream.send(large).await.expect("the server reads");

        let closed = client.closed().await.expect("it says why");

        assert_eq!(u16::from(closed.code), 1009, "{closed}");
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_in_words() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;

    let text = OpCode::Data(Data::Text);
    let broken = Frame::message(vec![b'[', 0xff, b']'], text, true);
    client.stream.send(Message::Frame(broken)).await.expect("the server reads");
    let closed = client.closed().await.expect("it says why");

    assert_eq!((u16::from(closed.code), &*closed.reason), (1007, "text is UTF-8"));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_message_too_large_to_be_read_is_cut_with_a_word() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;

    // The beginning of a frame of 5 MiB, and nothing of it.
    let mut header = vec![0x82, 0xff];
    header.extend(u64::try_from(5 * MIB).expect("it is small").to_be_bytes());
    header.extend([0; 4]);
    client.stream.get_mut().write_all(&header).await.expect("the server reads");
    let closed = client.closed().await.expect("it says why");

    assert_eq!(u16::from(closed.code), 1009);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let silent = Duration::from_millis(300);
    let edge = Edge::start_with(Patience { silent, ..Patience::default() }).await;
    let mut client = edge.connect(Role::Staff).await;

    let closed = client.closed().await.expect("it says why");

    assert_eq!((u16::from(closed.code), &*closed.reason), (1001, "idle"));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_as_a_slow_consumer() {
    let unread = Duration::from_millis(300);
    let edge = Edge::start_with(Patience { unread, ..Patience::default() }).await;
    let mut client = edge.connect_narrowly(Role::Staff).await;

    // Each is answered with its reference. Once all buffers are full the server reads no more
    // either, until it has said goodbye.
    for _ in 0..24 {
        client.send(json!([null, "r".repeat(MIB / 2), "phoenix", "heartbeat", {}])).await;
    }
    let closed = client.closed().await.expect("it says why");

    assert_eq!((u16::from(closed.code), &*closed.reason), (4008, "slow consumer"));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_sends_its_clients_to_the_next() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    assert_eq!(edge.sockets.open_count(), 1);

    let (_, closed) = tokio::join!(edge.system.system().stop(), client.closed());

    assert_eq!(closed.map(|frame| u16::from(frame.code)), Some(1012));
    assert_eq!(edge.sockets.open_count(), 0);
    edge.system.stop().await;
}

#[tokio::test]
async fn killing_the_process_of_the_sockets_harms_no_connection() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;

    edge.system.system().tree().kill("root/edge/sockets").expect("it is there");
    client.send(json!([null, "7", "phoenix", "heartbeat", {}])).await;

    assert_eq!(client.frame().await[1], "7");
    edge.system.stop().await;
}
