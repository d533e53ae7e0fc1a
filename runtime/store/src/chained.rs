//! Chained lines: a file of the log read back, and believed only as far as it can be checked.
//!
//! Whatever takes events out of a file reads it through here: each link must follow from its event,
//! each event from the one before it in its chain, and the trailer from all lines before it.
//!
//! **Invariant:** a line is handed out only after its own link was checked; a file is whole only
//! once its trailer was.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};

use kernel::{
    Digest, EventId, Link, OrgId, Position, SealedFacts, Timestamp, event_digest, next_link,
};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::line::{FORMAT, Header, SealLine, StrandedLine, Trailer};

/// The longest line in bytes: a payload of 256 KiB, written with six bytes for each, and metadata.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file is not what it should be; nothing was taken out of it.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadLine {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// What can be wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// The file cannot be read, or not be uncompressed.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The first line is no header of a form that is known.
    #[error("this is no header of `{FORMAT}`")]
    NoHeader,
    /// The line has no meaning.
    #[error("this is no line of an export: {0}")]
    Meaningless(#[from] serde_json::Error),
    /// The line is longer than any event.
    #[error("a line has at most {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// The last line is missing.
    #[error("the file ends here without its last line: it was cut off")]
    CutOff,
    /// The lines before the trailer are not those it was written for.
    #[error("this trailer belongs to other lines: the file was changed or damaged")]
    OtherLines,
    /// Something follows the trailer.
    #[error("something follows the last line")]
    AfterTheEnd,
    /// The export was taken where the event was not at hand.
    #[error("event {0} is not in the file: its month was archived, or it was lost")]
    Missing(EventId),
    /// The log that was exported is damaged.
    #[error("event {0} has no seal: the log that was exported is damaged")]
    WithoutSeal(EventId),
    /// The log that was exported is damaged.
    #[error("event {0} contradicts its seal: the log that was exported is damaged")]
    Contradiction(EventId),
    /// A fact of the event is missing or out of range.
    #[error("event {0} is incomplete")]
    Incomplete(EventId),
    /// The link does not follow from the event.
    #[error("event {0} is not what was sealed: its link does not follow from it")]
    HashMismatch(EventId),
    /// The event does not follow the one before it in its chain.
    #[error(
        "event {org_sequence} of organisation {org_id} does not follow the one before it \
         in the file"
    )]
    PreviousMismatch {
        /// Whose chain.
        org_id: OrgId,
        /// The number in it.
        org_sequence: i64,
    },
    /// Positions must grow.
    #[error("position {0} does not come after the one before it")]
    OutOfOrder(i64),
    /// The header promises more than the lines hold.
    #[error("the file has no event {org_sequence} of organisation {org_id}, as its header says")]
    HeadNotReached {
        /// Whose chain.
        org_id: OrgId,
        /// The number the header names.
        org_sequence: i64,
    },
}

/// An event out of a file, its link checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainedEvent {
    pub(crate) line: u64,
    pub(crate) position: Position,
    pub(crate) org_id: OrgId,
    pub(crate) org_sequence: i64,
    pub(crate) event_id: EventId,
    pub(crate) domain: String,
    pub(crate) event_type: String,
    pub(crate) version: u16,
    pub(crate) aggregate_id: Option<Uuid>,
    pub(crate) recorded_at: Timestamp,
    pub(crate) payload: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) previous_hash: Link,
    pub(crate) hash: Link,
}

/// What a file holds of one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) first_sequence: i64,
    pub(crate) last_sequence: i64,
    pub(crate) last: Link,
}

/// Reads a file event by event.
pub(crate) struct ChainedLines<R> {
    reader: R,
    hasher: Sha256,
    line: u64,
    position: i64,
    header: Header,
    parts: BTreeMap<OrgId, Part>,
    sha256: Option<Digest>,
}

impl<R: BufRead> ChainedLines<R> {
    /// Reads the header.
    pub(crate) fn open(reader: R) -> Result<Self, BadLine> {
        let header = Header {
            format: String::new(),
            scope: String::new(),
            exported_at_us: 0,
            head: 0,
            furthest_known: 0,
            organisations: BTreeMap::new(),
            from: None,
            to: None,
            month: None,
        };
        let mut lines = Self {
            reader,
            hasher: Sha256::new(),
            line: 0,
            position: 0,
            header,
            parts: BTreeMap::new(),
            sha256: None,
        };
        let first = lines.read_line()?.ok_or_else(|| lines.bad(LineProblem::NoHeader))?;
        lines.header = serde_json::from_slice(&first)
            .ok()
            .filter(|header: &Header| header.format == FORMAT)
            .ok_or_else(|| lines.bad(LineProblem::NoHeader))?;
        lines.hasher.update(&first);
        Ok(lines)
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// What was read of each chain so far.
    pub(crate) const fn parts(&self) -> &BTreeMap<OrgId, Part> {
        &self.parts
    }

    /// The digest of all lines, once the trailer was read.
    pub(crate) const fn sha256(&self) -> Option<Digest> {
        self.sha256
    }

    /// The next event; `None` once the trailer was read and holds.
    pub(crate) fn next_event(&mut self) -> Result<Option<ChainedEvent>, BadLine> {
        let bytes = self.read_line()?.ok_or_else(|| self.bad(LineProblem::CutOff))?;
        let line: SealLine = match serde_json::from_slice(&bytes) {
            Ok(line) => line,
            Err(error) => {
                let Some(trailer) = parsed::<Trailer>(&bytes) else {
                    let stranded = parsed::<StrandedLine>(&bytes);
                    return Err(self.bad(match stranded {
                        Some(stranded) => LineProblem::WithoutSeal(stranded.event_id),
                        // Half a line at the end of the file is the end of half a file.
                        None if !bytes.ends_with(b"\n") => LineProblem::CutOff,
                        None => error.into(),
                    }));
                };
                self.finish(&trailer)?;
                return Ok(None);
            }
        };
        self.hasher.update(&bytes);
        let event = checked(self.line, line).map_err(|problem| self.bad(problem))?;
        self.follow(&event).map_err(|problem| self.bad(problem))?;
        Ok(Some(event))
    }

    /// Checks that the event comes after what was read before it.
    fn follow(&mut self, event: &ChainedEvent) -> Result<(), LineProblem> {
        if event.position.0 <= self.position {
            return Err(LineProblem::OutOfOrder(event.position.0));
        }
        self.position = event.position.0;
        let ChainedEvent { org_id, org_sequence, hash, .. } = *event;
        // What comes before the first event of a part of the log is known to whoever takes it in.
        let begins_later = org_sequence > 1 && self.header.from.is_some();
        let follows = match self.parts.get(&org_id) {
            Some(part) if org_sequence == part.last_sequence + 1 => {
                event.previous_hash == part.last
            }
            Some(part) => self.header.month.is_some() && org_sequence > part.last_sequence,
            None => begins_later || (org_sequence == 1 && event.previous_hash == Digest::GENESIS),
        };
        if !follows {
            return Err(LineProblem::PreviousMismatch { org_id, org_sequence });
        }
        let part = Part { first_sequence: org_sequence, last_sequence: org_sequence, last: hash };
        let part = self.parts.entry(org_id).or_insert(part);
        (part.last_sequence, part.last) = (org_sequence, hash);
        Ok(())
    }

    fn finish(&mut self, trailer: &Trailer) -> Result<(), BadLine> {
        let sha256 = Digest(self.hasher.clone().finalize().into());
        if !trailer.end || trailer.lines != self.line - 1 || trailer.sha256 != sha256.to_string() {
            return Err(self.bad(LineProblem::OtherLines));
        }
        if self.header.from.is_none() && self.header.to.is_none() {
            let reached = |org_id, head: &crate::line::HeadLine| {
                self.parts.get(org_id).is_some_and(|part: &Part| {
                    part.last_sequence == head.org_sequence && part.last.to_string() == head.hash
                })
            };
            let missed = self.header.organisations.iter().find(|(id, head)| !reached(*id, head));
            if let Some((org_id, head)) = missed {
                let (org_id, org_sequence) = (*org_id, head.org_sequence);
                return Err(self.bad(LineProblem::HeadNotReached { org_id, org_sequence }));
            }
        }
        if self.read_line()?.is_some() {
            return Err(self.bad(LineProblem::AfterTheEnd));
        }
        self.sha256 = Some(sha256);
        Ok(())
    }

    /// The next line with its end; `None` at the end of the file.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>, BadLine> {
        self.line += 1;
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
        match read {
            Err(error) => Err(self.bad(error.into())),
            Ok(0) => Ok(None),
            Ok(read) if read as u64 > LINE_BYTES_MAX => Err(self.bad(LineProblem::TooLong)),
            Ok(_) => Ok(Some(bytes)),
        }
    }

    fn bad(&self, problem: LineProblem) -> BadLine {
        BadLine { line: self.line, problem }
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// The event of a line, if its link follows from it.
fn checked(number: u64, line: SealLine) -> Result<ChainedEvent, LineProblem> {
    let event_id = line.event_id;
    if line.missing {
        return Err(LineProblem::Missing(event_id));
    }
    if line.stored_event_id.is_some() || line.stored_org_id.is_some() {
        return Err(LineProblem::Contradiction(event_id));
    }
    let event = complete(number, line).ok_or(LineProblem::Incomplete(event_id))?;
    let digest = event_digest(&SealedFacts {
        event_id,
        org_id: event.org_id,
        domain: &event.domain,
        event_type: &event.event_type,
        version: event.version,
        aggregate_id: event.aggregate_id,
        payload: &event.payload,
        metadata: &event.metadata,
        recorded_at: event.recorded_at,
    });
    if next_link(&event.previous_hash, &digest) != event.hash {
        return Err(LineProblem::HashMismatch(event_id));
    }
    Ok(event)
}

fn complete(number: u64, line: SealLine) -> Option<ChainedEvent> {
    let facts = line.facts;
    Some(ChainedEvent {
        line: number,
        position: Position(line.position),
        org_id: line.org_id,
        org_sequence: line.org_sequence,
        event_id: line.event_id,
        domain: facts.domain?,
        event_type: facts.event_type?,
        version: u16::try_from(facts.version?).ok()?,
        aggregate_id: facts.aggregate_id,
        recorded_at: Timestamp::from_timestamp_micros(facts.recorded_at_us?)?,
        payload: facts.payload?.into_bytes(),
        metadata: facts.metadata?.into_bytes(),
        previous_hash: line.previous_hash.parse().ok()?,
        hash: line.hash.parse().ok()?,
    })
}
