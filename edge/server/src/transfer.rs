//! Transfer: `finnest events export` and its kin, done in the database itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cli::ExportOptions;
use platform::otp::Clock;
use platform::store::export::{self, Exported, Selection};
use platform::{Position, store};

use crate::settings::Source;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Writes the log to a file, or to standard output.
///
/// # Errors
/// When the file exists already, cannot be written, or the log cannot be read.
pub async fn export(options: &ExportOptions) -> Result<ExitCode> {
    let selection = Selection {
        org_id: options.org_id.as_deref().map(str::parse).transpose()?,
        from: options.from.map(Position),
        to: options.to.map(Position),
    };
    let source = Source::from(options.database.clone());
    let exported = match &options.out {
        Some(path) => {
            let mut draft = Draft::create(path, options.force)?;
            let exported = write(&source, &selection, &mut draft).await?;
            draft.keep()?;
            exported
        }
        None => write(&source, &selection, &mut io::stdout()).await?,
    };
    tell(&sentence(&exported));
    Ok(ExitCode::SUCCESS)
}

async fn write(
    source: &Source,
    selection: &Selection,
    out: &mut (dyn Write + Send),
) -> Result<Exported> {
    let reached = source.reach().await?;
    let pool = reached.pool();
    let mut meter = Meter::new();
    let exported = export::export(&pool, selection, Clock::system().now(), out, |progress| {
        let store::export::Progress { events, bytes, position, end } = progress;
        let megabytes = bytes / 1_000_000;
        meter.tell(|| format!("{events} events, {megabytes} MB, at {position} of {end}"));
    })
    .await;
    meter.clear();
    pool.close().await;
    reached.leave().await;
    Ok(exported?)
}

fn sentence(exported: &Exported) -> String {
    let Exported { head, events, missing, without_seal, sha256, .. } = exported;
    let gone = match missing {
        0 => String::new(),
        _ => format!("; {missing} of them without their content: archived, or gone"),
    };
    let stranded = match without_seal {
        0 => String::new(),
        _ => format!("; {without_seal} events have no seal: see `finnest verify`"),
    };
    format!("{events} events exported; the log is at {head}; sha256 {sha256}{gone}{stranded}")
}

/// A file that has its name only when it is whole.
struct Draft {
    file: File,
    /// What it is called until then.
    part: PathBuf,
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    fn create(path: &Path, may_replace: bool) -> Result<Self> {
        if path.exists() && !may_replace {
            bail!("{} exists already; --force replaces it", path.display());
        }
        let mut name = path.file_name().context("the file needs a name")?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)
            .with_context(|| format!("{} cannot be written", part.display()))?;
        Ok(Self { file, part, path: path.to_owned(), is_kept: false })
    }

    /// Gives the file its name, once its bytes are on the disk.
    fn keep(mut self) -> Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.path)
            .with_context(|| format!("{} cannot be written", self.path.display()))?;
        self.is_kept = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is left over does nobody harm; its name says that it is a part.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Says on standard error how far something has come, now and then.
pub(crate) struct Meter {
    told_at: Instant,
    is_terminal: bool,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { told_at: Instant::now(), is_terminal: io::stderr().is_terminal() }
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.told_at.elapsed() < TELL_EVERY {
            return;
        }
        self.told_at = Instant::now();
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\u{1b}[K{}", line());
        } else {
            tell(&line());
        }
    }

    pub(crate) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// A standard error that is gone hears nothing.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
