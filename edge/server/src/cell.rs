//! Cells: how the platform runs this binary once more for one domain, and what that process does.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use cli::CellOptions;
use platform::cell::{CellConfig, MakeCell};
use platform::otp::process::{OsProcessSpec, Stream};
use platform::otp::{Clock, ExitReason};
use platform::{Catalog, DomainName};
use tracing_subscriber::EnvFilter;

use crate::serve::Signals;
use crate::settings::{self, Settings};

/// How to run the cell of any domain: the program that runs now, told which.
///
/// # Errors
/// When the system does not tell where that program is.
pub fn command(settings: &Settings) -> Result<MakeCell> {
    let program = std::env::current_exe().context("the program of cells cannot be found")?;
    let (config, log) = (settings.supervision.clone(), settings.log.clone());
    Ok(std::sync::Arc::new(move |domain: DomainName| {
        OsProcessSpec::new(&program)
            .args(["cell", domain.as_str(), "--log", &log, "--config"])
            .args([config.as_os_str()])
            // It finds what it needs on its socket, and is nobody's client.
            .without_env(["DATABASE_URL", "FINNEST_TOKEN"])
            .on_line(move |stream, line| relay(domain, stream, line))
    }))
}

/// Says in the platform's log what a cell says, at the level it was said.
fn relay(domain: DomainName, stream: Stream, line: &str) {
    let (level, said) = line.trim_start().split_once(' ').unwrap_or(("", line));
    match (level, stream) {
        ("TRACE", _) => tracing::trace!(%domain, "{said}"),
        ("DEBUG", _) => tracing::debug!(%domain, "{said}"),
        ("INFO", _) => tracing::info!(%domain, "{said}"),
        ("WARN", _) => tracing::warn!(%domain, "{said}"),
        ("ERROR", _) => tracing::error!(%domain, "{said}"),
        // What is not said through the log is a last word: of a panic, an overflow, an abort.
        (_, Stream::Err) => tracing::warn!(%domain, "{line}"),
        (_, Stream::Out) => tracing::debug!(%domain, "{line}"),
    }
}

/// Logs as the platform expects it of a cell: one line each, the level first. The platform knows
/// the time.
///
/// # Errors
/// When the filter is none.
pub fn log(filter: &str) -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_ansi(false)
        .without_time()
        .with_writer(|| LastWords(io::stderr()))
        .init();
    Ok(())
}

/// Standard error that may have nobody at its other end. That is no reason to fail: whoever cannot
/// log the end of the platform still has to tidy up after it.
struct LastWords(io::Stderr);

impl io::Write for LastWords {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs one domain for the platform at the other end of the standard input.
///
/// # Errors
/// A sentence that says why it cannot.
pub async fn run(options: &CellOptions, catalog: Catalog) -> Result<ExitCode> {
    let socket = socket().context(
        "a cell is started by the platform, for a domain with `placement = \"process\"`; run \
         `finnest serve`",
    )?;
    let domain = catalog.domain(&options.domain).map(platform::Domain::name);
    let domain = domain.with_context(|| format!("there is no domain `{}`", options.domain))?;
    let tuning = settings::tuning(&options.config, &catalog)?;
    let mut signals = Signals::new()?;
    let config =
        CellConfig { domain, tuning, page: options.config.clone(), clock: Clock::system(), socket };
    let reason = platform::cell::serve(config, catalog, signals.stop()).await?;
    tracing::debug!(%reason, "stopped");
    Ok(match reason {
        ExitReason::Shutdown | ExitReason::Normal => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The standard input, which must be a socket.
fn socket() -> io::Result<tokio::net::UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}
