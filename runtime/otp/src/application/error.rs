//! What a controller of applications refuses, and why a start failed.

use crate::exit::StartError;

/// Why applications were not added, started or stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationError {
    /// There is none of that name.
    #[error("there is no application `{name}`{}", did_you_mean(nearest.as_deref()))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The most similar name there is.
        nearest: Option<String>,
    },
    /// There is one of that name already.
    #[error("two applications are called `{name}`")]
    DuplicateName {
        /// Their name.
        name: String,
    },
    /// A name that cannot be part of a path.
    #[error("{name:?} cannot be the name of an application: it is empty or contains a slash")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// An application needs one that there is not.
    #[error(
        "application `{application}` depends on `{dependency}`, which there is not{}",
        did_you_mean(nearest.as_deref())
    )]
    UnknownDependency {
        /// Who needs it.
        application: String,
        /// What it needs.
        dependency: String,
        /// The most similar name there is.
        nearest: Option<String>,
    },
    /// Applications need each other in a circle.
    #[error("applications depend on each other in a circle: {}", path.join(" -> "))]
    Cycle {
        /// The circle; the first is the last again.
        path: Vec<String>,
    },
    /// An application it needs is not running.
    #[error("application `{application}` needs `{dependency}`, which is not started")]
    NotStarted {
        /// Who needs it.
        application: String,
        /// What it needs.
        dependency: String,
    },
    /// It is running.
    #[error("application `{name}` is running already")]
    AlreadyStarted {
        /// Its name.
        name: String,
    },
    /// It is not running.
    #[error("application `{name}` is not running")]
    NotRunning {
        /// Its name.
        name: String,
    },
    /// It did not start.
    #[error("application `{name}` did not start: {error}{}", stopped_again(stopped))]
    StartFailed {
        /// Its name.
        name: String,
        /// Why.
        error: StartError,
        /// Those that had been started for it and have been stopped again, in that order.
        stopped: Vec<String>,
    },
    /// All applications have been stopped, or are about to be.
    #[error("the applications are stopped, or about to be")]
    Ended,
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

fn stopped_again(stopped: &[String]) -> String {
    if stopped.is_empty() {
        return String::new();
    }
    format!("; stopped again: `{}`", stopped.join("`, `"))
}

/// The most similar of `names`.
pub(super) fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let likeness = |name: &str| strsim::jaro_winkler(wrong, name);
    names.max_by(|one, other| likeness(one).total_cmp(&likeness(other))).map(ToOwned::to_owned)
}
