//! Acting on many jobs: look first, then have it done in the background, and follow it.

use std::collections::BTreeMap;

use jobs::admin::Change;
use jobs::bulk::{self, Bulk, BulkError};
use kernel::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::consumers::actor;
use super::jobs_shown::{JobCountView, JobView};
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;

/// Why a wish about many jobs is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("{0}")]
    Filter(String),
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    Ended(String),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::Filter(_) => Reason::invalid("wrong_filter").at("/filter"),
            Self::Unknown(_) => Reason::not_found("no_such_bulk").at("/bulk_id"),
            Self::Ended(_) => Reason::conflict("bulk_has_ended").at("/bulk_id"),
        }
    }
}

fn bulk_error(error: BulkError) -> Error {
    let message = error.to_string();
    match error {
        BulkError::Filter(_) | BulkError::EveryJob => NotGranted::Filter(message).into(),
        BulkError::Unknown(_) => NotGranted::Unknown(message).into(),
        BulkError::Ended(..) => NotGranted::Ended(message).into(),
        BulkError::Database(error) => error.into(),
    }
}

/// What can be done to jobs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobChange {
    /// Make them available again, with at least one attempt left.
    Retry,
    /// Make those available now that wait for their time.
    RunNow,
    /// Cancel those that are not finished.
    Cancel,
    /// Give those up that are not finished, as failed for good.
    Discard,
    /// Delete those that do not execute.
    Delete,
}

impl JobChange {
    const fn change(self) -> Change {
        match self {
            Self::Retry => Change::Retry,
            Self::RunNow => Change::RunNow,
            Self::Cancel => Change::Cancel,
            Self::Discard => Change::Discard,
            Self::Delete => Change::Delete,
        }
    }

    const fn of(change: Change) -> Self {
        match change {
            Change::Retry => Self::Retry,
            Change::RunNow => Self::RunNow,
            Change::Cancel => Self::Cancel,
            Change::Discard => Self::Discard,
            Change::Delete => Self::Delete,
        }
    }
}

/// Show what would be done to many jobs, without doing it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewBulk {
    /// What would be done to each of them.
    pub change: JobChange,
    /// Which jobs, by the qualifiers of `list_jobs`; at least one.
    pub filter: String,
}

/// What would be done to many jobs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BulkPreview {
    /// How many jobs fit the filter now, up to 10000.
    pub fits: JobCountView,
    /// How many of these would be left as they are, by the reason: a state, `waits for others` or
    /// `others wait for it`.
    pub refusals: BTreeMap<String, u64>,
    /// The newest of the jobs.
    pub sample: Vec<JobView>,
}

impl Action for PreviewBulk {
    const SPEC: Spec = Spec::read("preview_bulk", "/bulk_preview").needs(Access::Operate);
    type Output = BulkPreview;
    async fn act(self, system: &System) -> Result<BulkPreview> {
        let preview = bulk::preview_bulk(system.queues(), self.change.change(), &self.filter);
        let bulk::Preview { fits, refusals, sample } = preview.await.map_err(bulk_error)?;
        Ok(BulkPreview {
            fits: JobCountView { count: fits.count, is_exact: fits.is_exact },
            refusals,
            sample: sample.into_iter().map(JobView::try_from).collect::<Result<_>>()?,
        })
    }
}

/// Do something to every job that fits a filter, in the background.
///
/// It is done in batches, newest first, to jobs that were enqueued before now; jobs that do not
/// allow it are left as they are and counted. It goes on after a restart, on whatever node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBulk {
    /// What is done to each of them.
    pub change: JobChange,
    /// Which jobs, by the qualifiers of `list_jobs`; at least one.
    pub filter: String,
}

/// Something that is done to many jobs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BulkView {
    /// Its identity.
    pub bulk_id: Uuid,
    /// What is done to each of the jobs.
    pub change: JobChange,
    /// Which jobs those are.
    pub filter: String,
    /// Who asked for it.
    pub asked_by: String,
    /// `running`, `done`, `cancelled` or `failed`.
    pub state: String,
    /// How many jobs fitted when it began; absent until they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// How many it has changed.
    pub done: u64,
    /// How many it has left as they are.
    pub refused: u64,
    /// For what reason how many.
    pub refusals: BTreeMap<String, u64>,
    /// Why it cannot go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it last noted how far it is.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl From<Bulk> for BulkView {
    fn from(bulk: Bulk) -> Self {
        Self {
            bulk_id: bulk.bulk_id,
            change: JobChange::of(bulk.change),
            filter: bulk.filter,
            asked_by: bulk.asked_by,
            state: bulk.state.name().to_owned(),
            total: bulk.total,
            done: bulk.done,
            refused: bulk.refused,
            refusals: bulk.refusals,
            failure: bulk.failure,
            started_at: bulk.started_at,
            updated_at: bulk.updated_at,
            ended_at: bulk.ended_at,
        }
    }
}

impl Action for StartBulk {
    const SPEC: Spec =
        Spec::invoke("start_bulk", "/bulks").needs(Access::Operate).destroys().keeps_answer();
    type Output = BulkView;
    async fn act(self, system: &System) -> Result<BulkView> {
        let change = self.change.change();
        let bulk = bulk::start_bulk(system.queues(), change, &self.filter, &actor()).await;
        bulk.map(BulkView::from).map_err(bulk_error)
    }
}

/// Show how far something is that is done to many jobs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowBulk {
    /// Which, as `start_bulk` told.
    pub bulk_id: Uuid,
}

impl Action for ShowBulk {
    const SPEC: Spec = Spec::read("show_bulk", "/bulks/{bulk_id}").needs(Access::Operate);
    type Output = BulkView;
    async fn act(self, system: &System) -> Result<BulkView> {
        let bulk = bulk::get_bulk(system.queues(), self.bulk_id).await;
        bulk.map(BulkView::from).map_err(bulk_error)
    }
}

/// List what is or was done to many jobs, newest first; the latest hundred.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBulks {}

/// What is or was done to many jobs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Bulks {
    /// Newest first.
    pub items: Vec<BulkView>,
}

impl Action for ListBulks {
    const SPEC: Spec = Spec::read("list_bulks", "/bulks").needs(Access::Operate);
    type Output = Bulks;
    async fn act(self, system: &System) -> Result<Bulks> {
        let bulks = bulk::list_bulks(system.queues()).await?;
        Ok(Bulks { items: bulks.into_iter().map(BulkView::from).collect() })
    }
}

/// Stop something that is done to many jobs, after the batch under way. What is done stays done.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBulk {
    /// Which, as `start_bulk` told.
    pub bulk_id: Uuid,
}

impl Action for CancelBulk {
    const SPEC: Spec =
        Spec::invoke("cancel_bulk", "/bulks/{bulk_id}/cancel").needs(Access::Operate);
    type Output = BulkView;
    async fn act(self, system: &System) -> Result<BulkView> {
        let bulk = bulk::cancel_bulk(system.queues(), self.bulk_id).await;
        bulk.map(BulkView::from).map_err(bulk_error)
    }
}
