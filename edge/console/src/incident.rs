//! An incident: one process ended, and what followed from it. Pure.
//!
//! The tree reports single happenings; a person asks: who failed, why, what did it take along,
//! and how long was it away? Every happening that names an exit as its cause belongs to it.

use std::collections::BTreeMap;

use crate::process::{Happening, Kill};

/// One end of a process and what followed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Incident {
    /// The sequence of the exit, which names the incident.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    pub path: String,
    pub reason: String,
    /// The other processes that went down with it, by the strategy of the supervisor.
    pub touched: Vec<String>,
    pub outcome: Outcome,
    /// Who killed it and why, if an operator did.
    pub kill: Option<Kill>,
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything serves again, after so many microseconds.
    Recovered(u64),
    /// Not yet.
    Open,
    /// A start failed; the supervisor goes on trying.
    StartFailed(String),
    /// The supervisor gave up.
    GaveUp,
    /// The supervisor of domains left it down and tries again later.
    Quarantined,
}

/// An operator's kill and the exit it caused are recorded by two clocks of one machine.
const KILL_TO_EXIT_MS_MAX: i64 = 2_000;

/// The incidents in `happenings`, newest first, at most `limit`.
pub(crate) fn incidents(happenings: &[Happening], kills: &[Kill], limit: usize) -> Vec<Incident> {
    let mut incidents: BTreeMap<u64, Incident> = BTreeMap::new();
    for happening in happenings {
        match (happening.kind, happening.cause) {
            ("exited", None) if is_incident(happening) => {
                incidents.insert(happening.sequence, Incident::of(happening, kills));
            }
            (_, Some(cause)) => {
                if let Some(incident) = incidents.get_mut(&cause) {
                    incident.follow(happening);
                }
            }
            _ => {}
        }
    }
    incidents.into_values().rev().take(limit).collect()
}

/// A process that finished is no incident.
fn is_incident(happening: &Happening) -> bool {
    let reason = happening.reason.as_deref().unwrap_or_default();
    reason != "normal"
}

impl Incident {
    fn of(exit: &Happening, kills: &[Kill]) -> Self {
        let reason = exit.reason.clone().unwrap_or_else(|| "unknown".to_owned());
        // A supervisor that had to be killed takes its children along, so the nearest ancestor
        // that an operator killed explains an exit as well as the process itself.
        let kill = kills
            .iter()
            .filter(|kill| kill.path == exit.path)
            .filter(|kill| (exit.at - kill.at).abs() <= KILL_TO_EXIT_MS_MAX)
            .min_by_key(|kill| (exit.at - kill.at).abs())
            .filter(|_| reason == "killed");
        Self {
            sequence: exit.sequence,
            at: exit.at,
            path: exit.path.clone(),
            reason,
            touched: others(&exit.touched, &exit.path),
            outcome: Outcome::Open,
            kill: kill.cloned(),
        }
    }

    fn follow(&mut self, happening: &Happening) {
        for path in others(&happening.touched, &self.path) {
            if !self.touched.contains(&path) {
                self.touched.push(path);
            }
        }
        match happening.kind {
            // The last to come back ends the incident.
            "restarted" => {
                let before = match self.outcome {
                    Outcome::Recovered(before) => before,
                    _ => 0,
                };
                let recovery = happening.recovery_us.unwrap_or_default();
                self.outcome = Outcome::Recovered(recovery.max(before));
            }
            "start_failed" => {
                let error = happening.reason.clone().unwrap_or_default();
                self.outcome = Outcome::StartFailed(error);
            }
            "gave_up" => self.outcome = Outcome::GaveUp,
            "quarantined" => self.outcome = Outcome::Quarantined,
            _ => {}
        }
    }
}

fn others(paths: &[String], path: &str) -> Vec<String> {
    paths.iter().filter(|other| *other != path).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(sequence: u64, kind: &'static str, path: &str, cause: Option<u64>) -> Happening {
        Happening {
            sequence,
            at: 1_000 + i64::try_from(sequence).unwrap(),
            path: path.to_owned(),
            kind,
            cause,
            ..Happening::default()
        }
    }

    fn exited(sequence: u64, path: &str, reason: &str) -> Happening {
        Happening { reason: Some(reason.to_owned()), ..happening(sequence, "exited", path, None) }
    }

    fn restarted(sequence: u64, path: &str, cause: u64, recovery_us: u64) -> Happening {
        Happening {
            recovery_us: Some(recovery_us),
            ..happening(sequence, "restarted", path, Some(cause))
        }
    }

    #[test]
    fn the_slowest_child_decides_the_time_to_recovery() {
        let exit = Happening {
            touched: vec!["root/a".to_owned(), "root/b".to_owned()],
            ..exited(1, "root/a", "error:boom")
        };
        let happenings = [exit, restarted(2, "root/a", 1, 400), restarted(3, "root/b", 1, 900)];

        let incidents = incidents(&happenings, &[], 10);

        assert_eq!(incidents.len(), 1);
        assert_eq!(incidents[0].touched, ["root/b"]);
        assert_eq!(incidents[0].outcome, Outcome::Recovered(900));
    }

    #[test]
    fn an_exit_that_nothing_followed_is_open() {
        let incidents = incidents(&[exited(1, "root/a", "killed")], &[], 10);

        assert_eq!(incidents[0].outcome, Outcome::Open);
    }

    #[test]
    fn a_process_that_finished_is_no_incident() {
        assert_eq!(incidents(&[exited(1, "root/a", "normal")], &[], 10), []);
    }

    #[test]
    fn the_newest_incidents_come_first_and_no_more_than_the_limit() {
        let happenings: Vec<Happening> =
            (1..=5).map(|sequence| exited(sequence, "root/a", "killed")).collect();

        let sequences: Vec<u64> =
            incidents(&happenings, &[], 3).iter().map(|incident| incident.sequence).collect();

        assert_eq!(sequences, [5, 4, 3]);
    }

    #[test]
    fn a_kill_explains_the_exit_it_caused_and_no_other() {
        let kill = Kill {
            at: 1_000,
            path: "root/a".to_owned(),
            who: "Olivia".to_owned(),
            why: "a drill".to_owned(),
        };
        let late = Happening { at: 9_000, ..exited(3, "root/a", "killed") };
        let happenings = [exited(1, "root/a", "killed"), exited(2, "root/b", "killed"), late];

        let incidents = incidents(&happenings, std::slice::from_ref(&kill), 10);

        assert_eq!(incidents[0].kill, None);
        assert_eq!(incidents[1].kill, None);
        assert_eq!(incidents[2].kill, Some(kill));
    }

    #[test]
    fn a_supervisor_that_gives_up_ends_the_incident_badly() {
        let happenings = [
            exited(1, "root/domains/payroll/ledger", "error:boom"),
            happening(2, "gave_up", "root/domains/payroll", Some(1)),
            happening(3, "quarantined", "root/domains/payroll", Some(1)),
        ];

        let incidents = incidents(&happenings, &[], 10);

        assert_eq!(incidents[0].outcome, Outcome::Quarantined);
    }
}
