//! The work of the jobs under trial: which way each goes, and where it ends if all is well.

use serde::{Deserialize, Serialize};

/// The name of every job, except of those that nobody knows.
pub const WORK: &str = "work";

/// What a job is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Its number, by which its effects are counted whatever becomes of its identifier.
    pub number: i64,
    /// Which way it goes.
    pub way: Way,
}

/// Which way a job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Has its effect in the transaction that completes it.
    Command,
    /// The same, and leaves another job in that transaction, numbered [`CHILDREN`] higher.
    Parent,
    /// Calls somebody outside the database, under the job's id.
    Outside,
    /// Fails once or twice, then goes the way of a command.
    Flaky,
    /// Panics once, then goes the way of a command.
    Panicking,
    /// Panics whenever it is tried.
    Poisonous,
    /// Asks for more time, twice, then goes the way of a command.
    Snoozing,
    /// Fails whenever it is tried.
    Hopeless,
    /// Finds that there is nothing to be done.
    Refusing,
    /// Would go the way of a command, but waits for one that fails.
    Dependent,
    /// Waits until the gate is open, then goes the way of a command.
    Waiting,
    /// Has its effect and completes itself, then waits for the gate before it commits.
    Holding,
    /// Never answers.
    Hanging,
    /// Holds its thread without an await, then never answers.
    Spinning,
    /// Takes memory until there is no more.
    Flooding,
    /// Fails with a long text full of what no database likes.
    Verbose,
    /// Has a name for which nobody has a performer.
    Unknown,
    /// Has arguments that its performer cannot read, as after a deploy.
    Unreadable,
}

/// The child of a job has this much added to its number.
pub const CHILDREN: i64 = 100_000_000;

/// What a job that fails says, and it says much.
#[must_use]
pub fn long_text() -> String {
    "\0 \u{feff} \\u0000 ' \" ü".repeat(100_000)
}
