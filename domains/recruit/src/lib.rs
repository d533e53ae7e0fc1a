//! Recruit: finds people for the jobs that clients ask for.
//!
//! Candidates are scored against each open job order by fixed, versioned rules; a recruiter
//! shortlists, asks and places them. Other domains learn ids, never names or numbers.

mod candidate;
mod code;
mod demo;
mod job_order;
mod outreach;
mod pipeline;
mod pool;
mod prompts;
mod reactions;

use contracts::recruit::{
    CandidateRegistered, CandidateShortlisted, CandidatesScored, JobOrderCancelled, JobOrderFilled,
    JobOrderOpened, OutreachSent, RECRUIT,
};
use platform::{Domain, Page};

pub use candidate::*;
pub use demo::demo;
pub use job_order::*;
pub use outreach::*;
pub use pipeline::*;
pub use pool::*;
pub use prompts::*;

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(RECRUIT)
        .about(
            "Finds people for the jobs that clients ask for: job orders, candidates, scores, \
             shortlists, outreach and pools.",
        )
        .command::<OpenJobOrder>()
        .command::<FillJobOrder>()
        .command::<CancelJobOrder>()
        .query::<GetJobOrder>()
        .query::<ListJobOrders>()
        .command::<RegisterCandidate>()
        .query::<GetCandidate>()
        .query::<ListCandidates>()
        .command::<ScoreCandidates>()
        .command::<ShortlistCandidate>()
        .query::<ListScores>()
        .command::<InviteCandidate>()
        .query::<ListOutreach>()
        .query::<ShowPipeline>()
        .query::<ListPipeline>()
        .command::<refresh::RefreshPools>()
        .command::<sms::WriteSmsToOutbox>()
        .emits::<JobOrderOpened>()
        .emits::<JobOrderFilled>()
        .emits::<JobOrderCancelled>()
        .emits::<CandidateRegistered>()
        .emits::<CandidatesScored>()
        .emits::<CandidateShortlisted>()
        .emits::<OutreachSent>()
        .prompt::<ProposeShortlist>()
        .on("score_candidates", reactions::score_candidates)
        .projection(pipeline::pipeline())
        .job::<SendOutreach>()
        .child("scoring_engine", scoring_engine::child)
        .child("pool_refresh", refresh::child)
        .child("outreach", service::child)
        .page(Page::new("Job orders").table::<ListJobOrders>().form::<OpenJobOrder>())
        .page(
            Page::new("Pipeline")
                .table::<ListPipeline>()
                .feed::<JobOrderOpened>()
                .feed::<JobOrderFilled>(),
        )
        .page(Page::new("Candidates").table::<ListCandidates>().form::<RegisterCandidate>())
}
