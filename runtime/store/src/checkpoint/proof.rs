//! Proofs of inclusion: one event is in the log, shown without any other event or organisation.

use kernel::merkle::{self, Frontier};
use kernel::{
    Digest, EventId, Link, OrgId, Position, SealedFacts, Timestamp, event_digest, next_link,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::table::{self, Listed};
use super::{Body, Head, PublicKey, Signed, Untrusted, hex};
use crate::sealed::digest;

/// Names the form, so that a later one is not taken for this.
const FORM: &str = "finnest.proof.v1";
/// Links read at once.
const BATCH_LINKS: i64 = 20_000;

/// Proves to somebody who holds a checkpoint that one event is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// The signed statement it stands on.
    pub checkpoint: Signed,
    /// The event.
    pub event: ProvenEvent,
    /// From the event to the root of its organisation, 64 hexadecimal digits each.
    pub event_path: Vec<String>,
    /// The name of this form.
    pub format: String,
    /// Where the chain of the organisation ended at the checkpoint.
    pub head: Head,
    /// Which of the organisations it is, from 0, by their ids.
    pub head_index: u64,
    /// From the organisation to the root of the checkpoint.
    pub head_path: Vec<String>,
}

/// A line of an export: the event with its seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProvenEvent {
    /// Place in the order of everything.
    pub position: Position,
    /// Whose event it is.
    pub org_id: OrgId,
    /// Its number within the organisation.
    pub org_sequence: i64,
    /// Its identity.
    pub event_id: EventId,
    /// The domain that recorded it.
    pub domain: String,
    /// Its type.
    pub event_type: String,
    /// The version of its payload's shape.
    pub version: u16,
    /// The aggregate it is about, if any.
    pub aggregate_id: Option<Uuid>,
    /// When it was recorded, in microseconds since 1970.
    pub recorded_at_us: i64,
    /// The fact, as canonical JSON.
    pub payload: String,
    /// Its origin, as canonical JSON.
    pub metadata: String,
    /// The link before it.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub previous_hash: Link,
    /// Its own link.
    #[serde(with = "hex")]
    #[schemars(with = "String")]
    pub hash: Link,
}

/// An event is not proven.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Postgres refused or could not be reached.
    #[error("could not read the log")]
    Database(#[from] sqlx::Error),
    /// There is no sealed event of this id.
    #[error("no event {0} is sealed")]
    Unknown(EventId),
    /// Its content lies in the archive.
    #[error("event {0} is sealed, but not in the log: its month may be archived")]
    Missing(EventId),
    /// No checkpoint covers it yet.
    #[error("no checkpoint covers position {0} yet; the next one will")]
    NotCovered(Position),
    /// The log is not what the checkpoint says.
    #[error("the log no longer fits checkpoint {0}; run `finnest verify`")]
    Unfitting(i64),
    /// What is proven is of another form.
    #[error("this is no proof of the form {FORM}")]
    Form,
    /// Its link does not follow from the event.
    #[error("the event is not the one that was sealed")]
    Event,
    /// The path does not lead to the root of its organisation.
    #[error("the event is not in the tree of its organisation")]
    NotInOrganisation,
    /// The path does not lead to the root of the checkpoint.
    #[error("the organisation is not in the checkpoint")]
    NotInCheckpoint,
    /// The checkpoint itself.
    #[error("the checkpoint of the proof cannot be relied on")]
    Untrusted(#[from] Untrusted),
}

/// Proves that the event is covered by the first checkpoint after it.
///
/// Reads the links of its organisation up to that checkpoint, and the heads of all organisations.
///
/// # Errors
/// [`ProofError`].
pub async fn prove(connection: &mut PgConnection, event_id: EventId) -> Result<Proof, ProofError> {
    let event = event(connection, event_id).await?;
    let Listed { body, signed, .. } = table::covering(connection, event.position)
        .await?
        .ok_or(ProofError::NotCovered(event.position))?;
    let unfitting = || ProofError::Unfitting(body.number);
    let heads = table::heads(connection, body.number).await?;
    let at =
        heads.binary_search_by_key(&event.org_id, |head| head.org_id).map_err(|_| unfitting())?;
    let (head, head_index) = (heads[at], at as u64);
    let tree = tree_of(connection, &event, head.org_sequence).await?;
    let mut top = Frontier::following(head_index);
    for head in &heads {
        top.push(head.leaf());
    }
    let (event_path, head_path) = tree.path().zip(top.path()).ok_or_else(unfitting)?;
    if tree.root() != head.root || top.root() != body.root {
        return Err(unfitting());
    }
    let digits = |path: Vec<Digest>| path.iter().map(ToString::to_string).collect();
    Ok(Proof {
        checkpoint: signed,
        event,
        event_path: digits(event_path),
        format: FORM.to_owned(),
        head,
        head_index,
        head_path: digits(head_path),
    })
}

async fn event(
    connection: &mut PgConnection,
    event_id: EventId,
) -> Result<ProvenEvent, ProofError> {
    let row = sqlx::query(
        "select seal.position, seal.org_id, seal.org_sequence, seal.previous_hash, seal.hash,
             event.id, event.domain, event.event_type, event.version, event.aggregate_id,
             event.payload, event.metadata, event.inserted_at
         from events.seals as seal
         left join events.domain_events as event
             on event.arrival = seal.arrival and event.inserted_at = seal.inserted_at
         where seal.event_id = $1",
    )
    .bind(event_id)
    .fetch_optional(connection)
    .await?
    .ok_or(ProofError::Unknown(event_id))?;
    if row.try_get::<Option<Uuid>, _>("id")?.is_none() {
        return Err(ProofError::Missing(event_id));
    }
    let version: i32 = row.try_get("version")?;
    let text = |column| -> Result<String, ProofError> {
        String::from_utf8(row.try_get(column)?).map_err(|_| ProofError::Event)
    };
    let recorded_at: Timestamp = row.try_get("inserted_at")?;
    let event = ProvenEvent {
        position: Position(row.try_get("position")?),
        org_id: row.try_get("org_id")?,
        org_sequence: row.try_get("org_sequence")?,
        event_id,
        domain: row.try_get("domain")?,
        event_type: row.try_get("event_type")?,
        version: u16::try_from(version).map_err(|_| ProofError::Event)?,
        aggregate_id: row.try_get("aggregate_id")?,
        recorded_at_us: recorded_at.timestamp_micros(),
        payload: text("payload")?,
        metadata: text("metadata")?,
        previous_hash: digest(&row, "previous_hash")?,
        hash: digest(&row, "hash")?,
    };
    if event.link() == Some(event.hash) { Ok(event) } else { Err(ProofError::Event) }
}

/// The tree over the first `size` links of the event's organisation, following the event.
async fn tree_of(
    connection: &mut PgConnection,
    event: &ProvenEvent,
    size: i64,
) -> Result<Frontier, sqlx::Error> {
    let mut tree = Frontier::following(u64::try_from(event.org_sequence - 1).unwrap_or_default());
    let mut after = 0;
    while after < size {
        let rows = sqlx::query(
            "select hash from events.seals
             where org_id = $1 and org_sequence > $2 and org_sequence <= $3
             order by org_sequence limit $4",
        )
        .bind(event.org_id)
        .bind(after)
        .bind(size)
        .bind(BATCH_LINKS)
        .fetch_all(&mut *connection)
        .await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            tree.push(merkle::leaf(digest(row, "hash")?.as_bytes()));
            after += 1;
        }
    }
    Ok(tree)
}

impl ProvenEvent {
    /// The link that follows from what is said of the event.
    fn link(&self) -> Option<Link> {
        let event = event_digest(&SealedFacts {
            event_id: self.event_id,
            org_id: self.org_id,
            domain: &self.domain,
            event_type: &self.event_type,
            version: self.version,
            aggregate_id: self.aggregate_id,
            payload: self.payload.as_bytes(),
            metadata: self.metadata.as_bytes(),
            recorded_at: Timestamp::from_timestamp_micros(self.recorded_at_us)?,
        });
        Some(next_link(&self.previous_hash, &event))
    }
}

impl Proof {
    /// Checks everything against a public key that came another way; needs no database.
    ///
    /// # Errors
    /// [`ProofError`], naming the step that fails.
    pub fn check(&self, key: &PublicKey) -> Result<Body, ProofError> {
        if self.format != FORM {
            return Err(ProofError::Form);
        }
        let body = self.checkpoint.body(key)?;
        if self.event.link() != Some(self.event.hash) {
            return Err(ProofError::Event);
        }
        let number = |number: i64| u64::try_from(number).ok();
        let leaf = merkle::leaf(self.event.hash.as_bytes());
        let root = number(self.event.org_sequence - 1)
            .zip(number(self.head.org_sequence))
            .zip(digests(&self.event_path))
            .and_then(|((index, size), path)| merkle::root_by(&path, index, size, leaf));
        if root != Some(self.head.root) || self.head.org_id != self.event.org_id {
            return Err(ProofError::NotInOrganisation);
        }
        let root = digests(&self.head_path).and_then(|path| {
            merkle::root_by(&path, self.head_index, body.organisations, self.head.leaf())
        });
        if root == Some(body.root) { Ok(body) } else { Err(ProofError::NotInCheckpoint) }
    }
}

fn digests(path: &[String]) -> Option<Vec<Digest>> {
    path.iter().map(|digits| digits.parse().ok()).collect()
}
