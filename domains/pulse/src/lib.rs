//! Pulse: automates what a good coordinator would do next without being asked.
//!
//! Whenever a job order is opened it drafts the roster that the order will need; whenever a
//! document is verified it brings the candidate's compliance score up to date. It reads nobody's
//! tables and only acts on what the other domains tell.

mod compliance;
mod reactions;
mod roster_template;
mod shifts;

use contracts::pulse::{ComplianceScoreUpdated, PULSE, RosterTemplateDrafted};
use platform::{Domain, Page};

pub use compliance::{ComplianceScore, ListComplianceScores, UpdateComplianceScore};
pub use roster_template::{
    DraftRosterTemplate, GetRosterTemplate, ListRosterTemplates, RosterTemplate,
};
pub use shifts::Shift;

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(PULSE)
        .about(
            "Does what a good coordinator would do next without being asked: roster templates \
             for new job orders, compliance scores of candidates.",
        )
        .command::<DraftRosterTemplate>()
        .query::<GetRosterTemplate>()
        .query::<ListRosterTemplates>()
        .command::<UpdateComplianceScore>()
        .query::<ListComplianceScores>()
        .emits::<RosterTemplateDrafted>()
        .emits::<ComplianceScoreUpdated>()
        .on("draft_roster_template", reactions::draft_roster_template)
        .on("count_verified_document", reactions::count_verified_document)
        .on("count_failed_document", reactions::count_failed_document)
        .page(Page::new("Roster templates").table::<ListRosterTemplates>())
        .page(Page::new("Compliance scores").table::<ListComplianceScores>())
}
