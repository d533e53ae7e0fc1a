//! Looking at queues, and acting on them: pause, resume.

use std::collections::BTreeMap;

use jobs::admin;
use kernel::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::jobs_shown::admin_error;
use super::queue_limits::{WaitView, all_waits};
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Reason, Refusal, Result};
use crate::system::System;

/// Why a wish about a queue is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("there is no queue `{0}`; queues are named after their domains")]
    NoSuchQueue(String),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoSuchQueue(_) => Reason::not_found("no_such_queue").at("/queue"),
        }
    }
}

/// List the job queues with their jobs by state.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQueues {}

/// The job queues.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueList {
    /// The queues, by name.
    pub items: Vec<QueueView>,
}

/// A job queue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// Its name, which is that of its domain.
    pub queue: String,
    /// Since when it claims no jobs; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// Jobs at once on this node.
    pub limit: u32,
    /// Attempts running on this node.
    pub running: u32,
    /// Jobs by state. Those that are finished are counted up to 10000, which means: at least.
    pub counts: BTreeMap<String, u64>,
    /// What is in the way of its jobs that are due; absent if none is due, or nothing in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<WaitView>,
}

impl Action for ListQueues {
    const SPEC: Spec = Spec::read("list_queues", "/queues").needs(Access::Operate);
    type Output = QueueList;
    async fn act(self, system: &System) -> Result<QueueList> {
        let queues = admin::list_queues(system.queues()).await.map_err(admin_error)?;
        let mut waits = all_waits(system).await?;
        let items = queues.into_iter().map(|info| QueueView {
            waits: waits.remove(&info.queue),
            limit: info.stats.as_ref().map_or(0, |stats| stats.limit),
            running: info.stats.as_ref().map_or(0, |stats| stats.running),
            queue: info.queue,
            paused_at: info.paused_at,
            counts: info
                .counts
                .into_iter()
                .map(|(state, count)| (state.name().to_owned(), count))
                .collect(),
        });
        Ok(QueueList { items: items.collect() })
    }
}

/// A queue was paused or resumed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueTurned {
    /// The queue.
    pub queue: String,
    /// Whether it now claims no jobs.
    pub paused: bool,
}

/// Pause a queue: running attempts finish, no further job is claimed, on any node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseQueue {
    /// The queue, which has the name of its domain.
    pub queue: String,
}

/// Resume a paused queue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeQueue {
    /// The queue, which has the name of its domain.
    pub queue: String,
}

impl Action for PauseQueue {
    const SPEC: Spec = Spec::invoke("pause_queue", "/queues/{queue}/pause").needs(Access::Operate);
    type Output = QueueTurned;
    async fn act(self, system: &System) -> Result<QueueTurned> {
        must_exist(system, &self.queue)?;
        system.queues().pause(&self.queue).await?;
        Ok(QueueTurned { queue: self.queue, paused: true })
    }
}

impl Action for ResumeQueue {
    const SPEC: Spec =
        Spec::invoke("resume_queue", "/queues/{queue}/resume").needs(Access::Operate);
    type Output = QueueTurned;
    async fn act(self, system: &System) -> Result<QueueTurned> {
        must_exist(system, &self.queue)?;
        system.queues().resume(&self.queue).await?;
        Ok(QueueTurned { queue: self.queue, paused: false })
    }
}

pub(super) fn must_exist(system: &System, queue: &str) -> Result<()> {
    let known = system.catalog().domain(queue);
    known.map(drop).ok_or_else(|| NotGranted::NoSuchQueue(queue.to_owned()).into())
}
