//! What recruit tells: job orders come and go, candidates are registered, scored and shortlisted.

use chrono::NaiveDate;
use kernel::{DomainName, Event, EventType, Id};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The domain that finds people for jobs.
pub const RECRUIT: DomainName = DomainName::new("recruit");

/// What a [`JobOrderId`] identifies.
#[derive(Debug)]
pub enum JobOrderMarker {}
/// What a [`CandidateId`] identifies.
#[derive(Debug)]
pub enum CandidateMarker {}
/// What an [`OutreachId`] identifies.
#[derive(Debug)]
pub enum OutreachMarker {}

/// A client's request for people.
pub type JobOrderId = Id<JobOrderMarker>;
/// A person who may be placed.
pub type CandidateId = Id<CandidateMarker>;
/// One message to one candidate about one job order.
pub type OutreachId = Id<OutreachMarker>;

/// A credential a person holds, such as a high risk work licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Code of the credential, for example `forklift_licence` or `white_card`.
    #[schemars(length(min = 1, max = 48), regex(pattern = "^[a-z][a-z0-9_]*$"))]
    pub code: String,
    /// Last day it is valid; absent when it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<NaiveDate>,
}

/// A client asked for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobOrderOpened {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Title shown to candidates.
    pub title: String,
    /// The client's business name, if already known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// People the client asked for.
    pub headcount: u32,
    /// Codes of the credentials each person must hold.
    #[serde(default)]
    pub credentials_required: Vec<String>,
    /// First day of work, if already known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_on: Option<NaiveDate>,
    /// Start of the shift, in minutes after midnight.
    pub shift_starts_minute: u16,
    /// Length of one shift, in minutes.
    pub shift_minutes: u16,
    /// Number of days worked.
    pub shift_days: u16,
    /// What the client pays per person and hour, in cents, if already agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge_rate_cents: Option<u32>,
}

/// A job order has all the people it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobOrderFilled {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Who was placed, as many as the client asked for.
    pub candidate_ids: Vec<CandidateId>,
}

/// A client no longer needs the people asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobOrderCancelled {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Why, in the words of whoever cancelled.
    pub reason: String,
}

/// A person became known as a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateRegistered {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The credentials the candidate says to hold.
    #[serde(default)]
    pub credentials: Vec<Credential>,
}

/// Candidates were scored for a job order, and the outcome is new or has changed.
///
/// One event for the whole pool, because a pool may hold thousands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidatesScored {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// The version of the rules the scores were made by.
    pub rule_version: u16,
    /// Candidates scored.
    pub scored_count: u32,
    /// The best, best first, at most ten.
    pub best: Vec<ScoredCandidate>,
}

/// How well one candidate fits a job order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScoredCandidate {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// How well the candidate fits, from 0 to 1000.
    pub score: u16,
}

/// A recruiter put a candidate on the shortlist of a job order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateShortlisted {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The score at that moment, from 0 to 1000.
    pub score: u16,
}

/// A message to a candidate about a job order was handed to the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutreachSent {
    /// The message.
    pub outreach_id: OutreachId,
    /// The job order.
    pub job_order_id: JobOrderId,
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The provider's own reference for the message.
    pub provider_reference: String,
}

impl Event for JobOrderOpened {
    const TYPE: EventType = RECRUIT.event("job_order_opened", 1);
    fn aggregate_id(&self) -> Uuid {
        self.job_order_id.uuid()
    }
}
impl Event for JobOrderFilled {
    const TYPE: EventType = RECRUIT.event("job_order_filled", 1);
    fn aggregate_id(&self) -> Uuid {
        self.job_order_id.uuid()
    }
}
impl Event for JobOrderCancelled {
    const TYPE: EventType = RECRUIT.event("job_order_cancelled", 1);
    fn aggregate_id(&self) -> Uuid {
        self.job_order_id.uuid()
    }
}
impl Event for CandidateRegistered {
    const TYPE: EventType = RECRUIT.event("candidate_registered", 1);
    fn aggregate_id(&self) -> Uuid {
        self.candidate_id.uuid()
    }
}
impl Event for CandidatesScored {
    const TYPE: EventType = RECRUIT.event("candidates_scored", 1);
    fn aggregate_id(&self) -> Uuid {
        self.job_order_id.uuid()
    }
}
impl Event for CandidateShortlisted {
    const TYPE: EventType = RECRUIT.event("candidate_shortlisted", 1);
    fn aggregate_id(&self) -> Uuid {
        self.job_order_id.uuid()
    }
}
impl Event for OutreachSent {
    const TYPE: EventType = RECRUIT.event("outreach_sent", 1);
    fn aggregate_id(&self) -> Uuid {
        self.outreach_id.uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_job_order_is_read_back_without_its_optional_fields() {
        let id = JobOrderId::new();
        let payload = serde_json::json!({
            "job_order_id": id, "title": "Forklift driver", "headcount": 3,
            "shift_starts_minute": 360, "shift_minutes": 480, "shift_days": 5,
        });

        let opened: JobOrderOpened = serde_json::from_value(payload).expect("the shape is right");

        assert_eq!(opened.job_order_id, id);
        assert_eq!((opened.client_name, opened.starts_on), (None, None));
        assert!(opened.credentials_required.is_empty());
    }
}
