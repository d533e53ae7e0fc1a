//! Findings: what can be wrong at one place of the log, in words for those who have to act.

use kernel::{EventId, OrgId, Position};
use serde::{Deserialize, Serialize};

/// Breaks listed at most; beyond that, they are only counted.
pub const BREAKS_LISTED_MAX: usize = 1_000;

/// What a walk over the chains found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How many chains were walked.
    pub organisations: u64,
    /// How many links were checked.
    pub events: u64,
    /// For how many of them the event lies in the archive: the link was followed, no more.
    #[serde(default)]
    pub archived: u64,
    /// How many places do not hold.
    pub broken_count: u64,
    /// The first [`BREAKS_LISTED_MAX`] of them, by position.
    pub broken: Vec<Break>,
}

impl Verdict {
    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken_count == 0
    }

    /// Adds a finding.
    pub(crate) fn report(&mut self, found: Break) {
        self.broken_count += 1;
        if self.broken.len() < BREAKS_LISTED_MAX {
            self.broken.push(found);
        }
    }

    /// Adds what was found in the part that follows.
    pub(super) fn add(&mut self, part: Self) {
        self.events += part.events;
        self.archived += part.archived;
        self.broken_count += part.broken_count;
        let room = BREAKS_LISTED_MAX.saturating_sub(self.broken.len());
        self.broken.extend(part.broken.into_iter().take(room));
    }

    /// Puts the findings in the order of the log; what has no position comes last.
    pub(super) fn sort(&mut self) {
        self.broken.sort_by_key(|found| {
            let position = found.position.map_or(i64::MAX, |position| position.0);
            (position, found.problem, found.org_sequence)
        });
    }
}

/// One place where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Seals are missing in front of this position.
    GapInPosition,
    /// Seals of this organisation are missing in front of this one.
    GapInSequence,
    /// The seal does not follow the seal before it.
    PreviousMismatch,
    /// There is a seal, but its event is gone.
    MissingEvent,
    /// The event is not what was sealed: its link does not follow from it.
    HashMismatch,
    /// There is an event that must have been sealed, but its seal is gone.
    MissingSeal,
    /// The log once went further: at least up to this position.
    TailCutOff,
    /// The chain is not what a signed checkpoint says it was.
    DiffersFromCheckpoint,
}

impl Problem {
    /// What is wrong, as a sentence without its subject.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::GapInPosition => "seals are missing in front of this position",
            Self::GapInSequence => "seals of this organisation are missing in front of this one",
            Self::PreviousMismatch => "this seal does not follow the seal before it",
            Self::MissingEvent => "there is a seal, but its event is gone",
            Self::HashMismatch => "the event, or its link, is not what was sealed",
            Self::MissingSeal => "the event must have been sealed, but its seal is gone",
            Self::TailCutOff => "the log once went at least this far; its tail was cut off",
            Self::DiffersFromCheckpoint => {
                "the chain up to here is not the one that was signed; it was rewritten or cut off"
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::HashMismatch => {
                "compare the event with a backup or an export; record a correction, change nothing"
            }
            Self::MissingEvent | Self::GapInPosition | Self::GapInSequence => {
                "restore what is missing from a backup into another database and compare"
            }
            Self::PreviousMismatch => {
                "something before this seal was changed and its link computed anew; compare both \
                 with a backup or an export"
            }
            Self::MissingSeal => {
                "the event was put in by hand, or its seal taken out; look who could write there"
            }
            Self::TailCutOff => {
                "was an older backup restored? if not, find the last export or checkpoint"
            }
            Self::DiffersFromCheckpoint => {
                "keep this database as evidence; compare with a backup from the time of the \
                 checkpoint, and look who owns the database"
            }
        }
    }
}
