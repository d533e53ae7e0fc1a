//! Verification: walk the chains and name every place where they do not hold.
//!
//! Whoever changes, removes, inserts or swaps events after the fact leaves links that do not fit.
//! Each link is checked against what is stored beside it, so one change is reported once, where it
//! is, and not for everything that follows.
//!
//! A tail that was cut off leaves no link that does not fit. It is noticed when the head was noted
//! before, when a cursor has read further than the log goes, or when events remain without a seal.
//! A chain that was rewritten to its end fits as well; a [checkpoint](crate::checkpoint) that was
//! exported before says otherwise.

mod against;
mod finding;
mod read;
mod walk;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kernel::{Digest, OrgId, Position, event_digest};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::read::{self as log, Run, SealedRow};
use crate::transaction;
pub use against::verify_against;
pub use finding::{BREAKS_LISTED_MAX, Break, Problem, Verdict};
use read::Archived;
pub(crate) use read::furthest_known;
use walk::{Found, Stored, Stretch, Walk};

/// Positions that one connection reads before it takes the next.
const STRETCH_POSITIONS: i64 = 20_000;

/// What to verify: everything, over two connections, unless told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Only the chain of this organisation.
    pub org_id: Option<OrgId>,
    /// The first position.
    pub from: Position,
    /// The last position; the head of the log unless told.
    pub to: Option<Position>,
    /// How many connections read at once.
    pub connections: usize,
    /// Where a walk that was interrupted stopped.
    pub resume: Option<Standing>,
}

impl Default for Task {
    fn default() -> Self {
        Self { org_id: None, from: Position(1), to: None, connections: 2, resume: None }
    }
}

impl Task {
    /// Whether the walk goes from the first event to the last.
    fn is_whole(&self) -> bool {
        self.from.0 <= 1 && self.to.is_none()
    }
}

/// Where a walk stands: enough to go on from there later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The last position checked.
    pub position: Position,
    /// The link there, by which a walk that goes on knows that it is the same log.
    pub hash: String,
    /// Where the walk will end.
    pub until: Position,
    /// What was found so far.
    pub verdict: Verdict,
}

/// How far the walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Links checked so far.
    pub events: u64,
    /// The last position checked.
    pub position: Position,
    /// Where the walk will end.
    pub head: Position,
}

/// A walk could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Postgres refused or could not be reached; what is wrong with the log is no error but the
    /// answer.
    #[error("could not read the event log")]
    Database(#[from] sqlx::Error),
    /// The log was changed where the walk was interrupted.
    #[error(
        "the link at position {0} is not what it was when the verification was interrupted: the \
         log was changed since, so verify it from the beginning"
    )]
    Changed(Position),
}

/// Verifies the chain of `org`, or all chains and the order over everything.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn verify(
    pool: &PgPool,
    org: Option<OrgId>,
    mut progress: impl FnMut(Progress),
) -> Result<Verdict, sqlx::Error> {
    let task = Task { org_id: org, ..Task::default() };
    let told = |standing: &Standing| {
        progress(Progress {
            events: standing.verdict.events,
            position: standing.position,
            head: standing.until,
        });
    };
    walk(pool, &task, told).await.map_err(|error| match error {
        VerifyError::Database(error) => error,
        VerifyError::Changed(_) => unreachable!("nothing was interrupted"),
    })
}

/// Does `task` and tells after each stretch where it stands.
///
/// Reads beside the running sealer: what is sealed after the start is not looked at. A walk that
/// goes on where another stopped does not look again at what lies before.
///
/// # Errors
/// [`VerifyError`].
pub async fn walk(
    pool: &PgPool,
    task: &Task,
    told: impl FnMut(&Standing),
) -> Result<Verdict, VerifyError> {
    let mut reading = transaction::begin_reading(pool).await?;
    // Asked before the head, which moves on while this runs.
    let known = furthest_known(&mut reading).await?;
    let head = log::head(&mut reading).await?;
    let archived = Archived::read(&mut reading).await?;
    let first = task.from.max(Position(1));
    let before = Position(first.0 - 1);
    let mut walk = Walk::new(task.org_id.is_none(), before, Verdict::default());
    let mut until = task.to.map_or(head, |to| to.min(head));
    if let Some(resume) = &task.resume {
        let link = read::link_at(&mut reading, resume.position).await?.unwrap_or(Digest::GENESIS);
        if resume.position > before && link.to_string() != resume.hash {
            return Err(VerifyError::Changed(resume.position));
        }
        until = resume.until.min(head);
        walk = Walk::new(task.org_id.is_none(), resume.position, resume.verdict.clone());
        walk.hash = link;
    }
    reading.rollback().await?;
    let mut on_the_way = OnTheWay { pool, archived, walk, until, told };
    match task.org_id {
        None => on_the_way.everything(task.connections.max(1)).await?,
        Some(org_id) => on_the_way.organisation(org_id).await?,
    }
    let mut walk = on_the_way.walk;
    walk.verdict.organisations = walk.verdict.organisations.max(walk.organisations());
    let mut verdict = walk.verdict;
    if task.is_whole() {
        report_without_seal(pool, task.org_id, head, &mut verdict).await?;
    }
    if task.org_id.is_none() && task.to.is_none() && known > head {
        verdict.report(Break {
            org_id: None,
            org_sequence: None,
            position: Some(known),
            event_id: None,
            problem: Problem::TailCutOff,
        });
    }
    verdict.sort();
    Ok(verdict)
}

/// A walk that is under way.
struct OnTheWay<'a, F> {
    pool: &'a PgPool,
    archived: Archived,
    walk: Walk,
    until: Position,
    told: F,
}

impl<F: FnMut(&Standing)> OnTheWay<'_, F> {
    /// Reads ahead over several connections, and joins what they read in its order.
    async fn everything(&mut self, connections: usize) -> Result<(), VerifyError> {
        let (pool, archived, until) = (self.pool.clone(), self.archived.clone(), self.until.0);
        let stretches = (self.walk.position.0..until).step_by(usize_of(STRETCH_POSITIONS));
        let mut read = stream::iter(stretches)
            .map(|after| {
                let last = Position((after + STRETCH_POSITIONS).min(until));
                stretch_of(&pool, Position(after), last, &archived)
            })
            .buffered(connections);
        while let Some(stretch) = read.try_next().await? {
            self.join(stretch).await?;
        }
        Ok(())
    }

    /// Reads one chain from number to number.
    async fn organisation(&mut self, org_id: OrgId) -> Result<(), VerifyError> {
        let mut reading = transaction::begin_reading(self.pool).await?;
        let first = self.walk.position.next();
        let head = read::head_before(&mut reading, org_id, first).await?;
        reading.rollback().await?;
        if head.org_sequence > 0 {
            self.walk.learn(org_id, head);
        }
        let after = head.org_sequence;
        let mut run = Run::over_organisation(self.pool, org_id, after, self.until).await?;
        while let Some(read) = run.next().await? {
            let mut stretch = Stretch::new(false);
            for row in read.rows.iter().filter(|row| row.position >= first) {
                let mut seal = stored(row, &self.archived)?;
                if seal.found == Found::Nothing {
                    seal.found = self.moved(row).await?;
                }
                stretch.visit(seal);
            }
            self.join(stretch).await?;
        }
        Ok(())
    }

    /// An event that is not among those of its organisation may have been given to another.
    async fn moved(&self, row: &SealedRow) -> Result<Found, VerifyError> {
        let mut reading = transaction::begin_reading(self.pool).await?;
        let digest = read::digest_at(&mut reading, row.arrival, row.recorded_at).await?;
        reading.rollback().await?;
        Ok(digest.map_or(Found::Nothing, Found::Event))
    }

    async fn join(&mut self, stretch: Stretch) -> Result<(), VerifyError> {
        let unknown: Vec<(OrgId, i64)> =
            stretch.beginnings().filter(|(org_id, _)| !self.walk.knows(*org_id)).collect();
        // In a walk from the first event, a chain that is not known yet begins here.
        if self.walk.is_partial() && !unknown.is_empty() {
            let mut reading = transaction::begin_reading(self.pool).await?;
            for (org_id, head) in read::heads_before(&mut reading, &unknown).await? {
                self.walk.learn(org_id, head);
            }
            reading.rollback().await?;
        }
        self.walk.join(stretch);
        (self.told)(&Standing {
            position: self.walk.position,
            hash: self.walk.hash.to_string(),
            until: self.until,
            verdict: self.walk.verdict.clone(),
        });
        Ok(())
    }
}

async fn stretch_of(
    pool: &PgPool,
    after: Position,
    until: Position,
    archived: &Archived,
) -> Result<Stretch, VerifyError> {
    let mut run = Run::over(pool, after, until).await?;
    let mut stretch = Stretch::new(true);
    while let Some(read) = run.next().await? {
        for row in &read.rows {
            stretch.visit(stored(row, archived)?);
        }
    }
    Ok(stretch)
}

/// What the seals themselves cannot tell: events that must have had one.
async fn report_without_seal(
    pool: &PgPool,
    org: Option<OrgId>,
    head: Position,
    verdict: &mut Verdict,
) -> Result<(), sqlx::Error> {
    let mut reading = transaction::begin(pool).await?;
    for (org_id, event_id) in read::without_seal(&mut reading, org, head).await? {
        verdict.report(Break {
            org_id: Some(org_id),
            org_sequence: None,
            position: None,
            event_id: Some(event_id),
            problem: Problem::MissingSeal,
        });
    }
    reading.rollback().await
}

/// A seal and what is found of its event, as the walk wants them.
fn stored(row: &SealedRow, archived: &Archived) -> Result<Stored, sqlx::Error> {
    let found = match row.facts()? {
        Some(facts) => Found::Event(event_digest(&facts)),
        None if archived.covers(row.recorded_at) => Found::Archived,
        None => Found::Nothing,
    };
    Ok(Stored {
        position: row.position,
        org_sequence: row.org_sequence,
        org_id: row.org_id,
        event_id: row.event_id,
        previous_hash: row.previous_hash,
        hash: row.hash,
        found,
    })
}

fn usize_of(number: i64) -> usize {
    usize::try_from(number).expect("the constant is small and positive")
}
