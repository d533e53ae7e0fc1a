//! Whenever this happens, recruit does that.

#![expect(clippy::unnecessary_wraps, reason = "a reaction may answer nothing; these never do")]

use contracts::recruit::JobOrderOpened;
use platform::Recorded;

use crate::pool::ScorePool;

/// Whenever a job order is opened, score the candidates for it.
pub(crate) fn score_candidates(opened: &Recorded<JobOrderOpened>) -> Option<ScorePool> {
    Some(ScorePool { job_order_id: opened.data.job_order_id })
}
