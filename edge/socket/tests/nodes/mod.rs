//! Several nodes on one database, each with its sockets, and clients of them.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use platform::otp::{ChildSpec, Clock};
use platform::{MakeEdge, Role, System};
use serde_json::{Value, json};
use socket::{Patience, Sockets};
use testkit::warehouse::PackCrate;
use testkit::{ACME, TestSystem};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::fixture;

/// How long anything may take before a test has failed.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The topic of the fixture's domain.
pub(crate) fn topic() -> String {
    format!("org:{ACME}:fixture")
}

/// The database, and the node that was there first. It has sockets too.
pub(crate) struct Nodes {
    pub(crate) system: TestSystem,
    pub(crate) address: SocketAddr,
}

/// One more node.
pub(crate) struct Node {
    pub(crate) system: System,
    pub(crate) address: SocketAddr,
}

fn edge() -> (MakeEdge, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("a listener can be non-blocking");
    let address = listener.local_addr().expect("it is bound");
    let edge = move |system: &System| {
        // What is cut off here is cut off for what it lost, on the slowest machine too.
        let patience = Patience { unread: Duration::from_mins(2), ..Patience::default() };
        let sockets = Sockets::new().patience(patience);
        let router = socket::router(system.clone(), &sockets);
        let serve = ChildSpec::task("serve", move |context| {
            // Cloned, so that it serves again after it was killed.
            let (listener, router) = (listener.try_clone(), router.clone());
            async move {
                let listener = listener.expect("a bound listener can be cloned");
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is bound");
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    () = context.stopping() => {}
                }
                Ok(())
            }
        });
        let mut children = socket::children(system, &sockets);
        children.push(serve);
        children
    };
    (Box::new(edge), address)
}

impl Nodes {
    pub(crate) async fn start() -> Self {
        let (edge, address) = edge();
        let domains = [fixture::domain()];
        let system = testkit::start_with(domains, Clock::system(), "", edge).await;
        Self { system, address }
    }

    pub(crate) async fn another(&self) -> Node {
        let (edge, address) = edge();
        let system = self.system.another_node_with([fixture::domain()], edge).await;
        Node { system, address }
    }

    pub(crate) async fn connect(&self, address: SocketAddr, role: Role) -> Client {
        let token = self.system.member(ACME, role).token().to_owned();
        let url = format!("ws://{address}/socket/websocket?vsn=2.0.0&token={token}");
        let (stream, _) = connect_async(url).await.expect("a member may connect");
        Client { stream, reference: 0 }
    }

    pub(crate) async fn pack(&self, label: &str) {
        let packed = PackCrate { label: label.into() };
        self.system.member(ACME, Role::Staff).run(packed).await.expect("anybody may pack");
    }

    /// The id of the member with a role.
    pub(crate) fn user(&self, role: Role) -> String {
        let scope = self.system.member(ACME, role).scope();
        scope.user_id().expect("a member is a user").to_string()
    }
}

pub(crate) struct Client {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    reference: u64,
}

impl Client {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.stream.send(Message::text(frame.to_string())).await.expect("the server reads");
    }

    /// The next message, or the code it is closed with.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        let message = tokio::time::timeout(SOON, self.stream.next()).await;
        match message.expect("something comes soon") {
            Some(Ok(Message::Text(text))) => {
                Ok(serde_json::from_str(&text).expect("a frame is JSON"))
            }
            Some(Ok(Message::Close(frame))) => Err(frame.map_or(1005, |frame| frame.code.into())),
            _ => Err(1006),
        }
    }

    pub(crate) async fn frame(&mut self) -> Value {
        self.next().await.expect("the socket is open")
    }

    /// The next push with this event, and what it says; others before it are passed over.
    pub(crate) async fn push(&mut self, event: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame[3] == event {
                return frame[4].clone();
            }
        }
    }

    /// Joins, and gives the response; the answer is the first thing that comes.
    pub(crate) async fn join(&mut self, topic: &str, params: Value) -> Value {
        self.reference += 1;
        let reference = self.reference.to_string();
        self.send(json!([reference, reference, topic, "phx_join", params])).await;
        let frame = self.frame().await;
        assert_eq!((&frame[1], &frame[3]), (&json!(reference), &json!("phx_reply")), "{frame}");
        frame[4].clone()
    }

    pub(crate) async fn call(&mut self, topic: &str, event: &str, payload: Value) -> Value {
        self.reference += 1;
        let reference = self.reference.to_string();
        self.send(json!([null, reference, topic, event, payload])).await;
        loop {
            let frame = self.frame().await;
            if frame[1] == json!(reference) {
                return frame[4].clone();
            }
        }
    }

    pub(crate) async fn close(mut self) {
        // Whoever is not there any more needs no goodbye.
        let _ = self.stream.close(None).await;
    }
}
