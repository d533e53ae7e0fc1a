//! The duties of the job queues: who leads them, how far they are, how long jobs are remembered.

use std::time::Duration;

use jobs::pruner::Retention;
use jobs::{JobState, leader, pruner, reindexer};
use kernel::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Domain;
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Reason, Refusal, Result};
use crate::system::System;

/// The operations on the duties.
pub(super) fn declare(operator: Domain) -> Domain {
    operator.action::<ShowDuties>().action::<PutRetention>().action::<ResetRetention>()
}

/// So many indexes are shown, the most bloated.
const INDEXES_MAX: usize = 5;

/// Why a wish about the duties is not granted.
#[derive(Debug, thiserror::Error)]
enum NotGranted {
    #[error("jobs do not end in `{0}`; write completed, cancelled or discarded")]
    NoEnd(String),
    #[error("there is no queue `{0}`; write the name of a domain, or * for all that have no line")]
    NoSuchQueue(String),
    #[error("nothing was said of {0} jobs of `{1}`")]
    NothingSaid(JobState, String),
}

impl Refusal for NotGranted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoEnd(_) => Reason::invalid("no_end").at("/state"),
            Self::NoSuchQueue(_) => Reason::not_found("no_such_queue").at("/queue"),
            Self::NothingSaid(..) => Reason::not_found("nothing_said").at("/queue"),
        }
    }
}

/// Show the duties of the job queues: which node leads them, how far pruning is, how long finished
/// jobs are remembered, and which indexes are the most bloated.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowDuties {}

/// The duties of the job queues.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DutiesView {
    /// The node that leads, or led last; absent if none ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderView>,
    /// Whether that is the node that answers.
    pub is_here: bool,
    /// Whether a round of pruning is under way on the node that answers.
    pub is_pruning: bool,
    /// How many jobs the node that answers has pruned since it started.
    pub pruned: u64,
    /// How long jobs are remembered that ended.
    pub retention: Vec<RetentionView>,
    /// The most bloated indexes of the queue tables.
    pub indexes: Vec<IndexView>,
}

/// The node that leads the duties.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaderView {
    /// The node, as it stands on its attempts.
    pub node: String,
    /// Its name, the same after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The number of its leadership; each is higher than all before.
    pub epoch: i64,
    /// Since when it leads.
    pub since: Timestamp,
    /// When its lease ends unless it is renewed.
    pub expires_at: Timestamp,
    /// Whether the lease has ended and nobody has taken over yet.
    pub is_expired: bool,
}

/// How long jobs are remembered that ended in a state.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RetentionView {
    /// The queue; * for all that have no line of their own.
    pub queue: String,
    /// The state: completed, cancelled or discarded.
    pub state: String,
    /// For how many seconds.
    pub keep_s: u64,
    /// When an operator said so; absent for what holds by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

/// How large an index is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct IndexView {
    /// The index.
    pub index: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many bytes its entries need, roughly.
    pub needed_bytes: u64,
}

impl From<Retention> for RetentionView {
    fn from(retention: Retention) -> Self {
        Self {
            queue: retention.queue,
            state: retention.state.name().to_owned(),
            keep_s: retention.keep.as_secs(),
            updated_at: retention.updated_at,
        }
    }
}

impl Action for ShowDuties {
    const SPEC: Spec = Spec::read("show_duties", "/duties").needs(Access::Operate);
    type Output = DutiesView;
    async fn act(self, system: &System) -> Result<DutiesView> {
        let queues = system.queues();
        let leader = leader::current(queues).await?.map(|leader| LeaderView {
            node: leader.node,
            name: leader.name,
            epoch: leader.epoch,
            since: leader.since,
            expires_at: leader.expires_at,
            is_expired: leader.is_expired,
        });
        let pruning = pruner::stats(queues);
        let retention = pruner::list(queues).await?.into_iter().map(RetentionView::from);
        let indexes = reindexer::sizes(queues).await?.into_iter().take(INDEXES_MAX);
        Ok(DutiesView {
            leader,
            is_here: queues.is_leader(),
            is_pruning: pruning.is_under_way,
            pruned: pruning.pruned,
            retention: retention.collect(),
            indexes: indexes
                .map(|size| IndexView {
                    index: size.index,
                    bytes: size.bytes,
                    needed_bytes: size.needed_bytes,
                })
                .collect(),
        })
    }
}

/// Say how long jobs are remembered that ended in a state; then they are deleted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRetention {
    /// The queue; * for all that have no line of their own.
    pub queue: String,
    /// The state they ended in: completed, cancelled or discarded.
    pub state: String,
    /// For how many seconds, ten years at most.
    #[schemars(range(min = 1, max = 315_576_000))]
    pub keep_s: u64,
}

/// Take back what was said about how long jobs of a queue are remembered.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetRetention {
    /// The queue; * for all that have no line of their own.
    pub queue: String,
    /// The state they ended in: completed, cancelled or discarded.
    pub state: String,
}

/// How long jobs are remembered now.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Retentions {
    /// All that holds, what holds by itself first.
    pub items: Vec<RetentionView>,
}

impl Action for PutRetention {
    const SPEC: Spec = Spec::replace("put_retention", "/retention/{queue}/{state}")
        .needs(Access::Operate)
        .destroys();
    type Output = Retentions;
    async fn act(self, system: &System) -> Result<Retentions> {
        let state = end(&self.state)?;
        if self.queue != pruner::EVERY_QUEUE && system.catalog().domain(&self.queue).is_none() {
            return Err(NotGranted::NoSuchQueue(self.queue).into());
        }
        let keep = Duration::from_secs(self.keep_s);
        pruner::remember(system.queues(), &self.queue, state, keep).await?;
        retentions(system).await
    }
}

impl Action for ResetRetention {
    const SPEC: Spec =
        Spec::remove("reset_retention", "/retention/{queue}/{state}").needs(Access::Operate);
    type Output = Retentions;
    async fn act(self, system: &System) -> Result<Retentions> {
        let state = end(&self.state)?;
        if !pruner::forget(system.queues(), &self.queue, state).await? {
            return Err(NotGranted::NothingSaid(state, self.queue).into());
        }
        retentions(system).await
    }
}

async fn retentions(system: &System) -> Result<Retentions> {
    let items = pruner::list(system.queues()).await?;
    Ok(Retentions { items: items.into_iter().map(RetentionView::from).collect() })
}

fn end(name: &str) -> Result<JobState> {
    let state = JobState::from_name(name).filter(|state| state.is_final());
    state.ok_or_else(|| NotGranted::NoEnd(name.to_owned()).into())
}
