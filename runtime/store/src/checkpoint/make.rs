//! Making a checkpoint: let the trees grow by what was sealed since the last one, and sign.

use std::collections::HashMap;

use kernel::merkle::{self, Frontier};
use kernel::{Digest, Link, OrgId, Position};
use sqlx::PgConnection;

use super::table::{self, Grown, Listed};
use super::{Body, Checkpoint, FORM, Head, Key, root_of};
use crate::log::Log;
use crate::{read, transaction};

/// Seals read at once.
const BATCH_SEALS: i64 = 10_000;

/// One checkpoint is made at a time: "finnchkp" in ASCII.
const CHECKPOINT_LOCK: i64 = 0x6669_6e6e_6368_6b70;

/// No checkpoint was made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Postgres refused or could not be reached.
    #[error("could not make a checkpoint")]
    Database(#[from] sqlx::Error),
    /// The log is not the one the last checkpoint was about.
    #[error(
        "the log does not continue checkpoint {number}: at position {position} (organisation \
         {org_id}, number {org_sequence}) something was changed, so nothing is signed; run \
         `finnest verify` with the last checkpoint that was exported"
    )]
    Discontinued {
        /// The last checkpoint.
        number: i64,
        /// Where the log does not continue it.
        position: Position,
        /// Whose chain.
        org_id: OrgId,
        /// The number within that chain.
        org_sequence: i64,
    },
    /// The tables do not hold what was signed.
    #[error(
        "what the tables hold of checkpoint {number} is not what was signed, so nothing is signed; \
         compare them with the file that was exported"
    )]
    Damaged {
        /// The last checkpoint.
        number: i64,
    },
    /// The log ends before what the last checkpoint was about.
    #[error(
        "the log ends at position {head}, but checkpoint {number} covers it up to {position}: its \
         tail was cut off, so nothing is signed"
    )]
    CutOff {
        /// The last checkpoint.
        number: i64,
        /// How far it covers the log.
        position: Position,
        /// Where the log ends now.
        head: Position,
    },
}

/// Makes a checkpoint of what is sealed now and stores it; none if nothing was sealed since the
/// last one, or if another node makes one just now.
///
/// Costs as much as there are new events and organisations, however long the log is.
///
/// # Errors
/// [`CheckpointError`].
pub async fn make(log: &Log, key: &Key) -> Result<Option<Checkpoint>, CheckpointError> {
    let mut transaction = transaction::begin(log.pool()).await?;
    let is_mine: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
        .bind(CHECKPOINT_LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    if !is_mine {
        return Ok(None);
    }
    let last = table::last(&mut transaction).await?;
    let head = read::head(&mut transaction).await?;
    let (number, before) =
        last.as_ref().map_or((0, Position::ORIGIN), |last| (last.body.number, last.body.position));
    if head < before {
        return Err(CheckpointError::CutOff { number, position: before, head });
    }
    if head == before {
        return Ok(None);
    }
    let known = table::heads(&mut transaction, number).await?;
    if let Some(last) = &last {
        is_as_signed(last, &known, key)?;
    }
    let mut trees = Trees { number, position: before.0, grown: HashMap::new() };
    trees.grow(&mut transaction, head).await?;
    let grown = trees.heads();
    let mut heads: HashMap<OrgId, Head> =
        known.into_iter().map(|head| (head.org_id, head)).collect();
    heads.extend(grown.iter().map(|(head, _)| (head.org_id, *head)));
    let mut heads: Vec<Head> = heads.into_values().collect();
    heads.sort_unstable_by_key(|head| head.org_id);
    let created_at = log.clock().now();
    let body = Body {
        created_at_us: created_at.timestamp_micros(),
        format: FORM.to_owned(),
        number: number + 1,
        organisations: heads.len() as u64,
        position: head,
        previous: last.map_or(Digest::GENESIS, |last| Digest::of(last.signed.body.as_bytes())),
        root: root_of(&heads),
    };
    let signed = key.sign(&body);
    table::store(&mut transaction, &body, &signed, created_at, &grown).await?;
    transaction.commit().await?;
    Ok(Some(Checkpoint { signed, heads }))
}

/// Whether the tables still hold the heads of the last checkpoint, and its signature.
fn is_as_signed(last: &Listed, heads: &[Head], key: &Key) -> Result<(), CheckpointError> {
    let public = key.public();
    // A key that was replaced cannot vouch for what its predecessor signed.
    let is_signed = last.signed.public_key != public || last.signed.body(&public).is_ok();
    let is_whole = root_of(heads) == last.body.root;
    let number = last.body.number;
    if is_signed && is_whole { Ok(()) } else { Err(CheckpointError::Damaged { number }) }
}

/// The trees that grow.
struct Trees {
    /// The checkpoint they grow from.
    number: i64,
    position: i64,
    grown: HashMap<OrgId, (Link, Frontier)>,
}

impl Trees {
    async fn grow(
        &mut self,
        connection: &mut PgConnection,
        head: Position,
    ) -> Result<(), CheckpointError> {
        while self.position < head.0 {
            let grown = table::grown(connection, self.position, head.0, BATCH_SEALS).await?;
            let Some(first) = grown.first() else { return Ok(()) };
            if first.position != self.position + 1 {
                return Err(self.discontinued(first));
            }
            self.learn(connection, &grown).await?;
            for seal in &grown {
                self.add(seal)?;
            }
        }
        Ok(())
    }

    /// Reads the trees of the organisations that are seen for the first time.
    async fn learn(
        &mut self,
        connection: &mut PgConnection,
        grown: &[Grown],
    ) -> Result<(), CheckpointError> {
        let mut unknown: Vec<OrgId> = grown
            .iter()
            .map(|seal| seal.org_id)
            .filter(|org_id| !self.grown.contains_key(org_id))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        for (head, frontier) in table::frontiers(connection, &unknown).await? {
            let size = u64::try_from(head.org_sequence).unwrap_or_default();
            let frontier = Frontier::from_bytes(size, &frontier)
                .filter(|frontier| frontier.root() == head.root)
                .ok_or(CheckpointError::Damaged { number: self.number })?;
            self.grown.insert(head.org_id, (head.link, frontier));
        }
        for org_id in unknown {
            self.grown.entry(org_id).or_insert((Digest::GENESIS, Frontier::default()));
        }
        Ok(())
    }

    fn add(&mut self, seal: &Grown) -> Result<(), CheckpointError> {
        let refused = self.discontinued(seal);
        let (link, tree) = self.grown.get_mut(&seal.org_id).expect("it was learnt before");
        let is_next = i64::try_from(tree.size()).is_ok_and(|size| size + 1 == seal.org_sequence);
        if !is_next || seal.previous != *link || seal.position != self.position + 1 {
            return Err(refused);
        }
        *link = seal.link;
        tree.push(merkle::leaf(seal.link.as_bytes()));
        self.position = seal.position;
        Ok(())
    }

    fn discontinued(&self, seal: &Grown) -> CheckpointError {
        CheckpointError::Discontinued {
            number: self.number,
            position: Position(seal.position),
            org_id: seal.org_id,
            org_sequence: seal.org_sequence,
        }
    }

    fn heads(&self) -> Vec<(Head, Vec<u8>)> {
        let head = |(org_id, (link, tree)): (&OrgId, &(Link, Frontier))| {
            let org_sequence = i64::try_from(tree.size()).unwrap_or(i64::MAX);
            let head = Head { org_id: *org_id, org_sequence, link: *link, root: tree.root() };
            (head, tree.to_bytes())
        };
        self.grown.iter().map(head).collect()
    }
}
