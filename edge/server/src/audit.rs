//! Auditing on this machine: verifying the log in the database itself, checking proofs, and what
//! `finnest serve` signs checkpoints with.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cli::{CheckpointOptions, Pace, ProofOptions, Screen, VerifyOptions};
use platform::kernel::OrgId;
use platform::operator::ChainReport;
use platform::otp::Clock;
use platform::store::checkpoint::keeper::Options;
use platform::store::checkpoint::{
    Body, Checkpoint, CheckpointStore, Directory, Key, Proof, PublicKey,
};
use platform::store::verify::{Break, Problem, Standing, Task, Verdict, verify_against, walk};
use platform::{Database, Position};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::s3::{Bucket, Credentials};
use crate::settings::Source;
use crate::transfer::Meter;

/// How often a walk that may be interrupted notes where it stands.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// A walk that was interrupted, as its file has it.
#[derive(Debug, Serialize, Deserialize)]
struct Interrupted {
    org_id: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    standing: Standing,
}

/// Verifies the log in the database itself.
///
/// # Errors
/// When a file or the log cannot be read; what is wrong with the log is the verdict.
pub async fn verify(options: &VerifyOptions) -> Result<ExitCode> {
    let org_id: Option<OrgId> = options.org_id.as_deref().map(str::parse).transpose()?;
    let checkpoints = checkpoints(&options.checkpoints, options.key.as_deref())?;
    let resume = interrupted(options)?;
    let task = Task {
        org_id,
        from: Position(options.from.unwrap_or(1)),
        to: options.to.map(Position),
        connections: usize::try_from(options.connections)?,
        resume,
    };
    let reached = Source::from(options.database.clone()).reach().await?;
    let pool = PgPoolOptions::new()
        .max_connections(options.connections + 1)
        .connect_lazy_with(reached.owner.clone());
    let verdict = walked(&pool, &task, options).await;
    let verdict = match verdict {
        Ok(verdict) => compared(&pool, &checkpoints, org_id, verdict).await,
        Err(error) => Err(error),
    };
    pool.close().await;
    reached.leave().await;
    let report = ChainReport::of(&verdict?);
    if let Some(file) = &options.resume {
        // It has come to its end, so there is nothing to go on with.
        let _ = fs::remove_file(file);
    }
    let mut screen = Screen::standard(&options.style);
    Ok(cli::tell_verdict(&report, &options.style, &mut screen).into())
}

async fn walked(pool: &PgPool, task: &Task, options: &VerifyOptions) -> Result<Verdict> {
    let began = Instant::now();
    let (mut noted_at, mut failed) = (Instant::now(), None);
    let before = task.resume.as_ref().map_or(0, |standing| standing.verdict.events);
    let mut meter = Meter::new();
    let verdict = walk(pool, task, |standing| {
        let pace = Pace {
            events: standing.verdict.events - before,
            position: standing.position.0,
            until: standing.until.0,
            elapsed: began.elapsed(),
        };
        meter.tell(|| pace.line());
        if noted_at.elapsed() >= NOTE_EVERY && failed.is_none() {
            noted_at = Instant::now();
            failed = note(options, standing).err();
        }
    })
    .await;
    meter.clear();
    match failed {
        Some(error) => Err(error),
        None => Ok(verdict?),
    }
}

/// Writes where the walk stands, whole or not at all.
fn note(options: &VerifyOptions, standing: &Standing) -> Result<()> {
    let Some(file) = &options.resume else { return Ok(()) };
    let state = Interrupted {
        org_id: options.org_id.clone(),
        from: options.from,
        to: options.to,
        standing: standing.clone(),
    };
    let part = file.with_extension("part");
    fs::write(&part, serde_json::to_vec(&state)?)
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("{} cannot be written", file.display()))
}

/// Where an earlier walk of the same kind stopped, if its file is there.
fn interrupted(options: &VerifyOptions) -> Result<Option<Standing>> {
    let Some(file) = options.resume.as_deref().filter(|file| file.exists()) else {
        return Ok(None);
    };
    let name = file.display();
    let state: Interrupted = serde_json::from_slice(&read(file)?)
        .with_context(|| format!("{name} is no state of a verification"))?;
    let Interrupted { org_id, from, to, standing } = state;
    if (&org_id, from, to) != (&options.org_id, options.from, options.to) {
        bail!(
            "{name} is of a verification of something else; give the same --org, --from and --to"
        );
    }
    let position = standing.position;
    let _ = writeln!(
        io::stderr(),
        "going on after position {position}; what lies before was verified earlier and is not \
         looked at again"
    );
    Ok(Some(standing))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The checkpoints in these files and directories, oldest first, each signed with `key`.
fn checkpoints(paths: &[PathBuf], key: Option<&str>) -> Result<Vec<(Body, Checkpoint)>> {
    let Some(key) = key else { return Ok(Vec::new()) };
    let key: PublicKey = key.parse()?;
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            let is_json = |path: &PathBuf| path.extension().is_some_and(|it| it == "json");
            files.extend(entries.into_iter().map(|entry| entry.path()).filter(is_json));
        } else {
            files.push(path.clone());
        }
    }
    let mut checkpoints = Vec::new();
    for file in files {
        let name = file.display();
        let checkpoint: Checkpoint = serde_json::from_slice(&read(&file)?)
            .with_context(|| format!("{name} is no checkpoint"))?;
        let body = checkpoint.body(&key).with_context(|| format!("{name} cannot be relied on"))?;
        checkpoints.push((body, checkpoint));
    }
    checkpoints.sort_by_key(|(body, _)| body.number);
    Ok(checkpoints)
}

/// Adds to the verdict each chain that is not what was signed, by the first checkpoint it differs
/// from.
async fn compared(
    pool: &PgPool,
    checkpoints: &[(Body, Checkpoint)],
    org_id: Option<OrgId>,
    mut verdict: Verdict,
) -> Result<Verdict> {
    let mut told = HashSet::new();
    for (body, checkpoint) in checkpoints {
        let heads: Vec<_> =
            checkpoint.heads.iter().filter(|head| !told.contains(&head.org_id)).copied().collect();
        let before = verdict.broken_count;
        verify_against(pool, body, &heads, org_id, &mut verdict).await?;
        if verdict.broken_count > before {
            let _ = writeln!(io::stderr(), "the log differs from checkpoint {}", body.number);
            let differs = |found: &&Break| found.problem == Problem::DiffersFromCheckpoint;
            told.extend(verdict.broken.iter().filter(differs).filter_map(|found| found.org_id));
        }
    }
    Ok(verdict)
}

/// Checks a proof with nothing but its file and a public key.
///
/// # Errors
/// When the file cannot be read; that nothing is proven is the verdict.
pub fn check_proof(options: &ProofOptions) -> Result<ExitCode> {
    let key: PublicKey = options.key.parse()?;
    let name = options.file.display();
    let proof: Proof = serde_json::from_slice(&read(&options.file)?)
        .with_context(|| format!("{name} is no proof"))?;
    let body = match proof.check(&key) {
        Ok(body) => body,
        Err(error) => {
            let why = anyhow::Error::from(error);
            writeln!(io::stdout(), "not proven: {why:#}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let event = &proof.event;
    writeln!(
        io::stdout(),
        "proven: event {} ({}.{}) is number {} of organisation {}, at position {}, as checkpoint \
         {} signed it",
        event.event_id,
        event.domain,
        event.event_type,
        event.org_sequence,
        event.org_id,
        event.position,
        body.number
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What `finnest serve` signs checkpoints with and where they go; none without a key.
///
/// # Errors
/// A sentence that says what to change.
pub fn signing(options: &CheckpointOptions, database: &Database) -> Result<Option<Options>> {
    let beside = match database {
        Database::Embedded(embedded) => Some(embedded.base_dir().join("checkpoint.key")),
        Database::External { .. } => None,
    };
    let places = places(options)?;
    let Some(file) = options.checkpoint_key.clone().or(beside) else {
        if !places.is_empty() {
            bail!(
                "checkpoints cannot be exported without a key to sign them; set --checkpoint-key"
            );
        }
        tracing::warn!("no checkpoints are signed: FINNEST_CHECKPOINT_KEY names no file for a key");
        return Ok(None);
    };
    let key = Key::load_or_make(&file)?;
    tracing::info!(public_key = %key.public(), key = %file.display(), "checkpoints are signed");
    let interval = Duration::from_secs(options.checkpoint_interval);
    Ok(Some(Options { key, interval, places }))
}

fn places(options: &CheckpointOptions) -> Result<Vec<Arc<dyn CheckpointStore>>> {
    let mut places: Vec<Arc<dyn CheckpointStore>> = Vec::new();
    if let Some(directory) = &options.checkpoint_dir {
        places.push(Arc::new(Directory::new(std::path::absolute(directory)?)));
    }
    if let Some(address) = &options.checkpoint_s3 {
        let (Some(id), Some(secret)) = (&options.s3_access_key_id, &options.s3_secret_access_key)
        else {
            bail!("--checkpoint-s3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        };
        let credentials = Credentials {
            access_key_id: id.clone(),
            secret_access_key: secret.expose().to_owned(),
        };
        let retention = Duration::from_hours(24 * u64::from(options.checkpoint_retention_days));
        let (region, clock) = (&options.s3_region, Clock::system());
        places.push(Arc::new(Bucket::new(address, region, credentials, retention, clock)?));
    }
    Ok(places)
}
