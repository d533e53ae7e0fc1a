//! The months of the log: seeing them, letting old ones leave for files, and bringing them back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Log;
use store::archive::{self, ArchiveError, MonthState, RETENTION_MONTHS};
use store::partition::{self, Month, ParseMonthError};
use tokio::runtime::Handle;

use crate::form::VISIBLE_TEXT;
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// Why a month stays where it is.
#[derive(Debug, thiserror::Error)]
enum NotMoved {
    #[error(transparent)]
    NoMonth(#[from] ParseMonthError),
    #[error("{0}")]
    NoSuchMonth(String),
    #[error("{0}")]
    Stays(String),
    #[error("{0}")]
    Damaged(String),
    #[error(
        "this platform was not told where to write old months: start it with --archive-dir, or use \
         `finnest events archive`"
    )]
    NoDirectory,
}

impl Refusal for NotMoved {
    fn reason(&self) -> Reason {
        match self {
            Self::NoMonth(_) => Reason::invalid("no_month").at("/month"),
            Self::NoSuchMonth(_) => Reason::not_found("no_such_month").at("/month"),
            Self::Stays(_) => Reason::conflict("month_stays").at("/month"),
            Self::Damaged(_) => Reason::conflict("month_damaged").at("/month"),
            Self::NoDirectory => Reason::conflict("no_archive_directory"),
        }
    }
}

fn refused(error: ArchiveError) -> Error {
    let said = error.to_string();
    match error {
        ArchiveError::NoPartition(_) | ArchiveError::Empty(_) => NotMoved::NoSuchMonth(said).into(),
        ArchiveError::Retained { .. }
        | ArchiveError::HasLeft { .. }
        | ArchiveError::AtHand(_)
        | ArchiveError::Unsealed { .. }
        | ArchiveError::Unread { .. }
        | ArchiveError::InTheWay { .. }
        | ArchiveError::Busy => NotMoved::Stays(said).into(),
        ArchiveError::WrongFile { .. }
        | ArchiveError::Damaged { .. }
        | ArchiveError::BadLine(_) => NotMoved::Damaged(said).into(),
        ArchiveError::Database(error) => error.into(),
        other => Error::failure(other),
    }
}

/// List the months of the event log: how large each is, and whether it may leave or has left.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPartitions {}

/// The months of the event log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Partitions {
    /// How many months of events are kept at hand.
    pub retention_months: u32,
    /// Where old months are written to; absent if they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Events that lie in no month, because a clock was wrong; they cannot be archived.
    pub strays: i64,
    /// The months, in order.
    pub items: Vec<PartitionView>,
}

/// A month of the event log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PartitionView {
    /// The month in UTC, for example `2019-03`.
    pub month: String,
    /// `ahead`, `current`, `kept`, `archivable`, `archived` or `attached`.
    pub state: String,
    /// About how many events it has; exact if they are in a file.
    pub events: i64,
    /// Its size in the database with all indexes, in bytes.
    pub bytes: i64,
    /// The file its events were written to, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Action for ListPartitions {
    const SPEC: Spec = Spec::read("list_partitions", "/partitions").needs(Access::Operate);
    type Output = Partitions;
    async fn act(self, system: &System) -> Result<Partitions> {
        let place = system.log().shelf();
        let retention_months = place.map_or(RETENTION_MONTHS, |shelf| shelf.retention_months);
        let mut reading = store::begin_reading(system.pool()).await?;
        let months = archive::list(&mut reading, system.now(), retention_months).await?;
        let strays = partition::strays(&mut reading).await?;
        reading.rollback().await?;
        let items = months.into_iter().map(|info| PartitionView {
            month: info.month.to_string(),
            state: state_name(info.state).to_owned(),
            events: info.events,
            bytes: info.bytes,
            file: info.file,
        });
        Ok(Partitions {
            retention_months,
            directory: place.map(|shelf| shelf.directory.display().to_string()),
            strays: strays.map_or(0, |strays| strays.event_count),
            items: items.collect(),
        })
    }
}

const fn state_name(state: MonthState) -> &'static str {
    match state {
        MonthState::Ahead => "ahead",
        MonthState::Current => "current",
        MonthState::Kept => "kept",
        MonthState::Archivable => "archivable",
        MonthState::Archived => "archived",
        MonthState::Attached => "attached",
    }
}

/// Write a month of events to a compressed file and drop it from the database.
///
/// The file is read back and compared with the seals first; the seals stay for ever. Refused while
/// the month lies within the retention, has events without a seal, or is not read by everybody.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveMonth {
    /// The month in UTC, for example `2019-03`.
    #[schemars(length(min = 7, max = 7))]
    pub month: String,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

/// A month that has left, or has come back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MonthMoved {
    /// The month.
    pub month: String,
    /// The file with its events, on the node that answered.
    pub file: String,
    /// How many events these are.
    pub event_count: u64,
}

impl Action for ArchiveMonth {
    const SPEC: Spec = Spec::invoke("archive_month", "/partitions/{month}/archive")
        .needs(Access::Operate)
        .destroys()
        .keeps_answer();
    type Output = MonthMoved;
    async fn act(self, system: &System) -> Result<MonthMoved> {
        let month: Month = self.month.parse().map_err(NotMoved::from)?;
        let place = system.log().shelf().cloned().ok_or(NotMoved::NoDirectory)?;
        let archived = aside(system.log(), async move |log| {
            archive::archive(&log, &place.directory, month, place.retention_months, |_| {}).await
        });
        let archived = archived.await?.map_err(refused)?;
        Ok(MonthMoved {
            month: self.month,
            file: archived.file.display().to_string(),
            event_count: archived.event_count,
        })
    }
}

/// Bring an archived month of events back out of its file, for an audit or a rebuild.
///
/// Every event is compared with its seal. The month leaves again with `archive_month`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachMonth {
    /// The month in UTC, for example `2019-03`.
    #[schemars(length(min = 7, max = 7))]
    pub month: String,
    /// Why, for those who read the log later.
    #[schemars(length(min = 3, max = 500), regex(pattern = VISIBLE_TEXT))]
    pub reason: String,
}

impl Action for AttachMonth {
    const SPEC: Spec = Spec::invoke("attach_month", "/partitions/{month}/attach")
        .needs(Access::Operate)
        .keeps_answer();
    type Output = MonthMoved;
    async fn act(self, system: &System) -> Result<MonthMoved> {
        let month: Month = self.month.parse().map_err(NotMoved::from)?;
        let attached =
            aside(system.log(), async move |log| archive::attach(&log, month, None, |_| {}).await);
        let attached = attached.await?.map_err(refused)?;
        Ok(MonthMoved {
            month: self.month,
            file: attached.file.display().to_string(),
            event_count: attached.event_count,
        })
    }
}

/// Files are read and written on a thread that may block, so that nobody waits for a disk.
async fn aside<T: Send + 'static>(
    log: &Log,
    act: impl AsyncFnOnce(Log) -> T + Send + 'static,
) -> Result<T> {
    let (log, runtime) = (log.clone(), Handle::current());
    let done = tokio::task::spawn_blocking(move || runtime.block_on(act(log)));
    done.await.map_err(Error::failure)
}
