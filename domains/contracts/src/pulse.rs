//! What pulse tells: roster templates were drafted, compliance scores moved.

use kernel::{DomainName, Event, EventType, Id};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::recruit::{CandidateId, JobOrderId};

/// The domain that automates operations.
pub const PULSE: DomainName = DomainName::new("pulse");

/// What a [`RosterTemplateId`] identifies.
#[derive(Debug)]
pub enum RosterTemplateMarker {}

/// The draft of a roster for one job order.
pub type RosterTemplateId = Id<RosterTemplateMarker>;

/// The roster a job order will need was drafted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RosterTemplateDrafted {
    /// The draft.
    pub roster_template_id: RosterTemplateId,
    /// The job order it is for.
    pub job_order_id: JobOrderId,
    /// People needed on each shift.
    pub headcount: u32,
    /// Number of shifts drafted.
    pub shift_count: u16,
    /// Time to be worked by all people on all shifts, in minutes.
    pub planned_minutes: u64,
}

/// What a candidate's verified documents say about compliance has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComplianceScoreUpdated {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// Share of verified documents among those decided, from 0 to 1000.
    pub score: u16,
}

impl Event for RosterTemplateDrafted {
    const TYPE: EventType = PULSE.event("roster_template_drafted", 1);
    fn aggregate_id(&self) -> Uuid {
        self.roster_template_id.uuid()
    }
}
impl Event for ComplianceScoreUpdated {
    const TYPE: EventType = PULSE.event("compliance_score_updated", 1);
    fn aggregate_id(&self) -> Uuid {
        self.candidate_id.uuid()
    }
}
