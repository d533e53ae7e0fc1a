//! A whole platform in a test, seen from outside: over HTTP and over a WebSocket.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use platform::otp::{Clock, Node, ROOT_PATH, Strategy};
use platform::{Domain, Role};
use serde_json::{Value, json};
use server::origins::WebOrigins;
use server::peer::Proxies;
use server::serve::{PublicHosts, edge};
use testkit::{ACME, Member, TestSystem};
use tokio_tungstenite::tungstenite::Message;

use crate::world::every_domain;

/// The business domains of the founding story.
pub(crate) fn domains() -> Vec<Domain> {
    vec![recruit::domain(), onboard::domain(), pulse::domain(), reach::domain(), payroll::domain()]
}

/// A platform with all its surfaces, listening on a port of its own.
pub(crate) struct Served {
    pub(crate) system: TestSystem,
    pub(crate) address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Starts the whole platform.
pub(crate) async fn serve() -> Served {
    serve_with("").await
}

/// Starts the whole platform with further lines of supervision.toml.
pub(crate) async fn serve_with(extra_tuning: &str) -> Served {
    serve_domains(domains(), extra_tuning).await
}

/// Starts every domain there is.
pub(crate) async fn serve_every(extra_tuning: &str) -> Served {
    serve_domains(every_domain(), extra_tuning).await
}

async fn serve_domains(domains: Vec<Domain>, extra_tuning: &str) -> Served {
    let bound = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    bound.set_nonblocking(true).expect("a socket can be made non-blocking");
    let address = bound.local_addr().expect("a bound socket has an address");
    let make_edge: platform::MakeEdge = Box::new(move |system| {
        edge(system, &bound, &Proxies::default(), &PublicHosts::default(), &WebOrigins::default())
    });
    let system = testkit::start_with(domains, Clock::system(), extra_tuning, make_edge).await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    Served { system, address, client }
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text))
    }
}

impl Served {
    pub(crate) fn recruiter(&self) -> Member {
        self.system.member(ACME, Role::Staff)
    }

    pub(crate) fn operator(&self) -> Member {
        self.system.member(ACME, Role::Operator)
    }

    /// Sends a request as a member.
    pub(crate) async fn send(
        &self,
        member: &Member,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Response {
        self.send_as(Some(member.token()), method, path, body).await
    }

    /// Sends a request with a token, or with none.
    pub(crate) async fn send_as(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Response {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request =
            request.body(Full::new(Bytes::from(body))).expect("the request is well formed");
        let response = self.client.request(request).await.expect("the edge answers");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the answer arrives whole").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("answers are UTF-8");
        Response { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, member: &Member, path: &str) -> Response {
        self.send(member, Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, member: &Member, path: &str, body: Value) -> Response {
        self.send(member, Method::POST, path, Some(body)).await
    }

    /// Sends a message to an MCP server as a member, and answers the message that comes back.
    pub(crate) async fn tell(&self, member: &Member, path: &str, message: &Value) -> Value {
        let request = Request::post(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", member.token()))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::new(Bytes::from(message.to_string())))
            .expect("the request is well formed");
        let response = self.client.request(request).await.expect("the edge answers");
        let bytes = response.into_body().collect().await.expect("the answer arrives whole");
        serde_json::from_slice(&bytes.to_bytes()).expect("a message is answered by a message")
    }

    /// Whether the socket lets a token in.
    pub(crate) async fn is_let_in(&self, token: Option<&str>) -> bool {
        let token = token.map(|token| format!("&token={token}")).unwrap_or_default();
        let url = format!("ws://{}/socket/websocket?vsn=2.0.0{token}", self.address);
        tokio_tungstenite::connect_async(url).await.is_ok()
    }

    /// Joins a topic as a member, over the Phoenix wire.
    pub(crate) async fn join(&self, member: &Member, topic: &str) -> Channel {
        let (channel, reply) = self.ask_to_join(member, topic).await;
        assert_eq!(reply["status"], "ok", "{reply}");
        channel
    }

    /// Asks to join a topic as a member, and answers what is replied.
    pub(crate) async fn ask_to_join(&self, member: &Member, topic: &str) -> (Channel, Value) {
        let (address, token) = (self.address, member.token());
        let url = format!("ws://{address}/socket/websocket?vsn=2.0.0&token={token}");
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("the socket opens");
        let mut channel = Channel { socket, topic: topic.to_owned() };
        channel.push("phx_join", json!({})).await;
        let reply = channel.next("phx_reply").await;
        (channel, reply)
    }
}

/// The input of a job order that breaks no rule.
pub(crate) fn job_order() -> Value {
    json!({"title": "Forklift driver", "headcount": 3})
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// One joined topic on a socket of its own.
pub(crate) struct Channel {
    socket: Socket,
    topic: String,
}

impl Channel {
    pub(crate) async fn push(&mut self, event: &str, payload: Value) {
        let frame = json!(["1", "1", self.topic, event, payload]).to_string();
        self.socket.send(Message::text(frame)).await.expect("the socket takes a frame");
    }

    /// The payload of the next message with that event; others are passed over.
    pub(crate) async fn next(&mut self, event: &str) -> Value {
        let arrived = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let message = self.socket.next().await.expect("the socket stays open");
                let Ok(Message::Text(text)) = message else { continue };
                let frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
                if frame[3] == event {
                    return frame[4].clone();
                }
            }
        });
        arrived.await.unwrap_or_else(|_| panic!("no `{event}` came on {}", self.topic))
    }
}

/// Everything in the tree that can be killed, depth first: all but the root itself, and what comes
/// and goes.
pub(crate) fn killable(node: &Node) -> Vec<String> {
    let is_dynamic = node.strategy == Some(Strategy::SimpleOneForOne);
    let children = if is_dynamic { &[][..] } else { &node.children };
    let own = (node.path != ROOT_PATH).then(|| node.path.clone());
    own.into_iter().chain(children.iter().flat_map(killable)).collect()
}
