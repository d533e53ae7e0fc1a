//! The table of the queue's faults: one row for each, for people and for `docs/reliability.md`.

use super::site::Site;
use super::verdict::{Verdict, Wrong};
use crate::report;

/// What one fault did and what came of it.
#[derive(Debug)]
pub(crate) struct Row {
    /// The fault, as the table names it.
    pub(crate) fault: &'static str,
    /// How often or how long harm was done, with what is worth knowing of it.
    pub(crate) harm: String,
    pub(crate) verdict: Verdict,
}

impl Row {
    /// Adds the row to the report, and says it on the terminal.
    ///
    /// # Panics
    /// When anything is wrong.
    pub(crate) fn tell(&self, site: &Site) {
        report::add("FINNEST_FAULTS_JOBS_REPORT", &self.line(site), site.seed);
        assert!(self.verdict.is_clean(), "{self:?}");
    }

    fn line(&self, site: &Site) -> String {
        let Verdict { completed, cancelled, discarded, attempts, excused, calls, wrong } =
            &self.verdict;
        let Wrong { lost, doubled, in_wrong_state, left_in_queue, .. } = wrong;
        format!(
            "| {} | {} | {completed} / {discarded} / {cancelled} | {attempts} / {excused} | \
             {lost} / {doubled} | {in_wrong_state} / {left_in_queue} | {} / {} | \
             {calls}: {} / {} | {:.0} |",
            self.fault,
            self.harm,
            wrong.effects_missing,
            wrong.effects_doubled,
            wrong.calls_missing,
            wrong.other_keys,
            site.took().as_secs_f64(),
        )
    }
}
