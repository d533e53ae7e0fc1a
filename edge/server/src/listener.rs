//! The listener: a bound socket, whoever accepts on it, and the connections; three failure domains.
//!
//! The bound socket is owned above the tree. The acceptor works on a clone of it and may die at any
//! time: clients that connect meanwhile wait in the kernel's queue for its successor. Connections
//! are processes of their own under a supervisor of their own, so they do not notice. Killing any
//! of them refuses and resets nobody else.
//!
//! ```text
//! edge             one_for_one
//! ├─ connections   dynamic: a temporary process per connection
//! ├─ …             what else serves connections
//! └─ acceptor      starts last, so it stops first
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as BoundListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use platform::otp::{
    ChildSpec, DynamicSupervisor, ExitReason, Process, RequestError, RunContext, Shutdown,
    StartError, SupervisorSpec,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::peer::Proxies;

/// The most connections at once; further clients wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// The most requests under way at once over one connection of HTTP/2.
const STREAMS_MAX: u32 = 128;
/// Between the word to stop and the end of idle connections: a client that was accepted just now
/// has a request on its way, and closing at once would reset it.
const LAME_DUCK: Duration = Duration::from_millis(300);
/// How long the acceptor waits when the machine has no file descriptor left for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How long the acceptor waits for a supervisor of connections that is not there.
const SIBLING_PAUSE: Duration = Duration::from_millis(5);
/// The id of the supervisor of connections.
const CONNECTIONS: &str = "connections";

/// What one connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long the headers of a request may take to arrive, from when they are waited for; so this
    /// is also how long a connection may be idle.
    pub headers_within: Duration,
    /// The most that is read of a request's first line and headers, in bytes.
    pub header_bytes_max: usize,
    /// The most headers of a request.
    pub headers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_within: Duration::from_secs(10),
            header_bytes_max: 64 * 1024,
            headers_max: 100,
        }
    }
}

/// What connections are served with.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The surfaces.
    pub router: Router,
    /// Whose word about its own peer is believed.
    pub proxies: Proxies,
    /// What one connection may take.
    pub limits: Limits,
}

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "port {} is taken on {}: stop the program that listens there, or choose another with \
         --listen {}:<port>",
        .0.port(), .0.ip(), .0.ip()
    )]
    Taken(SocketAddr),
    /// Ports below 1024 are reserved.
    #[error(
        "port {} may be opened by the administrator only: choose one above 1023 with \
         --listen {}:<port>",
        .0.port(), .0.ip()
    )]
    Reserved(SocketAddr),
    /// The machine has no such address.
    #[error("this machine has no address {}: listen on 127.0.0.1 or 0.0.0.0", .0.ip())]
    NoSuchAddress(SocketAddr),
    /// Anything else.
    #[error("could not listen on {address}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Opens the socket that the acceptors of one process share.
///
/// # Errors
/// [`BindError`], with a sentence that says what to do.
pub fn bind(address: SocketAddr) -> Result<BoundListener, BindError> {
    let bound = BoundListener::bind(address).and_then(|bound| {
        bound.set_nonblocking(true)?;
        Ok(bound)
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(address),
        io::ErrorKind::PermissionDenied => BindError::Reserved(address),
        io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress(address),
        _ => BindError::Other { address, source },
    })
}

/// The supervisor of connections.
#[must_use]
pub fn connections() -> ChildSpec {
    ChildSpec::supervisor(CONNECTIONS, SupervisorSpec::dynamic()).label("HTTP connections")
}

/// Accepts connections and hands them over to its sibling [`connections`]. Holds none itself.
/// `patience` is what a connection has to finish what it holds when the server stops.
#[must_use]
pub fn acceptor(
    bound: &BoundListener,
    serving: Serving,
    patience: impl Fn() -> Shutdown + Send + Sync + 'static,
) -> ChildSpec {
    let shared = Arc::new(Shared {
        bound: bound.try_clone().map_err(|error| error.to_string()),
        serving,
        patience: Box::new(patience),
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        accepted: AtomicU64::new(0),
    });
    ChildSpec::process("acceptor", move || Acceptor { shared: Arc::clone(&shared), socket: None })
        .label("accepts connections")
}

/// What outlives each acceptor.
struct Shared {
    bound: Result<BoundListener, String>,
    serving: Serving,
    patience: Box<dyn Fn() -> Shutdown + Send + Sync>,
    places: Arc<Semaphore>,
    accepted: AtomicU64,
}

impl Shared {
    /// The process that serves one connection.
    fn connection(
        &self,
        stream: TcpStream,
        from: IpAddr,
        place: OwnedSemaphorePermit,
    ) -> ChildSpec {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let serving = self.serving.clone();
        ChildSpec::task(format!("connection-{number}"), move |context| async move {
            let _place = place;
            serve(stream, from, serving, &context).await;
            Ok(())
        })
        .shutdown((self.patience)())
    }
}

struct Acceptor {
    shared: Arc<Shared>,
    socket: Option<TcpListener>,
}

impl Process for Acceptor {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        let failed = |error: &dyn std::fmt::Display| {
            StartError::Failed(format!("the listening socket cannot be used: {error}"))
        };
        let bound = self.shared.bound.as_ref().map_err(|error| failed(error))?;
        let socket = bound.try_clone().and_then(TcpListener::from_std);
        self.socket = Some(socket.map_err(|error| failed(&error))?);
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let socket = self.socket.take().expect("init has made it");
        let parent = context.path().rsplit_once('/').map_or("", |(parent, _)| parent);
        let siblings = format!("{parent}/{CONNECTIONS}");
        let connections = DynamicSupervisor::at(context.tree().clone(), siblings);
        loop {
            tokio::select! {
                () = context.stopping() => return Ok(()),
                () = self.accept(&socket, &connections) => {}
            }
        }
    }
}

impl Acceptor {
    /// Accepts one connection and hands it over.
    ///
    /// Between the two there is no await that a kill could fall into: the place is taken before,
    /// and handing over begins by sending, so an accepted connection is not dropped with the
    /// acceptor.
    async fn accept(&self, socket: &TcpListener, connections: &DynamicSupervisor) {
        let places = Arc::clone(&self.shared.places);
        let place = places.acquire_owned().await.expect("nobody closes it");
        match socket.accept().await {
            Ok((stream, from)) => {
                let connection = self.shared.connection(stream, from.ip(), place);
                while let Err(error) = connections.start_child(connection.clone()).await {
                    if !matches!(error, RequestError::NoProc | RequestError::Exited(_)) {
                        tracing::warn!(%error, "a connection could not be served");
                        break;
                    }
                    // The supervisor of connections is being restarted.
                    tokio::time::sleep(SIBLING_PAUSE).await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted just now");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Whether the client is to blame, which went away while it waited.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves one connection until the client ends it or the server stops.
async fn serve(stream: TcpStream, from: IpAddr, serving: Serving, context: &RunContext) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection is gone already");
        return;
    }
    let Serving { router, proxies, limits } = serving;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max);
    let header_bytes_max = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.headers_within)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(header_bytes_max);
    let has_asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&has_asked);
    // The surfaces are told who asks.
    let router = router.map_request(move |mut request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        let peer = proxies.peer(from, request.headers());
        request.extensions_mut().insert(peer);
        request
    });
    let service = TowerToHyperService::new(router);
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let lame_duck = async {
        context.stopping().await;
        tokio::time::sleep(LAME_DUCK).await;
    };
    // Until it is known which version of HTTP is spoken nobody looks at the time.
    let silence = async {
        tokio::time::sleep(limits.headers_within * 2).await;
        if has_asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = silence => return,
        () = lame_duck => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &*error, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use platform::otp::{Clock, Intensity, Root, Status, Strategy, Tree};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::*;

    const ACCEPTOR: &str = "root/acceptor";
    /// How long anything may take before a test has failed.
    const SOON: Duration = Duration::from_secs(20);
    const CLIENTS: usize = 16;
    const REQUESTS_EACH: usize = 60;
    const KILLS_MIN: usize = 20;

    struct Served {
        root: Root,
        address: SocketAddr,
        /// As the process that listens does, above the tree.
        _bound: BoundListener,
    }

    async fn serve_router(router: Router) -> Served {
        serve_within(Limits::default(), router).await
    }

    async fn serve_within(limits: Limits, router: Router) -> Served {
        let bound = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        let address = bound.local_addr().expect("it is bound");
        let patience = Shutdown::Timeout(SOON);
        let serving = Serving { router, proxies: Proxies::default(), limits };
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .intensity(Intensity::new(1_000_000, Duration::from_secs(1)))
            .child(connections())
            .child(acceptor(&bound, serving, move || patience));
        let root = Root::start(spec, Clock::system()).await.expect("the tree starts");
        Served { root, address, _bound: bound }
    }

    /// One request over one connection; the answer in full.
    async fn ask(address: SocketAddr) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        finish(&mut stream).await
    }

    async fn finish(stream: &mut TcpStream) -> io::Result<String> {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn is_answered(answer: &io::Result<String>) -> bool {
        answer
            .as_ref()
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"))
    }

    async fn kill_again_and_again(tree: Tree, kills: &AtomicU64) {
        let mut changes = tree.changes();
        loop {
            if tree.kill(ACCEPTOR).is_ok() {
                kills.fetch_add(1, Ordering::Relaxed);
            }
            changes.changed().await.expect("the tree lives as long as the test");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn killing_the_acceptor_refuses_and_resets_no_connection() {
        let served = serve_router(Router::new().route("/", get(|| async { "here" }))).await;
        let (address, kills) = (served.address, AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(async move {
                let mut failed = Vec::new();
                for _ in 0..REQUESTS_EACH {
                    let answer = ask(address).await;
                    if !is_answered(&answer) {
                        failed.push(answer);
                    }
                }
                failed
            });
        }

        let failed = tokio::select! {
            failed = tokio::time::timeout(SOON, clients.join_all()) => failed.expect("soon"),
            () = kill_again_and_again(served.root.tree(), &kills) => unreachable!("it never ends"),
        };

        let failed: Vec<_> = failed.into_iter().flatten().collect();
        assert!(failed.is_empty(), "{} of them: {:?}", failed.len(), failed.first());
        assert!(kills.load(Ordering::Relaxed) >= KILLS_MIN as u64, "{kills:?} kills prove nothing");
        served.root.stop().await;
    }

    #[tokio::test]
    async fn an_open_connection_does_not_notice_that_the_acceptor_dies() {
        let served = serve_router(Router::new().route("/", get(|| async { "here" }))).await;
        let mut stream = TcpStream::connect(served.address).await.expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("it reads");

        served.root.tree().kill(ACCEPTOR).expect("it is there");
        stream.write_all(b"host: x\r\nconnection: close\r\n\r\n").await.expect("it still reads");

        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it still answers");
        assert!(is_answered(&Ok(answer)));
        served.root.stop().await;
    }

    #[tokio::test]
    async fn what_is_under_way_when_the_server_stops_is_answered() {
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (inside, outside) = (Arc::clone(&entered), Arc::clone(&leave));
        let slow = get(move || async move {
            inside.notify_one();
            outside.notified().await;
            "here"
        });
        let served = serve_router(Router::new().route("/", slow)).await;
        let (address, tree) = (served.address, served.root.tree());
        let mut asking = JoinSet::new();
        asking.spawn(ask(address));
        entered.notified().await;

        let stopping = served.root.stop();
        let answering = async {
            // Only when the acceptor is gone is it certain that the stop has begun.
            let mut changes = tree.changes();
            while tree.find(ACCEPTOR).is_some_and(|node| node.status == Status::Running) {
                changes.changed().await.expect("the tree outlives its processes");
            }
            leave.notify_one();
            asking.join_next().await.expect("somebody asked").expect("and did not panic")
        };
        let (_, answer) = tokio::time::timeout(SOON, async { tokio::join!(stopping, answering) })
            .await
            .expect("both end soon");

        assert!(is_answered(&answer), "{answer:?}");
    }

    #[tokio::test]
    async fn idle_connections_do_not_hold_up_a_stop() {
        let served = serve_router(Router::new().route("/", get(|| async { "here" }))).await;
        let mut idle = TcpStream::connect(served.address).await.expect("it listens");
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
        let mut start = [0; 12];
        idle.read_exact(&mut start).await.expect("it answers");

        let stopped = tokio::time::timeout(SOON / 2, served.root.stop()).await;

        assert!(stopped.is_ok(), "it took longer than a client needs to go");
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.expect("closed in order, not reset");
    }

    /// Little time, and more than a machine under load takes for a line.
    fn impatient() -> Limits {
        Limits { headers_within: Duration::from_secs(1), ..Limits::default() }
    }

    /// What comes back over one connection for these bytes, until the server ends it.
    async fn told(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(bytes).await.expect("it reads");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
        read.expect("the server ends it soon").expect("in order, not by a reset");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn nobody_holds_a_connection_by_sending_slowly_or_nothing() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let served = serve_within(impatient(), router).await;

        let nothing = told(served.address, b"").await;
        let half = told(served.address, b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
        let idle = told(served.address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let next = ask(served.address).await;

        assert!(!nothing.contains("200") && !half.contains("200"), "{nothing} {half}");
        assert!(is_answered(&Ok(idle)), "it is answered first, and ended when nothing follows");
        assert!(is_answered(&next));
        served.root.stop().await;
    }

    #[tokio::test]
    async fn more_headers_than_anybody_needs_are_refused() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let served = serve_router(router).await;
        let many = "x-many: 1\r\n".repeat(200);
        let large = format!("x-large: {}\r\n", "y".repeat(80 * 1024));

        for headers in [many, large] {
            let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
            let answer = told(served.address, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
        assert!(is_answered(&ask(served.address).await));
        served.root.stop().await;
    }

    #[tokio::test]
    async fn a_taken_port_is_named_and_what_to_do() {
        let taken = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        let address = taken.local_addr().expect("it is bound");

        let refused = bind(address).expect_err("somebody listens there").to_string();

        assert!(refused.contains(&format!("port {}", address.port())), "{refused}");
        assert!(refused.contains("--listen"), "{refused}");
    }
}
