//! Lines: the log outside the database, one JSON object a line.
//!
//! A header, a line for every seal, a trailer. The trailer has the digest of all bytes before it,
//! so that a file which lost its end, or anything else, is recognised; the links in the lines tell
//! what was changed. `docs/event-format.md` describes the form for those who read it with other
//! programs.
//!
//! **Invariant:** what is written is what the tables hold, damaged or not. Nothing is repaired.

use std::collections::BTreeMap;
use std::io;

use kernel::{Digest, EventId, OrgId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Names the form of the lines.
pub(crate) const FORMAT: &str = "finnest.events.v1";

/// Bytes handed on at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The first line: what the file is about, and where the log stood when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) format: String,
    /// `all`, or the id of the one organisation.
    pub(crate) scope: String,
    pub(crate) exported_at_us: i64,
    /// The last position of the log.
    pub(crate) head: i64,
    /// The furthest position anybody remembers; beyond `head` if a tail was cut off.
    pub(crate) furthest_known: i64,
    /// The last link of every organisation in scope.
    pub(crate) organisations: BTreeMap<OrgId, HeadLine>,
    /// The first position asked for, if not everything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<i64>,
    /// The last position asked for, if not everything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<i64>,
    /// The month whose events these are, as `2019-03`, if only one was asked for. Its chains have
    /// gaps where the clock went to and fro between two months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) month: Option<String>,
}

/// The last link of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadLine {
    pub(crate) org_sequence: i64,
    pub(crate) hash: String,
}

/// A seal with its event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealLine {
    pub(crate) position: i64,
    pub(crate) org_id: OrgId,
    pub(crate) org_sequence: i64,
    pub(crate) event_id: EventId,
    #[serde(flatten)]
    pub(crate) facts: FactsLine,
    pub(crate) previous_hash: String,
    pub(crate) hash: String,
    /// The event is gone; all of its facts are null.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) missing: bool,
    /// The event is gone because its month is in a file of its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) archived: bool,
    /// What the event's row says where it contradicts the seal; its digest covers this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored_org_id: Option<OrgId>,
    /// As `stored_org_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored_event_id: Option<EventId>,
}

/// An event that must have a seal and has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StrandedLine {
    pub(crate) without_seal: bool,
    pub(crate) event_id: EventId,
    pub(crate) org_id: OrgId,
    #[serde(flatten)]
    pub(crate) facts: FactsLine,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FactsLine {
    pub(crate) domain: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) version: Option<i32>,
    pub(crate) aggregate_id: Option<Uuid>,
    pub(crate) recorded_at_us: Option<i64>,
    /// The canonical bytes, as text in text: they must survive as they are.
    pub(crate) payload: Option<String>,
    pub(crate) metadata: Option<String>,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trailer {
    pub(crate) end: bool,
    /// How many lines are before this one, the header among them.
    pub(crate) lines: u64,
    /// The digest of all bytes before this line.
    pub(crate) sha256: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Writes lines and takes their digest; holds one chunk in memory, whatever the log's size.
pub(crate) struct LineWriter<'a> {
    out: &'a mut (dyn io::Write + Send),
    buffer: Vec<u8>,
    hasher: Sha256,
    lines: u64,
    bytes: u64,
}

impl<'a> LineWriter<'a> {
    pub(crate) fn new(out: &'a mut (dyn io::Write + Send)) -> Self {
        let buffer = Vec::with_capacity(2 * CHUNK_BYTES);
        Self { out, buffer, hasher: Sha256::new(), lines: 0, bytes: 0 }
    }

    /// How many bytes were written so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes + self.buffer.len() as u64
    }

    pub(crate) fn write(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        self.lines += 1;
        if self.buffer.len() >= CHUNK_BYTES { self.hand_on() } else { Ok(()) }
    }

    /// Writes the trailer; answers how many lines are before it, and their digest.
    pub(crate) fn finish(mut self) -> io::Result<(u64, Digest)> {
        self.hand_on()?;
        let sha256 = Digest(self.hasher.finalize().into());
        let trailer = Trailer { end: true, lines: self.lines, sha256: sha256.to_string() };
        serde_json::to_writer(&mut *self.out, &trailer)?;
        self.out.write_all(b"\n")?;
        self.out.flush()?;
        Ok((self.lines, sha256))
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
