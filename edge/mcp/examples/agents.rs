//! A server for the official conformance suite: the surface as it is, with a domain whose tools
//! have the names the suite asks for.
//!
//! The suite shows no credential, so this program puts one into each request. It says on its first
//! line where it listens, and ends when it is told to.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use mcp::PublicHosts;
use platform::{
    Command, Domain, DomainName, Query, Reason, Refusal, Result, Role, Snapshot, Spec, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use testkit::ACME;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const TEST: DomainName = DomainName::new("test");

/// What a tool says.
#[derive(Debug, Serialize, JsonSchema)]
struct Said {
    /// In words.
    text: String,
}

/// Say something.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SimpleText {}

impl Query for SimpleText {
    const SPEC: Spec = Spec::read("simple_text", "/simple_text");
    type Output = Said;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Said> {
        Ok(Said { text: "This is a simple text response for testing.".to_owned() })
    }
}

/// Refuse.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ErrorHandling {}

#[derive(Debug, thiserror::Error)]
#[error("this tool intentionally returns an error for testing")]
struct Intended;

impl Refusal for Intended {
    fn reason(&self) -> Reason {
        Reason::conflict("intended")
    }
}

impl Command for ErrorHandling {
    const SPEC: Spec = Spec::invoke("error_handling", "/error_handling");
    type Output = ();

    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Err(Intended.into())
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let domain = Domain::new(TEST).query::<SimpleText>().command::<ErrorHandling>();
    let system = testkit::start([domain]).await;
    let token = system.member(ACME, Role::Staff).token().to_owned();
    let shown = HeaderValue::try_from(format!("Bearer {token}")).map_err(std::io::Error::other)?;
    let show = move |mut request: Request, next: Next| {
        request.headers_mut().insert(header::AUTHORIZATION, shown.clone());
        next.run(request)
    };
    let router = mcp::router(system.system(), &PublicHosts::default());
    let router = router.layer(middleware::from_fn(show));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "whoever started it waits for this line")]
    {
        println!("http://{}/mcp/{TEST}", listener.local_addr()?);
    }
    let mut told = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        _ = told.recv() => {}
    }
    system.stop().await;
    Ok(())
}
