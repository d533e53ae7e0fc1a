//! Whenever this happens, pulse does that.

#![expect(clippy::unnecessary_wraps, reason = "a reaction may answer nothing; these never do")]

use contracts::onboard::{VerificationCompleted, VerificationFailed};
use contracts::recruit::JobOrderOpened;
use platform::Recorded;

use crate::compliance::UpdateComplianceScore;
use crate::roster_template::DraftRosterTemplate;

/// Whenever a job order is opened, draft the roster template it will need.
pub(crate) fn draft_roster_template(
    opened: &Recorded<JobOrderOpened>,
) -> Option<DraftRosterTemplate> {
    let JobOrderOpened { job_order_id, title, headcount, starts_on, .. } = opened.data.clone();
    Some(DraftRosterTemplate {
        job_order_id,
        title,
        headcount,
        starts_on: starts_on.unwrap_or_else(|| opened.recorded_at.date_naive()),
        shift_starts_minute: opened.data.shift_starts_minute,
        shift_minutes: opened.data.shift_minutes,
        shift_days: opened.data.shift_days,
    })
}

/// Whenever a document is verified, count it for the candidate.
pub(crate) fn count_verified_document(
    completed: &Recorded<VerificationCompleted>,
) -> Option<UpdateComplianceScore> {
    let VerificationCompleted { document_id, candidate_id, .. } = completed.data;
    Some(UpdateComplianceScore { document_id, candidate_id, is_verified: true })
}

/// Whenever a document fails, count it against the candidate.
pub(crate) fn count_failed_document(
    failed: &Recorded<VerificationFailed>,
) -> Option<UpdateComplianceScore> {
    let VerificationFailed { document_id, candidate_id, .. } = failed.data;
    Some(UpdateComplianceScore { document_id, candidate_id, is_verified: false })
}
