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
        add("FINNEST_FAULTS_REPORT", &self.line(), self.seed);
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

/// Adds a row to the file that `variable` names, if it does, and says it on the terminal.
pub(crate) fn add(variable: &str, line: &str, seed: u64) {
    eprintln!("{line}\nseed {seed}");
    if let Ok(path) = std::env::var(variable) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap_or_else(|error| panic!("{variable} names no file for rows: {error}"));
        writeln!(file, "{line}").expect("there is room for a line");
    }
}
