//! The report: one row of a table for each fault, for people and for `docs/reliability.md`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use crate::judge::Findings;

/// What one fault did and what came of it.
#[derive(Debug)]
pub(crate) struct Row {
    /// The fault, as the table names it.
    pub(crate) fault: &'static str,
    /// How often or how long harm was done, with what is worth knowing of it.
    pub(crate) harm: String,
    pub(crate) acknowledged: usize,
    pub(crate) in_doubt: u64,
    pub(crate) failed: u64,
    pub(crate) findings: Findings,
    pub(crate) took: Duration,
    pub(crate) seed: u64,
}

impl Row {
    /// Adds the row to the file that `FINNEST_FAULTS_REPORT` names, and says it on the terminal.
    pub(crate) fn tell(&self) {
        let line = self.line();
        eprintln!("{line}\nseed {}", self.seed);
        if let Ok(path) = std::env::var("FINNEST_FAULTS_REPORT") {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .expect("FINNEST_FAULTS_REPORT names a file that can be written");
            writeln!(file, "{line}").expect("there is room for a line");
        }
    }

    fn line(&self) -> String {
        let Findings { sealed, lost, undelivered, doubled, gaps, out_of_order, broken } =
            &self.findings;
        let chain = if *broken == 0 { "intact".to_owned() } else { format!("{broken} breaks") };
        format!(
            "| {} | {} | {} | {} / {} | {sealed} | {lost} | {undelivered} / {doubled} | \
             {gaps} / {out_of_order} | {chain} | {:.0} |",
            self.fault,
            self.harm,
            self.acknowledged,
            self.failed,
            self.in_doubt,
            self.took.as_secs_f64(),
        )
    }
}
