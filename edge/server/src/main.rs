//! `finnest`: one binary that serves the platform, brings its database up to date, and asks a
//! running platform from the command line.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use cli::{LogFormat, Request, Screen};
use platform::jobs::panics::note_panics;
use platform::otp::Clock;
use platform::{Catalog, DomainName};
use server::settings::{Settings, Source};
use tracing_subscriber::EnvFilter;

/// Returns freed memory sooner and takes less of it than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // The last thing a failing command says; whatever cannot be said any more is lost anyway.
        let _ = writeln!(io::stderr(), "finnest: {}", sentence(&error));
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let catalog = server::catalog()?;
    let request = match cli::parse(&catalog, std::env::args_os()) {
        Ok(request) => request,
        Err(error) => error.exit(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = match request {
        Request::Serve(options) => {
            log_as(&options.log, options.log_format)?;
            note_panics();
            runtime.block_on(server::serve::serve(&Settings::from(options), catalog))
        }
        Request::Cell(options) => {
            server::cell::log(&options.log)?;
            note_panics();
            runtime.block_on(server::cell::run(&options, catalog))
        }
        Request::Migrate(options) => runtime.block_on(migrate(&Source::from(options), &catalog)),
        Request::Verify(options) => runtime.block_on(server::audit::verify(&options)),
        Request::CheckProof(options) => server::audit::check_proof(&options),
        Request::Transfer(transfer) => runtime.block_on(server::transfer::run(&transfer)),
        Request::Remote(remote) => {
            let mut screen = Screen::standard(&remote.style);
            Ok(runtime.block_on(cli::run(&remote, &Clock::system(), &mut screen)).into())
        }
        Request::Completions(shell) => {
            cli::write_completions(&catalog, shell, &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    // A second Ctrl-C means at once: whatever still runs on a thread of its own is not waited for.
    runtime.shutdown_background();
    exit
}

/// What failed and why, each thing once: many errors already say what caused them.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        known if known.contains(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}

fn log_as(filter: &str, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let is_read_live = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_read_live)
        .with_writer(io::stderr);
    match format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.init(),
    }
    Ok(())
}

async fn migrate(source: &Source, catalog: &Catalog) -> Result<ExitCode> {
    let domains: Vec<DomainName> = catalog.domains().iter().map(platform::Domain::name).collect();
    let reached = source.reach().await?;
    let ran = platform::migrate(&reached.owner, &domains).await?;
    reached.leave().await;
    let mut out = io::stdout();
    for file in &ran {
        writeln!(out, "{file}")?;
    }
    match ran.len() {
        0 => writeln!(out, "the database is up to date")?,
        count => writeln!(out, "{count} migrations ran; the database is up to date")?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_that_was_told_already_is_not_told_again() {
        let told = anyhow!("permission denied").context("cannot create /x: permission denied");
        let untold = anyhow!("permission denied").context("cannot create /x");

        assert_eq!(sentence(&told), "cannot create /x: permission denied");
        assert_eq!(sentence(&untold), "cannot create /x: permission denied");
    }
}
