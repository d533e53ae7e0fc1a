//! A process as the console shows it: plain data, made from the tree by one file.
//!
//! Drawing, layout and tests need no running platform, and the platform may change its types
//! without the drawing noticing.

use serde::Deserialize;

/// One node of the supervision tree and what is below it, in start order.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Process {
    /// The name among its siblings.
    pub id: String,
    /// The place in the tree: `root/domains/recruit`.
    pub path: String,
    /// What the process is for, if its author said so.
    pub label: String,
    pub is_supervisor: bool,
    pub status: Status,
    /// `one_for_one` …; of supervisors.
    pub strategy: Option<String>,
    /// `permanent`, `transient` or `temporary`.
    pub restart: String,
    /// How long the process may take to stop.
    pub shutdown: String,
    /// How many restarts the supervisor tolerates within `within_ms`.
    pub max_restarts: Option<u32>,
    pub within_ms: Option<u64>,
    /// How many of those it has used up.
    pub restarts_in_window: u32,
    pub incarnation: u64,
    pub restarts: u64,
    /// Milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Why the last incarnation ended.
    pub last_exit: Option<String>,
    pub last_exit_at: Option<i64>,
    /// Messages, events or jobs that wait.
    pub mailbox: u64,
    pub quarantined_until: Option<i64>,
    pub children: Vec<Process>,
}

/// How a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It serves. The order of the variants is from good to bad.
    #[default]
    Running,
    /// It is being started for the first time.
    Starting,
    /// It ended and is about to be started again.
    Restarting,
    /// It is on its way down in good order.
    Stopping,
    /// It ended and nobody will start it again.
    Stopped,
    /// Its supervisor gave it up; it is tried again later.
    Quarantined,
}

impl Status {
    /// The word for it, also the CSS class.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Quarantined => "quarantined",
        }
    }

    /// A shape of its own, within a square of 12, so that colour is never the only sign.
    pub(crate) fn shape(self) -> &'static str {
        match self {
            Self::Running => "M6 1a5 5 0 1 1 0 10a5 5 0 1 1 0 -10z",
            Self::Starting | Self::Restarting => "M6 0.8L11.6 10.8H0.4z",
            Self::Stopping | Self::Stopped => "M1.5 1.5H10.5V10.5H1.5z",
            Self::Quarantined => "M3.6 0.5H8.4L11.5 3.6V8.4L8.4 11.5H3.6L0.5 8.4V3.6z",
        }
    }
}

impl Process {
    /// The process at `path`, searching from here.
    pub(crate) fn find(&self, path: &str) -> Option<&Self> {
        if self.path == path {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(path))
    }

    /// The supervisor of the process at `path`.
    pub(crate) fn parent_of(&self, path: &str) -> Option<&Self> {
        if self.children.iter().any(|child| child.path == path) {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.parent_of(path))
    }

    /// The process and everything below it, parents first.
    pub(crate) fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        all.extend(self.children.iter().flat_map(Self::all));
        all
    }

    /// How many processes there are, this one included.
    pub(crate) fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    /// The worst status at or below the process.
    pub(crate) fn worst(&self) -> Status {
        self.children.iter().map(Self::worst).max().unwrap_or_default().max(self.status)
    }

    /// The siblings that the supervisor restarts along with the child at `path`.
    pub(crate) fn touched_by(&self, path: &str) -> Vec<&Self> {
        let index = self.children.iter().position(|child| child.path == path);
        match (self.strategy.as_deref(), index) {
            (Some("rest_for_one"), Some(index)) => self.children[index + 1..].iter().collect(),
            (Some("one_for_all"), Some(_)) => {
                self.children.iter().filter(|child| child.path != path).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the next restart of a child makes this supervisor give up.
    pub(crate) fn is_at_its_limit(&self) -> bool {
        self.max_restarts.is_some_and(|limit| self.restarts_in_window >= limit)
    }
}

/// What can be seen inside a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Inside {
    /// It handles no messages until somebody resumes it.
    pub is_suspended: bool,
    /// How many messages may wait, if there is a limit.
    pub capacity: Option<usize>,
    pub oldest_us: Option<u64>,
    /// How many messages were too many.
    pub lost: u64,
    /// What was counted, if somebody asked for it.
    pub counts: Option<Counts>,
    /// What the process shows of its state, as text.
    pub state: Option<String>,
}

/// What a process did with its messages, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub messages_in: u64,
    pub messages_out: u64,
    pub busy_us: u64,
    pub longest_us: u64,
}

/// Something that happened to a process, in the order of `sequence`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Happening {
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    pub path: String,
    /// `started`, `exited`, `restarted`, `start_failed`, `gave_up`, `quarantined`, `terminated` …
    pub kind: &'static str,
    /// The exit reason or the error.
    pub reason: Option<String>,
    /// The sequence of the exit that led to this.
    pub cause: Option<u64>,
    /// The paths that the failure touched.
    pub touched: Vec<String>,
    /// How long the process was away.
    pub recovery_us: Option<u64>,
}

/// A process that an operator ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kill {
    /// Milliseconds since 1970.
    pub at: i64,
    pub path: String,
    pub who: String,
    pub why: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small platform: a store, two domains, an edge.
    pub(crate) fn sample() -> Process {
        let text = include_str!("../tests/tree.json");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_worst_status_below_a_supervisor_is_its_own() {
        let mut tree = sample();
        assert_eq!(tree.worst(), Status::Running);

        tree.children[0].children[1].status = Status::Quarantined;

        assert_eq!(tree.worst(), Status::Quarantined);
    }

    #[test]
    fn the_strategy_says_which_siblings_a_crash_touches() {
        let tree = sample();
        let cases = [
            ("root/store", "root/store/sealer", vec!["partition_keeper"]),
            ("root/store", "root/store/partition_keeper", vec![]),
            ("root/domains/recruit", "root/domains/recruit/queue", vec![]),
            ("root/domains/payroll", "root/domains/payroll/ledger", vec!["rates"]),
        ];

        for (supervisor, path, expected) in cases {
            let touched = tree.find(supervisor).unwrap().touched_by(path);

            let names: Vec<&str> = touched.iter().map(|process| process.id.as_str()).collect();
            assert_eq!(names, expected, "{path}");
        }
    }

    #[test]
    fn a_process_knows_its_supervisor() {
        let tree = sample();

        let parent = tree.parent_of("root/domains/recruit/queue/producer").unwrap();

        assert_eq!(parent.path, "root/domains/recruit/queue");
        assert!(tree.parent_of("root").is_none());
    }
}
