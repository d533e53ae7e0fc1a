//! Whenever this happens, onboard does that.

#![expect(clippy::unnecessary_wraps, reason = "a reaction may answer nothing; these never do")]

use contracts::recruit::{CandidateRegistered, JobOrderOpened};
use platform::Recorded;

use crate::credential::KeepCandidate;
use crate::credential_check::CheckCredentials;

/// Whenever a candidate is registered, keep a copy of the credentials.
pub(crate) fn keep_candidate(registered: &Recorded<CandidateRegistered>) -> Option<KeepCandidate> {
    let CandidateRegistered { candidate_id, credentials } = registered.data.clone();
    Some(KeepCandidate { candidate_id, credentials })
}

/// Whenever a job order is opened, check the known candidates for the credentials it requires.
pub(crate) fn check_credentials(opened: &Recorded<JobOrderOpened>) -> Option<CheckCredentials> {
    let JobOrderOpened { job_order_id, credentials_required, starts_on, .. } = opened.data.clone();
    let needed_on = starts_on.unwrap_or_else(|| opened.recorded_at.date_naive());
    Some(CheckCredentials { job_order_id, credentials_required, needed_on })
}
