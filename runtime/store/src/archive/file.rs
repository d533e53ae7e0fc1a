//! The file of a month: written under another name, read back, and only then given its own.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kernel::{Digest, Position};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, Row};

use super::ArchiveError;
use crate::chained::{ChainedEvent, ChainedLines};
use crate::partition::Month;

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Lines compared with their seals at once.
const BATCH_LINES: usize = 5_000;

/// Where the file of a month lies.
pub(super) fn path_of(directory: &Path, month: Month) -> PathBuf {
    directory.join(format!("events-{month}.jsonl.gz"))
}

/// Where the digest of a file is written for `sha256sum --check`.
fn digest_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

pub(super) fn failed(file: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::File { file: file.to_owned(), source }
}

/// The digest of a file's bytes.
pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            read => hasher.update(&chunk[..read]),
        }
    }
}

/// Whether the file is there and has this digest.
pub(super) fn has_digest(path: &Path, sha256: Digest) -> bool {
    digest_of(path).is_ok_and(|found| found == sha256)
}

/// The lines of a file.
pub(super) fn lines_of(
    path: &Path,
) -> Result<ChainedLines<BufReader<GzDecoder<File>>>, ArchiveError> {
    let file = File::open(path).map_err(|source| failed(path, source))?;
    let reader = BufReader::with_capacity(CHUNK_BYTES, GzDecoder::new(file));
    Ok(ChainedLines::open(reader)?)
}

/// A file that is being written.
pub(super) struct Draft {
    path: PathBuf,
    part: PathBuf,
    encoder: GzEncoder<File>,
}

impl Draft {
    /// Begins a file, over whatever was left of an earlier attempt.
    pub(super) fn create(path: &Path) -> Result<Self, ArchiveError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
        }
        let file = File::create(&part).map_err(|source| failed(&part, source))?;
        let encoder = GzEncoder::new(file, Compression::default());
        Ok(Self { path: path.to_owned(), part, encoder })
    }

    /// Brings the last byte to the disk.
    pub(super) fn finish(self) -> Result<Written, ArchiveError> {
        let Self { path, part, encoder } = self;
        let synced = encoder.finish().and_then(|file| file.sync_all());
        let sha256 = synced.and_then(|()| digest_of(&part));
        let sha256 = sha256.map_err(|source| failed(&part, source))?;
        Ok(Written { path, part, sha256 })
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes)
    }

    /// Not passed on: the lines end in chunks, and a flush would cost compression.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file on the disk that has no name yet.
pub(super) struct Written {
    path: PathBuf,
    part: PathBuf,
    pub(super) sha256: Digest,
}

impl Written {
    /// Gives the file its name, in place of an older one, and writes its digest beside it.
    pub(super) fn keep(self) -> Result<(), ArchiveError> {
        let keep = || {
            fs::rename(&self.part, &self.path)?;
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let mut digest = File::create(digest_path(&self.path))?;
            writeln!(digest, "{}  {name}", self.sha256)?;
            digest.sync_all()?;
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        keep().map_err(|source| failed(&self.path, source))
    }
}

/// Reads a file back: every link must follow from its event, and be the one that was sealed.
pub(super) async fn read_back(
    written: &Written,
    connection: &mut PgConnection,
    month: Month,
    event_count: i64,
) -> Result<(), ArchiveError> {
    let mut lines = lines_of(&written.part)?;
    let (mut batch, mut count, mut position) = (Vec::new(), 0, Position::ORIGIN);
    while let Some(event) = lines.next_event()? {
        position = event.position;
        count += 1;
        batch.push(event);
        if batch.len() >= BATCH_LINES {
            compare(connection, month, &batch).await?;
            batch.clear();
        }
    }
    compare(connection, month, &batch).await?;
    if count != event_count {
        return Err(ArchiveError::Damaged { month, position });
    }
    Ok(())
}

/// The seals of `events` must be those in the database.
async fn compare(
    connection: &mut PgConnection,
    month: Month,
    events: &[ChainedEvent],
) -> Result<(), ArchiveError> {
    let damaged = sqlx::query(
        "select line.position
         from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bytea[], $6::bytea[],
                 $7::timestamptz[])
             as line (position, event_id, org_id, org_sequence, previous_hash, hash, inserted_at)
         left join events.seals as seal on seal.position = line.position
         where (seal.event_id, seal.org_id, seal.org_sequence, seal.previous_hash, seal.hash,
                 seal.inserted_at)
             is distinct from (line.event_id, line.org_id, line.org_sequence, line.previous_hash,
                 line.hash, line.inserted_at)
         order by line.position limit 1",
    )
    .bind(events.iter().map(|event| event.position.0).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.org_id).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.org_sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.previous_hash.0.to_vec()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.hash.0.to_vec()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.recorded_at).collect::<Vec<_>>())
    .fetch_optional(connection)
    .await?;
    match damaged {
        None => Ok(()),
        Some(row) => Err(ArchiveError::Damaged { month, position: Position(row.try_get(0)?) }),
    }
}
