//! Serving: start the tree, wait for a reason to stop, stop it in reverse order.

use std::io::IsTerminal as _;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use axum::Router;
pub use mcp::PublicHosts;
use platform::otp::{ChildSpec, Clock, ExitReason};
use platform::{
    Catalog, Config, Database, MakeRelay, Position, PublicUrl, Relay, Relayed, Security, System,
    TuningChange,
};
use socket::Sockets;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::listener::{Limits, Serving};
use crate::origins::WebOrigins;
use crate::peer::Proxies;
use crate::settings::Settings;
use crate::{audit, cell, demo, listener, secret};

/// Runs the platform until it is told to stop or gives up.
///
/// # Errors
/// A sentence that says what to do when it cannot start.
pub async fn serve(settings: &Settings, catalog: Catalog) -> Result<ExitCode> {
    let began = Instant::now();
    settings.check()?;
    let tuning = settings.tuning(&catalog)?;
    let address = settings.address()?;
    let hosts = PublicHosts::parse(&settings.public_hosts)?.reached_at(&address);
    let origins = WebOrigins::parse(&settings.web_origins)?;
    // Bound before anything else starts: a taken port costs a second to find out, not a minute.
    let bound = listener::bind(settings.listen)?;
    let mut signals = Signals::new()?;
    let demo = settings.demo;
    let proxies = Proxies::new(&settings.trusted_proxies);
    let database = settings.source.database().await?;
    let config = Config {
        security: security(settings, address, &database)?,
        signing: audit::signing(&settings.checkpoints, &database)?,
        database,
        tuning,
        page: settings.page(),
        clock: Clock::system(),
        node: settings.node.clone(),
        connections_max: settings.connections_max,
        wakes: settings.wakes,
        relay: settings.nats.as_ref().map(|url| relay_to(url.expose())),
        shelf: settings.shelf.clone(),
        cells: Some(cell::command(settings)?),
        edge: Box::new(move |system| {
            let mut children = edge(system, &bound, &proxies, &hosts, &origins);
            if demo {
                // Before the first request is answered: who finds the platform ready finds it all.
                children.insert(0, demo::child(system));
            }
            children
        }),
    };
    let system = tokio::select! {
        started = System::start(config, catalog) => {
            started.with_context(|| settings.cannot_start())?
        }
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    };
    announce(settings, began);
    let exited = loop {
        tokio::select! {
            reason = system.exited() => break Some(reason),
            asked = signals.next() => match asked {
                Asked::Stop => break None,
                Asked::Reload => reload(&system).await,
            },
        }
    };
    if let Some(reason) = exited {
        tracing::error!(%reason, "the tree has given up");
        return Ok(ExitCode::FAILURE);
    }
    stop(&system, &mut signals).await
}

/// Which rules of security hold, and the secret, which may lie beside the database.
fn security(settings: &Settings, address: PublicUrl, database: &Database) -> Result<Security> {
    let secret = secret::load(settings.secret_file.as_deref(), database)?;
    let passkeys = settings.passkeys()?;
    Ok(Security { profile: settings.profile, secret, address, passkeys })
}

/// Applies the edited supervision.toml; whoever sent the signal finds the outcome in the log.
async fn reload(system: &System) {
    match system.reload_supervision().await {
        Ok(reloaded) => {
            for TuningChange { table, key, before, after, effect } in reloaded.changes {
                tracing::info!(table, key, before, after, effect, "a key is different");
            }
        }
        Err(error) => tracing::error!(%error, "supervision.toml is not applied"),
    }
}

/// Stops in reverse order; a second signal ends at once.
async fn stop(system: &System, signals: &mut Signals) -> Result<ExitCode> {
    tracing::info!("stopping; once more Ctrl-C ends at once");
    tokio::select! {
        reason = system.stop() => {
            tracing::info!(%reason, "stopped");
            Ok(match reason {
                ExitReason::Shutdown | ExitReason::Normal => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            })
        }
        () = signals.stop() => {
            tracing::warn!("ended at once; what was under way is found again at the next start");
            Ok(ExitCode::from(130))
        }
    }
}

/// Passes events on to the NATS server at `url`, from the node that seals them.
fn relay_to(url: &str) -> MakeRelay {
    let url: Arc<str> = url.into();
    Box::new(move |system| {
        let nothing = Relayed { position: Position::ORIGIN, recorded_at: None };
        let (progress, relayed) = watch::channel(nothing);
        let log = system.log().clone();
        let relay = nats::relay::Relay {
            url,
            bus: system.bus().clone(),
            places: system.places(),
            is_turn: Arc::new(move || log.sealer_stats().counts().is_leader),
            on_relayed: Arc::new(move |position, recorded_at| {
                progress.send_replace(Relayed { position, recorded_at });
            }),
        };
        Relay { child: relay.child(), relayed }
    })
}

/// The surfaces behind one listener.
#[must_use]
pub fn edge(
    system: &System,
    bound: &TcpListener,
    proxies: &Proxies,
    hosts: &PublicHosts,
    origins: &WebOrigins,
) -> Vec<ChildSpec> {
    let page = system.clone();
    let sockets = Sockets::new()
        .draining(move || page.tuning().draining().into())
        .origins(origins.iter().map(str::to_owned));
    let hosts = hosts.clone().and_pages_of(origins.iter().map(str::to_owned));
    let router: Router = rest::router(system.clone())
        .merge(socket::router(system.clone(), &sockets))
        .merge(mcp::router(system, &hosts))
        .merge(console::router(system.clone(), system.secret().derive("console sessions")))
        .fallback(rest::nowhere);
    let router = origins.open(rest::guarded(router));
    let tuned = system.clone();
    let patience = move || tuned.tuning().section("edge").shutdown;
    // Stopped in reverse: nobody is let in any more, sockets are told to go, connections finish.
    let serving = Serving { router, proxies: proxies.clone(), limits: Limits::default() };
    let mut children = vec![listener::connections()];
    children.extend(socket::children(system, &sockets));
    children.push(listener::acceptor(bound, serving, patience));
    children
}

fn announce(settings: &Settings, began: Instant) {
    let ready_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(listen = %settings.listen, ready_ms, "ready");
    if !settings.demo {
        return;
    }
    let address = format!("http://{}", settings.listen);
    let mut text = format!(
        "\n  Finnest is ready at {address}\n\n  Open the console as the demo's operator:\n    \
         {address}/sign-in?token=demo-operator\n\n  Organisation  {}\n",
        demo::ORG_ID
    );
    for (name, role, token) in demo::USERS {
        let (role, email) = (role.name(), demo::email(name));
        let user = format!("  {name:<15} {role:<9} {email:<21} token and password {token}\n");
        text.push_str(&user);
    }
    text.push_str("\n  People sign in to the organisation acme with address and password.\n");
    text.push_str("\n  Ctrl-C stops it; the data stay.\n");
    #[allow(clippy::print_stderr, reason = "this is the greeting of a command, not a log")]
    {
        eprintln!("{text}");
    }
}

/// What a signal asks for.
enum Asked {
    Stop,
    Reload,
}

/// The signals that ask for something.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None on a terminal, where it means that the terminal is gone.
    hang_up: Option<Signal>,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
        let terminate =
            signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
        let hang_up = if std::io::stderr().is_terminal() {
            None
        } else {
            Some(signal(SignalKind::hangup()).context("SIGHUP cannot be listened for")?)
        };
        Ok(Self { interrupt, terminate, hang_up })
    }

    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    async fn next(&mut self) -> Asked {
        let hung_up = async {
            match &mut self.hang_up {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            () = hung_up => Asked::Reload,
        }
    }
}
