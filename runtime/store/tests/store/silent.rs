//! A leader that falls silent while its connection stays open, as a stopped process does.

use std::io;
use std::net::SocketAddr;

use kernel::{OrgId, Position};
use sqlx::postgres::PgConnectOptions;
use store::sealer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::database::{TestLog, leads, node, opened, supervise, within};

/// Connections that can be held still: open, but nothing goes through.
struct Line {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
}

impl Line {
    async fn to(server: PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let (is_open, opened) = watch::channel(true);
        go(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, opened) = (server.clone(), opened.clone());
                go(async move {
                    let path = server.get_socket().cloned();
                    let (host, port) = (server.get_host().to_owned(), server.get_port());
                    if let Some(path) = path {
                        let path = path.join(format!(".s.PGSQL.{port}"));
                        let server = UnixStream::connect(path).await.expect("it is there");
                        carry(client, server, opened).await;
                    } else {
                        let server = TcpStream::connect((host, port)).await;
                        carry(client, server.expect("it is there"), opened).await;
                    }
                });
            }
        });
        Self { address, is_open }
    }

    /// How the application connects through it.
    fn options(&self, app: &PgConnectOptions) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.address.port())
            .username(app.get_username())
            .ssl_mode(sqlx::postgres::PgSslMode::Disable);
        options.database(app.get_database().expect("a test has a database"))
    }

    fn hold_still(&self) {
        self.is_open.send_replace(false);
    }

    fn go_on(&self) {
        self.is_open.send_replace(true);
    }
}

#[expect(clippy::disallowed_methods, reason = "the line stands outside of what is tested")]
fn go(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

async fn carry(
    client: TcpStream,
    server: impl AsyncRead + AsyncWrite,
    is_open: watch::Receiver<bool>,
) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = tokio::io::split(server);
    tokio::select! {
        _ = pass(from_client, to_server, is_open.clone()) => {}
        _ = pass(from_server, to_client, is_open) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_open: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = [0; 4_096];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 || is_open.wait_for(|is_open| *is_open).await.is_err() {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}

#[tokio::test]
async fn a_standby_takes_over_from_a_leader_that_was_stopped_with_its_connection_open() {
    let log = TestLog::create().await;
    let line = Line::to(log.app_options()).await;
    let stopped = node(&line.options(&log.app_options())).await;
    let standby = log.another_node().await;
    let one = supervise([sealer::child(&stopped)]).await;
    leads(&stopped).await;
    let two = supervise([sealer::child(&standby)]).await;

    line.hold_still();
    log.record(&opened(OrgId::new(), 1)).await;
    within(standby.wait_until(Position(1))).await;
    line.go_on();
    log.record(&opened(OrgId::new(), 2)).await;
    within(standby.wait_until(Position(2))).await;
    within(stopped.wait_until(Position(2))).await;

    assert!(standby.sealer_stats().counts().is_leader);
    assert!(!stopped.sealer_stats().counts().is_leader);
    assert_eq!(stopped.sealer_stats().counts().sealed_events, 0);
    log.assert_holds().await;
    one.stop().await;
    two.stop().await;
}
