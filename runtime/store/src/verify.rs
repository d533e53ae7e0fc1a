//! Verification: walk the chains and name every place where they do not hold.
//!
//! Whoever changes, removes, inserts or swaps events after the fact leaves links that do not fit.
//! Each link is checked against what is stored beside it, so one change is reported once, where it
//! is, and not for everything that follows.
//!
//! A tail that was cut off leaves no link that does not fit. It is noticed when the head was noted
//! before, when a cursor has read further than the log goes, or when events remain without a seal.

mod walk;

use kernel::{EventId, OrgId, Position, event_digest};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use crate::read::{self, Run, SealedRow};
use crate::transaction;
use walk::{Stored, Walk};

/// Breaks listed at most; beyond that, they are only counted.
pub const BREAKS_LISTED_MAX: usize = 1_000;

/// What a walk over the chains found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How many chains were walked.
    pub organisations: u64,
    /// How many links were checked.
    pub events: u64,
    /// How many places do not hold.
    pub broken_count: u64,
    /// The first [`BREAKS_LISTED_MAX`] of them, in the order in which they were found.
    pub broken: Vec<Break>,
}

impl Verdict {
    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken_count == 0
    }

    fn report(&mut self, found: Break) {
        self.broken_count += 1;
        if self.broken.len() < BREAKS_LISTED_MAX {
            self.broken.push(found);
        }
    }
}

/// One place where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Whose chain; unknown for a position that is missing altogether.
    pub org_id: Option<OrgId>,
    /// The number within that chain.
    pub org_sequence: Option<i64>,
    /// The place in the order of everything; unknown for an event without a seal.
    pub position: Option<Position>,
    /// The event.
    pub event_id: Option<EventId>,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The event is not what was sealed: its link does not follow from it.
    HashMismatch,
    /// The seal does not follow the seal before it.
    PreviousMismatch,
    /// There is a seal, but its event is gone.
    MissingEvent,
    /// Seals are missing in front of this position.
    GapInPosition,
    /// Seals of this organisation are missing in front of this one.
    GapInSequence,
    /// There is an event that must have been sealed, but its seal is gone.
    MissingSeal,
    /// The log once went further: at least up to this position.
    TailCutOff,
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

/// Verifies the chain of `org`, or all chains and the order over everything.
///
/// Reads beside the running sealer: what is sealed after the start is not looked at.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what is wrong with the log is no error but the
/// answer.
pub async fn verify(
    pool: &PgPool,
    org: Option<OrgId>,
    mut progress: impl FnMut(Progress),
) -> Result<Verdict, sqlx::Error> {
    let mut reading = transaction::begin_reading(pool).await?;
    // Asked before the head, which moves on while this runs.
    let known = furthest_known(&mut reading).await?;
    let head = read::head(&mut reading).await?;
    reading.rollback().await?;
    let mut walk = Walk::new(org.is_none());
    let mut verdict = Verdict::default();
    let mut run = match org {
        None => Run::over(pool, Position::ORIGIN, head).await?,
        Some(org_id) => Run::over_organisation(pool, org_id, 0, head).await?,
    };
    while let Some(stretch) = run.next().await? {
        for row in &stretch.rows {
            walk.visit(&stored(row)?, &mut verdict);
        }
        progress(Progress { events: verdict.events, position: stretch.position, head });
    }
    verdict.organisations = walk.organisations();
    report_without_seal(pool, org, head, &mut verdict).await?;
    if org.is_none() && known > head {
        verdict.report(Break {
            org_id: None,
            org_sequence: None,
            position: Some(known),
            event_id: None,
            problem: Problem::TailCutOff,
        });
    }
    Ok(verdict)
}

/// What the seals themselves cannot tell: events that must have had one.
async fn report_without_seal(
    pool: &PgPool,
    org: Option<OrgId>,
    head: Position,
    verdict: &mut Verdict,
) -> Result<(), sqlx::Error> {
    let mut reading = transaction::begin(pool).await?;
    for row in without_seal(&mut reading, org, head).await? {
        verdict.report(Break {
            org_id: row.try_get("org_id")?,
            org_sequence: None,
            position: None,
            event_id: row.try_get("id")?,
            problem: Problem::MissingSeal,
        });
    }
    reading.rollback().await
}

/// A seal and its event, as the walk wants them.
fn stored(row: &SealedRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        position: row.position,
        org_sequence: row.org_sequence,
        org_id: row.org_id,
        event_id: row.event_id,
        previous_hash: row.previous_hash,
        hash: row.hash,
        event: row.facts()?.as_ref().map(event_digest),
    })
}

/// Events that the last snapshot remembered with the seals up to `head` saw, and that have none.
async fn without_seal(
    connection: &mut PgConnection,
    org: Option<OrgId>,
    head: Position,
) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::query(
        "select event.id, event.org_id
         from events.domain_events as event
         where ($1::uuid is null or event.org_id = $1)
             and pg_visible_in_snapshot(event.tx, (
                 select seal.sealed_snapshot from events.seals as seal
                 where seal.sealed_snapshot is not null and seal.position <= $2
                 order by seal.position desc
                 limit 1))
             and not exists (
                 select from events.seals as seal
                 where seal.event_id = event.id and seal.arrival = event.arrival)
             and not exists (
                 select from events.duplicates as duplicate
                 where duplicate.arrival = event.arrival)
         order by event.arrival",
    )
    .bind(org)
    .bind(head.0)
    .fetch_all(connection)
    .await
}

/// The furthest position anybody remembers.
pub(crate) async fn furthest_known(connection: &mut PgConnection) -> Result<Position, sqlx::Error> {
    sqlx::query_scalar(
        "select greatest(
             (select max(noted_position) from events.sealer_state),
             (select coalesce(max(position), 0) from events.cursors))",
    )
    .fetch_one(connection)
    .await
    .map(Position)
}
