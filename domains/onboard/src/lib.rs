//! Onboard: makes sure that people hold what they say, and may be paid.
//!
//! Credentials are checked, documents verified in five stages, and money for AI stages is guarded.

mod budget;
mod credential;
mod credential_check;
mod declaration;
mod document;
mod pipeline;
mod reactions;
mod review;

use contracts::onboard::{
    BankDetailsSet, CredentialsChecked, ManualReviewRequested, ONBOARD, StageBudgetRanLow,
    StageCompleted, SuperFundChosen, TaxFileNumberDeclared, VerificationCompleted,
    VerificationFailed,
};
use platform::{Domain, Page};

pub use {budget::*, credential_check::*, declaration::*, document::*, pipeline::*, review::*};

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(ONBOARD)
        .about(
            "Makes sure that people hold what they say, and may be paid: documents and their \
             verification, reviews, declarations, budgets of paid stages.",
        )
        .query::<ListCredentialChecks>()
        .command::<SubmitDocument>()
        .query::<GetDocument>()
        .query::<ListDocuments>()
        .command::<DecideReview>()
        .query::<ListReviews>()
        .command::<DeclareTaxFileNumber>()
        .command::<SetBankDetails>()
        .command::<ChooseSuperFund>()
        .command::<SetStageBudget>()
        .query::<ListStageBudgets>()
        .action::<GetProviderHealth>()
        .command::<ReserveBudget>()
        .command::<ResumePipelines>()
        .emits::<CredentialsChecked>()
        .emits::<StageCompleted>()
        .emits::<VerificationCompleted>()
        .emits::<VerificationFailed>()
        .emits::<ManualReviewRequested>()
        .emits::<StageBudgetRanLow>()
        .emits::<TaxFileNumberDeclared>()
        .emits::<BankDetailsSet>()
        .emits::<SuperFundChosen>()
        .on("keep_candidate", reactions::keep_candidate)
        .on("check_credentials", reactions::check_credentials)
        .job::<RunStage>()
        .child("pipeline_orchestrator", orchestrator::child)
        .child("budget_guard", guard::child)
        .child("provider_health", health::child)
        .page(Page::new("Credential checks").table::<ListCredentialChecks>())
        .page(Page::new("Documents").table::<ListDocuments>().form::<SubmitDocument>())
        .page(Page::new("Manual review").table::<ListReviews>().form::<DecideReview>())
}
