//! Replay: the tables of a read model made again from the log, beside the live ones.
//!
//! ```text
//! live     ──── consumer ────▶ recruit.pipeline                        readers see this one
//! origin ─ rebuilder ────────▶ shadow_of_recruit__pipeline.pipeline
//!                                      │ caught up; the live cursor is locked
//!                                      ▼
//!                              digest both, compare, swap, commit
//! ```
//!
//! A rebuild goes batch by batch: the rows of the shadow and its position commit together, so it
//! survives being killed, and a crash leaves no trace in the digest. It never runs ahead of the
//! live cursor, which makes the two comparable: in the last transaction that cursor is locked, what
//! is missing is applied, and both sides stand at the same event. Whatever holds then is what
//! readers get, in the commit that swaps the tables; they see the old ones or the new ones.
//!
//! **Invariant:** nothing here knows what an event means. Filling the tables is the caller's; this
//! is where, from when, how fast, and whether it came out the same.

mod digest;
mod listing;
mod pace;
mod process;
mod record;
mod shadow;
mod source;
mod step;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::PgConnection;

pub use digest::{Comparison, Difference, DifferenceKind, TableDigest, digest_live, digest_tables};
pub use listing::{LiveTables, ProjectionRecord, RebuildRecord, RebuildState, list};
pub use process::Rebuilder;
pub use record::{Wish, accept, cancel, declare, keep, live_version, pause, request, resume};
pub use shadow::{faults, shadow_of};
pub use step::{Rebuild, Step};

use crate::consumer::ConsumeError;
use crate::read::EventName;
use crate::sealed::{ReadError, SealedEvent};

/// What fills some tables from events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadModel {
    /// Its persistent name, which is that of its cursor: domain, dot, projection.
    pub name: String,
    /// The version of the logic at hand.
    pub version: u16,
    /// The tables it fills, in the schema of its domain.
    pub tables: Vec<String>,
    /// The events it follows.
    pub filter: Vec<EventName>,
}

impl ReadModel {
    /// The schema of its live tables, which is the name of its domain.
    #[must_use]
    pub fn schema(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// What a rebuild does with a batch, in the transaction that also moves its position.
///
/// It is given the search path on which the tables to fill are found first. It begins and ends as
/// `finnest_runtime`, and must not commit.
pub type ApplyTo = Arc<
    dyn for<'c> Fn(
            &'c mut PgConnection,
            &'c str,
            &'c [SealedEvent],
        ) -> BoxFuture<'c, Result<(), ConsumeError>>
        + Send
        + Sync,
>;

/// What was asked of a rebuild was not done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Postgres refused or could not be reached.
    #[error("the database refused the rebuild")]
    Database(#[from] sqlx::Error),
    /// The log could not be read.
    #[error("the log could not be read")]
    Read(#[source] ReadError),
    /// There is one already.
    #[error("{0} is being rebuilt already; cancel that rebuild first")]
    UnderWay(String),
    /// There is none, or it is in a state that does not allow it.
    #[error("the rebuild of {projection} is {state}, so it cannot be {wished}")]
    WrongState {
        /// The projection.
        projection: String,
        /// What its rebuild is doing.
        state: RebuildState,
        /// What was asked for, as a participle.
        wished: &'static str,
    },
    /// There is none.
    #[error("{0} is not being rebuilt")]
    NotUnderWay(String),
    /// The projection reaches for its live table by the name of the schema.
    #[error(
        "a rebuild of {projection} reached for the live table {table}: its statements have to name \
         the table without the schema"
    )]
    TouchesLive {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
    },
    /// Some of the events are in a file only, so the tables could not be made in full.
    #[error(
        "{projection} cannot be rebuilt while events of {month} are only in an archive; attach the \
         archived months first"
    )]
    Archived {
        /// The projection.
        projection: String,
        /// The first such month, as `2026-03`.
        month: String,
    },
    /// The events could not be applied.
    #[error("the events from position {position} on could not be applied")]
    Apply {
        /// The first of the batch.
        position: kernel::Position,
        /// Why.
        #[source]
        source: ConsumeError,
    },
}

impl From<ReadError> for ReplayError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => Self::Database(error),
            other => Self::Read(other),
        }
    }
}
