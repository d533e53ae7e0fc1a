//! The limits: a WebSocket server that repeats and fans out, and an HTTP server that says hello,
//! and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Servers that end when dropped.
pub(crate) struct Bare {
    pub(crate) sockets: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) all: broadcast::Sender<Utf8Bytes>,
    _serving: JoinSet<()>,
}

impl Bare {
    pub(crate) async fn start() -> Self {
        let all = broadcast::Sender::new(256);
        let mut serving = JoinSet::new();
        let (sockets, http) = (bind().await, bind().await);
        let [of_sockets, of_http] =
            [&sockets, &http].map(|socket| socket.local_addr().expect("it is bound"));
        serving.spawn(accept(sockets, {
            let all = all.clone();
            move |stream| repeat(stream, all.subscribe())
        }));
        serving.spawn(accept(http, hello));
        Self { sockets: of_sockets, http: of_http, all, _serving: serving }
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port is free")
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut serving = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("there is room");
        stream.set_nodelay(true).expect("a socket has this switch");
        serving.spawn(serve(stream));
        while serving.try_join_next().is_some() {}
    }
}

/// Repeats whatever is said, and tells what everybody is told.
async fn repeat(stream: TcpStream, mut all: broadcast::Receiver<Utf8Bytes>) {
    let config = WebSocketConfig::default().read_buffer_size(4_096);
    let Ok(mut socket) = accept_async_with_config(stream, Some(config)).await else { return };
    loop {
        let sent = tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message @ Message::Text(_))) => socket.send(message).await,
                Some(Ok(_)) => Ok(()),
                _ => return,
            },
            told = all.recv() => match told {
                Ok(text) => socket.send(Message::Text(text)).await,
                Err(_) => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn hello(stream: TcpStream) {
    let answer = |_: Request<Incoming>| async {
        let body = Full::new(Bytes::from_static(b"{\"status\":\"ok\"}"));
        let response = Response::builder().header("content-type", "application/json").body(body);
        Ok::<_, Infallible>(response.expect("the header is valid"))
    };
    let http = hyper::server::conn::http1::Builder::new();
    // Whoever goes in the middle of an answer is none of our business.
    let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}
