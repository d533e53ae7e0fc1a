//! Looking at what controls a queue and why its jobs wait, and scaling it at run time.

use std::collections::HashMap;

use jobs::waits::{QueueControl, Waits};
use jobs::{Limits, Overrides, ScaleError};
use kernel::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::queues::must_exist;
use crate::domain::Domain;
use crate::operation::{Access, Action, Spec};
use crate::refusal::{Error, Reason, Refusal, Result};
use crate::system::System;
use crate::tree;

/// Adds what controls queues to the operator's domain.
pub(super) fn declare(operator: Domain) -> Domain {
    operator
        .action::<ShowQueue>()
        .action::<ScaleQueue>()
        .action::<ResetQueue>()
        .action::<PauseQueueOnNode>()
        .action::<ResumeQueueOnNode>()
}

/// Limits that cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CannotHold(jobs::Contradiction);

impl Refusal for CannotHold {
    fn reason(&self) -> Reason {
        Reason::invalid("limits_cannot_hold")
    }
}

fn scale_error(error: ScaleError) -> Error {
    match error {
        ScaleError::Contradiction(contradiction) => CannotHold(contradiction).into(),
        ScaleError::Database(error) => error.into(),
    }
}

/// What is in the way of jobs that are due.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WaitView {
    /// `paused`; `quarantined`, because its domain failed too often; `no_producer`, because its
    /// domain is down on every node; `paused_on_nodes`, on every one that performs it;
    /// `rate_limited`; `global_limit`; `partition_limits`; or `busy`, because all places of this
    /// node are taken.
    pub reason: String,
    /// Until when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl From<Waits> for WaitView {
    fn from(waits: Waits) -> Self {
        let (reason, until) = match waits {
            Waits::Paused => ("paused", None),
            Waits::NoProducer => ("no_producer", None),
            Waits::PausedOnNodes => ("paused_on_nodes", None),
            Waits::RateLimited { until } => ("rate_limited", Some(until)),
            Waits::GlobalLimit => ("global_limit", None),
            Waits::PartitionLimits => ("partition_limits", None),
            Waits::Busy => ("busy", None),
        };
        Self { reason: reason.to_owned(), until }
    }
}

/// What limits a queue over all nodes together. What is absent does not limit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LimitsView {
    /// Jobs that execute at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_limit: Option<u32>,
    /// What jobs are told apart by: `organisation`, `name`, `key`, or `args.` and a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<String>,
    /// Jobs of one partition that execute at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_limit: Option<u32>,
    /// Attempts that start within any period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Attempts of one partition that start within any period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_rate_limit: Option<u32>,
    /// The length of that period in milliseconds; 60000 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_period_ms: Option<u32>,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        Self {
            global_limit: limits.global_limit,
            partition_by: limits.partition_by.map(|by| by.to_string()),
            partition_limit: limits.partition_limit,
            rate_limit: limits.rate_limit,
            partition_rate_limit: limits.partition_rate_limit,
            rate_period_ms: limits.rate_period_ms,
        }
    }
}

/// What an operator said about a queue on one node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueOnNode {
    /// The name of the node.
    pub node: String,
    /// Jobs at once there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Since when it claims none there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
}

/// What controls a queue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct QueueControlView {
    /// Its name, which is that of its domain.
    pub queue: String,
    /// Since when it is paused on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// What limits it by supervision.toml.
    pub declared: LimitsView,
    /// What limits it, with what operators said since.
    pub limits: LimitsView,
    /// Jobs at once on each node, if an operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// What operators said about single nodes.
    pub nodes: Vec<QueueOnNode>,
    /// The nodes that perform its jobs.
    pub producers: Vec<String>,
    /// Jobs that execute, over all nodes.
    pub executing: u64,
    /// What is in the way of its jobs that are due; absent if none is due, or nothing in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<WaitView>,
}

fn view(system: &System, control: QueueControl) -> QueueControlView {
    QueueControlView {
        waits: waits(system, &control),
        paused_at: control.paused_at,
        declared: control.declared.into(),
        limits: control.limits.into(),
        limit: control.overrides.limit,
        nodes: control
            .nodes
            .into_iter()
            .map(|node| QueueOnNode {
                node: node.node,
                limit: node.limit,
                paused_at: node.paused_at,
            })
            .collect(),
        producers: control.producers,
        executing: control.executing,
        queue: control.queue,
    }
}

/// What is in the way, with what only the tree of this node knows.
fn waits(system: &System, control: &QueueControl) -> Option<WaitView> {
    let waits = control.waits?;
    let domain = system.catalog().domain(&control.queue);
    let until =
        domain.and_then(|domain| system.tree().quarantined_until(&tree::path_of(domain.name())));
    match (waits, until) {
        (Waits::NoProducer | Waits::Busy, Some(until)) => {
            Some(WaitView { reason: "quarantined".to_owned(), until: Some(until) })
        }
        _ => Some(waits.into()),
    }
}

/// What is in the way of the jobs of each queue, by its name.
pub(super) async fn all_waits(system: &System) -> Result<HashMap<String, WaitView>> {
    let controls = jobs::waits::control(system.queues()).await?;
    let waiting = controls.into_iter().filter_map(|control| {
        let waits = waits(system, &control)?;
        Some((control.queue, waits))
    });
    Ok(waiting.collect())
}

async fn show(system: &System, queue: &str) -> Result<QueueControlView> {
    let controls = jobs::waits::control(system.queues()).await?;
    let found = controls.into_iter().find(|control| control.queue == queue);
    let found =
        found.ok_or_else(|| Error::failure(format!("the queue {queue} is not known yet")))?;
    Ok(view(system, found))
}

/// Show what controls a queue: its limits over all nodes, who performs it, and why its jobs wait.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowQueue {
    /// The queue, which has the name of its domain.
    pub queue: String,
}

impl Action for ShowQueue {
    const SPEC: Spec = Spec::read("show_queue", "/queues/{queue}").needs(Access::Operate);
    type Output = QueueControlView;
    async fn act(self, system: &System) -> Result<QueueControlView> {
        must_exist(system, &self.queue)?;
        show(system, &self.queue).await
    }
}

/// Scale a queue: what is given holds from now on in place of what supervision.toml declares, over
/// restarts, until it is reset. 0, or an empty `partition_by`, lifts a limit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleQueue {
    /// The queue, which has the name of its domain.
    pub queue: String,
    /// Only on the node of this name, where only `limit` can be said; on every node unless told.
    #[serde(default)]
    pub node: Option<String>,
    /// Jobs at once on each node, 1 to 1000.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Jobs at once over all nodes.
    #[serde(default)]
    pub global_limit: Option<u32>,
    /// What jobs are told apart by: `organisation`, `name`, `key`, or `args.` and a name.
    /// Partitions take turns.
    #[serde(default)]
    pub partition_by: Option<String>,
    /// Jobs of one partition at once over all nodes.
    #[serde(default)]
    pub partition_limit: Option<u32>,
    /// Attempts that start within any period, over all nodes.
    #[serde(default)]
    pub rate_limit: Option<u32>,
    /// Attempts of one partition that start within any period, over all nodes.
    #[serde(default)]
    pub partition_rate_limit: Option<u32>,
    /// The length of that period in milliseconds.
    #[serde(default)]
    pub rate_period_ms: Option<u32>,
}

impl Action for ScaleQueue {
    const SPEC: Spec = Spec::invoke("scale_queue", "/queues/{queue}/scale").needs(Access::Operate);
    type Output = QueueControlView;
    async fn act(self, system: &System) -> Result<QueueControlView> {
        must_exist(system, &self.queue)?;
        let said = Overrides {
            limit: self.limit,
            global_limit: self.global_limit,
            partition_by: self.partition_by,
            partition_limit: self.partition_limit,
            rate_limit: self.rate_limit,
            partition_rate_limit: self.partition_rate_limit,
            rate_period_ms: self.rate_period_ms,
        };
        let queues = system.queues();
        match self.node {
            None => drop(queues.scale(&self.queue, said).await.map_err(scale_error)?),
            Some(node) => {
                let only = Overrides { limit: said.limit, ..Overrides::default() };
                if said != only {
                    return Err(OnlyLimit.into());
                }
                queues.scale_on(&self.queue, &node, said.limit).await.map_err(scale_error)?;
            }
        }
        show(system, &self.queue).await
    }
}

/// What holds over all nodes cannot be said of one.
#[derive(Debug, thiserror::Error)]
#[error("of one node only its `limit` can be said; leave out `node`, or the rest")]
struct OnlyLimit;

impl Refusal for OnlyLimit {
    fn reason(&self) -> Reason {
        Reason::invalid("only_limit_of_a_node").at("/node")
    }
}

/// Reset a queue to the limits that supervision.toml declares, on every node. If it is paused, it
/// stays so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetQueue {
    /// The queue, which has the name of its domain.
    pub queue: String,
}

impl Action for ResetQueue {
    const SPEC: Spec = Spec::invoke("reset_queue", "/queues/{queue}/reset").needs(Access::Operate);
    type Output = QueueControlView;
    async fn act(self, system: &System) -> Result<QueueControlView> {
        must_exist(system, &self.queue)?;
        system.queues().reset(&self.queue).await?;
        show(system, &self.queue).await
    }
}

/// Pause a queue on one node only: running attempts finish there, and it claims no further job.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseQueueOnNode {
    /// The queue, which has the name of its domain.
    pub queue: String,
    /// The name of the node.
    pub node: String,
}

/// Resume a queue on a node on which it was paused.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeQueueOnNode {
    /// The queue, which has the name of its domain.
    pub queue: String,
    /// The name of the node.
    pub node: String,
}

impl Action for PauseQueueOnNode {
    const SPEC: Spec =
        Spec::invoke("pause_queue_on_node", "/queues/{queue}/pause_on_node").needs(Access::Operate);
    type Output = QueueControlView;
    async fn act(self, system: &System) -> Result<QueueControlView> {
        must_exist(system, &self.queue)?;
        system.queues().pause_on(&self.queue, &self.node).await?;
        show(system, &self.queue).await
    }
}

impl Action for ResumeQueueOnNode {
    const SPEC: Spec = Spec::invoke("resume_queue_on_node", "/queues/{queue}/resume_on_node")
        .needs(Access::Operate);
    type Output = QueueControlView;
    async fn act(self, system: &System) -> Result<QueueControlView> {
        must_exist(system, &self.queue)?;
        system.queues().resume_on(&self.queue, &self.node).await?;
        show(system, &self.queue).await
    }
}
