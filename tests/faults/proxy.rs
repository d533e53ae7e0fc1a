//! A proxy between clients and the server that can be told to misbehave.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::random::Random;

/// The name of the server's socket.
const SOCKET: &str = ".s.PGSQL.5432";
/// A connection that is cut lives for so many bytes at most, of both directions together.
const BYTES_MAX: u64 = 20_000;

/// How the proxy behaves; it may be changed at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// It passes everything on.
    Pass,
    /// It cuts each connection after a number of bytes that chance decides, mostly in the middle of
    /// a message.
    Cut,
    /// It takes everything and passes nothing on; nobody is told.
    Hold,
    /// It passes everything on late, by a time that chance decides.
    Delay,
}

/// A running proxy; it ends when it is dropped.
pub(crate) struct Proxy {
    folder: PathBuf,
    conduct: watch::Sender<Conduct>,
    cuts: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in `folder` that passes everything on to the server whose socket is in `server`.
    pub(crate) fn start(folder: PathBuf, server: &Path, random: &mut Random) -> Self {
        std::fs::create_dir_all(&folder).expect("anybody may write there");
        let listener = UnixListener::bind(folder.join(SOCKET)).expect("nobody listens there");
        let (conduct, watching) = watch::channel(Conduct::Pass);
        let cuts = Arc::new(AtomicU64::new(0));
        let lines = Lines {
            server: server.join(SOCKET),
            conduct: watching,
            random: Mutex::new(Random::new(random.next())),
            cuts: Arc::clone(&cuts),
        };
        #[expect(clippy::disallowed_methods, reason = "the network is not part of our tree")]
        let serving = tokio::spawn(serve(listener, Arc::new(lines)));
        Self { folder, conduct, cuts, serving }
    }

    /// What connects as `options` do, but through the proxy.
    pub(crate) fn options(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().socket(&self.folder)
    }

    /// From now on it behaves like this.
    pub(crate) fn behave(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }

    /// How many connections it has cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What all connections have in common.
struct Lines {
    server: PathBuf,
    conduct: watch::Receiver<Conduct>,
    random: Mutex<Random>,
    cuts: Arc<AtomicU64>,
}

async fn serve(listener: UnixListener, lines: Arc<Lines>) {
    // Connections end with the proxy.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let lines = Arc::clone(&lines);
        connections.spawn(async move {
            // How a connection ends is the business of those who talk over it.
            let _ = lines.connect(client).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Lines {
    /// One connection, until either end or the proxy closes it.
    async fn connect(&self, client: UnixStream) -> io::Result<()> {
        let server = UnixStream::connect(&self.server).await?;
        let left = AtomicU64::new(self.random().within(1..BYTES_MAX));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = self.pump(from_client, to_server, &left) => ended,
            ended = self.pump(from_server, to_client, &left) => ended,
        }
    }

    async fn pump(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        left: &AtomicU64,
    ) -> io::Result<()> {
        let mut conduct = self.conduct.clone();
        let mut buffer = vec![0; 8_192];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            // Cannot fail: the sender lives as long as the proxy, and the proxy longer than this.
            let _ = conduct.wait_for(|conduct| *conduct != Conduct::Hold).await;
            let behaves = *conduct.borrow();
            if behaves == Conduct::Delay {
                let late = self.random().micros(0..20_000);
                tokio::time::sleep(late).await;
            }
            let passed = if behaves == Conduct::Cut { take(left, read) } else { read };
            to.write_all(&buffer[..passed]).await?;
            if passed < read {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    fn random(&self) -> std::sync::MutexGuard<'_, Random> {
        self.random.lock().expect("no holder panics")
    }
}

/// How many of `wanted` bytes may still be passed on.
fn take(left: &AtomicU64, wanted: usize) -> usize {
    let rest = usize::try_from(left.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    let taken = wanted.min(rest);
    left.fetch_sub(taken as u64, Ordering::Relaxed);
    taken
}
