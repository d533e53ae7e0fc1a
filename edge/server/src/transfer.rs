//! Transfer: `finnest events export` and its kin, done in the database itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cli::{MonthOrFile, Transfer, TransferTask};
use platform::Position;
use platform::otp::Clock;
use platform::store::Log;
use platform::store::archive::{self, Archived, Step};
use platform::store::export::{self, Exported, Selection};
use platform::store::import::{self, Reactions};

use crate::settings::Source;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Does what was asked.
///
/// # Errors
/// A sentence that says what is wrong with the file, or why the log refuses.
pub async fn run(transfer: &Transfer) -> Result<ExitCode> {
    if let TransferTask::Export { out: Some(path), force: false, .. } = &transfer.task
        && path.exists()
    {
        bail!("{} exists already; --force replaces it", path.display());
    }
    let reached = Source::from(transfer.database.clone()).reach().await?;
    let log = Log::new(reached.pool(), Clock::system());
    let mut meter = Meter::new();
    let done = perform(&transfer.task, &log, &mut meter).await;
    meter.clear();
    log.pool().close().await;
    reached.leave().await;
    for line in done? {
        tell(&line);
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers what to say of it.
async fn perform(task: &TransferTask, log: &Log, meter: &mut Meter) -> Result<Vec<String>> {
    match task {
        TransferTask::Export { org_id, from, to, out, .. } => {
            let selection = Selection {
                org_id: org_id.as_deref().map(str::parse).transpose()?,
                from: from.map(Position),
                to: to.map(Position),
            };
            export(log, &selection, out.as_deref(), meter).await
        }
        TransferTask::Import { file, runs_reactions } => {
            let reactions = if *runs_reactions { Reactions::Run } else { Reactions::Skip };
            import(log, file, reactions, meter).await
        }
        TransferTask::Archive { month, directory, retention_months } => {
            let directory = std::path::absolute(directory)?;
            let told = |step| meter.tell(|| moved(step));
            let archived =
                archive::archive(log, &directory, *month, *retention_months, told).await?;
            let Archived { month, file, sha256, event_count } = archived;
            let file = file.display();
            Ok(vec![format!("{event_count} events of {month} are in {file} now; sha256 {sha256}")])
        }
        TransferTask::Attach { what } => {
            let (month, file) = match what {
                MonthOrFile::Month(month) => (*month, None),
                MonthOrFile::File(file) => (archive::month_of(file)?, Some(file.as_path())),
            };
            let told = |step| meter.tell(|| moved(step));
            let attached = archive::attach(log, month, file, told).await?;
            Ok(vec![format!("{} events of {month} are at hand again", attached.event_count)])
        }
    }
}

fn moved(step: Step) -> String {
    match step {
        Step::Moved(events) => format!("{events} events"),
        Step::Written => "written".to_owned(),
        Step::ReadBack => "read back".to_owned(),
        Step::Named | Step::Recorded => "recorded".to_owned(),
    }
}

async fn export(
    log: &Log,
    selection: &Selection,
    out: Option<&Path>,
    meter: &mut Meter,
) -> Result<Vec<String>> {
    let told = |progress| {
        let export::Progress { events, bytes, position, end } = progress;
        let megabytes = bytes / 1_000_000;
        meter.tell(|| format!("{events} events, {megabytes} MB, at {position} of {end}"));
    };
    let now = log.clock().now();
    let exported = match out {
        Some(path) => {
            let mut draft = Draft::create(path)?;
            let exported = export::export(log.pool(), selection, now, &mut draft, told).await?;
            draft.keep()?;
            exported
        }
        None => export::export(log.pool(), selection, now, &mut io::stdout(), told).await?,
    };
    Ok(vec![sentence(&exported)])
}

async fn import(
    log: &Log,
    file: &Path,
    reactions: Reactions,
    meter: &mut Meter,
) -> Result<Vec<String>> {
    let told = |progress: import::Progress| {
        let doing = if progress.is_writing { "written" } else { "checked" };
        meter.tell(|| format!("{} lines {doing}", progress.lines));
    };
    let imported = import::import(log, file, reactions, told).await?;
    let Some((first, last)) = imported.positions else {
        return Ok(vec![
            "everything in the file was here already; nothing was imported".to_owned(),
        ]);
    };
    let count: u64 = imported.events.values().sum();
    let mut said = vec![format!("{count} events imported, at positions {first} to {last}")];
    for org_id in imported.events.keys() {
        let is_known: bool =
            sqlx::query_scalar("select exists (select from platform.organisations where id = $1)")
                .bind(org_id)
                .fetch_one(log.pool())
                .await?;
        if !is_known {
            said.push(format!(
                "organisation {org_id} has its events here now, but is not known itself: its \
                 name, users and tokens are no events and have to be made"
            ));
        }
    }
    Ok(said)
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
    fn create(path: &Path) -> Result<Self> {
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
