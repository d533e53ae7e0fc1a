//! What onboard tells: credentials were checked, documents moved through verification, declarations
//! were made, and the budget of an AI stage runs low.

use kernel::{DomainName, Event, EventType, Id};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::recruit::{CandidateId, JobOrderId};

/// The domain that brings people safely on board.
pub const ONBOARD: DomainName = DomainName::new("onboard");

/// What a [`DocumentId`] identifies.
#[derive(Debug)]
pub enum DocumentMarker {}
/// What a [`ReviewId`] identifies.
#[derive(Debug)]
pub enum ReviewMarker {}

/// A document submitted for verification.
pub type DocumentId = Id<DocumentMarker>;
/// A document waiting for a person to decide.
pub type ReviewId = Id<ReviewMarker>;

/// One of the five stages of verification, in their order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Stage {
    /// What kind of document it is.
    Classification,
    /// What the document says.
    Extraction,
    /// Whether what it says can be true; decided by rules, without AI.
    Validation,
    /// Whether the face is that of the holder.
    FaceVerification,
    /// Whether it agrees with what is known otherwise.
    CrossReference,
}

/// The known candidates were checked for the credentials a job order requires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialsChecked {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Candidates checked.
    pub checked_count: u32,
    /// Those who hold every required credential, valid on the first day of work.
    pub eligible_count: u32,
}

/// A stage of verification is done and will not be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageCompleted {
    /// The document.
    pub document_id: DocumentId,
    /// The stage.
    pub stage: Stage,
    /// What the stage cost, in millionths of a US dollar.
    pub cost_micro_dollars: u64,
}

/// A document passed all stages, or a person approved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerificationCompleted {
    /// The document.
    pub document_id: DocumentId,
    /// Whose document it is.
    pub candidate_id: CandidateId,
    /// Code of the credential it proves.
    pub credential_code: String,
}

/// A document did not pass, or a person rejected it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerificationFailed {
    /// The document.
    pub document_id: DocumentId,
    /// Whose document it is.
    pub candidate_id: CandidateId,
    /// Where it failed.
    pub stage: Stage,
    /// Code of the rule it failed, for example `expired`.
    pub reason_code: String,
}

/// A stage could not decide, so a person must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManualReviewRequested {
    /// The entry in the review queue.
    pub review_id: ReviewId,
    /// The document.
    pub document_id: DocumentId,
    /// The stage that could not decide.
    pub stage: Stage,
}

/// Most of the money for an AI stage is spent for this month, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageBudgetRanLow {
    /// The stage.
    pub stage: Stage,
    /// Share of the month's budget that is spent or reserved, in percent: 80 warns, 100 stops.
    pub used_percent: u16,
    /// The month's budget, in millionths of a US dollar.
    pub limit_micro_dollars: u64,
}

/// A candidate declared a tax file number. The number itself is never recorded here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaxFileNumberDeclared {
    /// The candidate.
    pub candidate_id: CandidateId,
}

/// A candidate named the account to be paid into. The account itself is never recorded here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BankDetailsSet {
    /// The candidate.
    pub candidate_id: CandidateId,
}

/// A candidate chose a superannuation fund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuperFundChosen {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The fund's Australian business number, 11 digits.
    pub fund_abn: String,
}

impl Event for CredentialsChecked {
    const TYPE: EventType = ONBOARD.event("credentials_checked", 1);
    fn aggregate_id(&self) -> Uuid {
        self.job_order_id.uuid()
    }
}
impl Event for StageCompleted {
    const TYPE: EventType = ONBOARD.event("stage_completed", 1);
    fn aggregate_id(&self) -> Uuid {
        self.document_id.uuid()
    }
}
impl Event for VerificationCompleted {
    const TYPE: EventType = ONBOARD.event("verification_completed", 1);
    fn aggregate_id(&self) -> Uuid {
        self.document_id.uuid()
    }
}
impl Event for VerificationFailed {
    const TYPE: EventType = ONBOARD.event("verification_failed", 1);
    fn aggregate_id(&self) -> Uuid {
        self.document_id.uuid()
    }
}
impl Event for ManualReviewRequested {
    const TYPE: EventType = ONBOARD.event("manual_review_requested", 1);
    fn aggregate_id(&self) -> Uuid {
        self.document_id.uuid()
    }
}
impl Event for StageBudgetRanLow {
    const TYPE: EventType = ONBOARD.event("stage_budget_ran_low", 1);
    /// A budget belongs to the organisation as a whole, which every event names anyway.
    fn aggregate_id(&self) -> Uuid {
        Uuid::nil()
    }
}
impl Event for TaxFileNumberDeclared {
    const TYPE: EventType = ONBOARD.event("tax_file_number_declared", 1);
    fn aggregate_id(&self) -> Uuid {
        self.candidate_id.uuid()
    }
}
impl Event for BankDetailsSet {
    const TYPE: EventType = ONBOARD.event("bank_details_set", 1);
    fn aggregate_id(&self) -> Uuid {
        self.candidate_id.uuid()
    }
}
impl Event for SuperFundChosen {
    const TYPE: EventType = ONBOARD.event("super_fund_chosen", 1);
    fn aggregate_id(&self) -> Uuid {
        self.candidate_id.uuid()
    }
}
