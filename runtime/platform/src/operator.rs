//! The operator's domain: the running platform as a thing that can be watched and repaired.
//!
//! It is a domain like the others, so the console, the command line and REST get it for nothing,
//! and what operators do is recorded in the same log as everything else: who, what, why, with what
//! result.

use kernel::{DomainName, Event, EventType, Id, Principal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

mod checkpoints;
mod connections;
mod consumers;
mod duties;
mod enact;
mod job_bulks;
mod jobs_changed;
mod jobs_shown;
mod kill;
mod log;
mod partitions;
mod process;
mod projections;
mod queue_limits;
mod queues;
mod reactions;
mod rebuilds;
mod reload;
mod schedules;
mod tool_calls;
mod tree;
mod verification;

pub use checkpoints::{
    CheckpointView, Checkpoints, GetCheckpoint, ListCheckpoints, PlaceView, ProveEvent,
};
pub use connections::{DisconnectUser, Disconnected, UserDisconnected};
pub(crate) use consumers::list as list_consumers;
pub use consumers::{
    ConsumerList, ConsumerView, ListConsumers, ListSkippedEvents, Retried, RetryConsumer,
    SkipEvent, SkippedEvents, SkippedView, StallView,
};
pub use duties::{
    DutiesView, IndexView, LeaderView, PutRetention, ResetRetention, RetentionView, Retentions,
    ShowDuties,
};
pub(crate) use enact::enact;
pub use job_bulks::{
    BulkPreview, BulkView, Bulks, CancelBulk, JobChange, ListBulks, PreviewBulk, ShowBulk,
    StartBulk,
};
pub use jobs_changed::{CancelJob, DeleteJob, DiscardJob, EditJob, RetryJob, RunJobNow};
pub use jobs_shown::{CountJobs, GetJob, JobCountView, JobErrorView, JobView, Jobs, ListJobs};
pub use kill::{KillProcess, Killed, LiftQuarantine, Lifted};
pub use log::{Cursors, ListCursors, ListEvents, SealedEventView, SealedEvents, VerifyChain};
pub use partitions::{
    ArchiveMonth, AttachMonth, ListPartitions, MonthMoved, PartitionView, Partitions,
};
pub use process::{
    GetProcess, MailboxView, ObserveProcess, ProcessActedOn, ProcessEvent, ProcessStatistics,
    ProcessTrace, ProcessView, ResumeProcess, SuspendProcess, TraceProcess,
};
pub use projections::{
    DigestProjection, DigestView, ListProjections, ProjectionDigest, ProjectionView, Projections,
    RebuildView,
};
pub use queue_limits::{
    PauseQueueOnNode, QueueControlView, ResetQueue, ResumeQueueOnNode, ScaleQueue, ShowQueue,
};
pub use queues::{ListQueues, PauseQueue, QueueList, ResumeQueue};
pub use reactions::{ReactionView, ReactionsReplayed, ReplayReactions};
pub use rebuilds::{
    CancelRebuild, KeepProjection, PauseRebuild, RebuildProjection, RebuildTurned, ResumeRebuild,
    SwapProjection,
};
pub use reload::ReloadSupervision;
pub use schedules::{
    DeleteSchedule, GetSchedule, ListSchedules, PauseSchedule, PreviewSchedule, PutSchedule,
    ResetSchedule, ResumeSchedule, RunSchedule, SchedulePreview, ScheduleRun, ScheduleView,
    Schedules,
};
pub use tool_calls::{RecordToolCalled, ToolCall, ToolCalled};
pub use tree::{GetTree, ListSupervisionEvents, ProcessNode, SupervisionHistory};
pub use verification::{ChainReport, ShowVerification, StartVerification, Verification};

use connections::RecordUserDisconnected;

use crate::domain::Domain;
use crate::idempotency;
use crate::operation::{Command, Spec};
use crate::page::Page;
use crate::refusal::Result;
use crate::tx::Tx;

tokio::task_local! {
    /// Who asked for the action that is under way.
    static ACTOR: Principal;
}

/// The name of the operator's domain.
pub const OPERATOR: DomainName = DomainName::new("operator");

/// The operator's domain, to be listed beside the business domains.
#[must_use]
pub fn domain() -> Domain {
    queue_limits::declare(schedules::declare(duties::declare(recording(described()))))
        .action::<GetTree>()
        .action::<ListSupervisionEvents>()
        .action::<KillProcess>()
        .action::<LiftQuarantine>()
        .action::<DisconnectUser>()
        .action::<GetProcess>()
        .action::<SuspendProcess>()
        .action::<ResumeProcess>()
        .action::<ObserveProcess>()
        .action::<TraceProcess>()
        .action::<ReloadSupervision>()
        .action::<ListQueues>()
        .action::<PauseQueue>()
        .action::<ResumeQueue>()
        .action::<ListJobs>()
        .action::<CountJobs>()
        .action::<GetJob>()
        .action::<RetryJob>()
        .action::<RunJobNow>()
        .action::<CancelJob>()
        .action::<DiscardJob>()
        .action::<DeleteJob>()
        .action::<EditJob>()
        .action::<PreviewBulk>()
        .action::<StartBulk>()
        .action::<ShowBulk>()
        .action::<ListBulks>()
        .action::<CancelBulk>()
        .action::<ListCursors>()
        .action::<ListProjections>()
        .action::<RebuildProjection>()
        .action::<PauseRebuild>()
        .action::<ResumeRebuild>()
        .action::<CancelRebuild>()
        .action::<SwapProjection>()
        .action::<KeepProjection>()
        .action::<DigestProjection>()
        .action::<ReplayReactions>()
        .action::<ListConsumers>()
        .action::<RetryConsumer>()
        .action::<SkipEvent>()
        .action::<ListSkippedEvents>()
        .action::<ListEvents>()
        .action::<VerifyChain>()
        .action::<StartVerification>()
        .action::<ShowVerification>()
        .action::<ListCheckpoints>()
        .action::<GetCheckpoint>()
        .action::<ProveEvent>()
        .action::<ListPartitions>()
        .action::<ArchiveMonth>()
        .action::<AttachMonth>()
        .child("actions", enact::supervisor)
        .child("verifications", verification::supervisor)
        .page(Page::new("Operator actions").feed::<ActionRequested>().feed::<ActionFinished>())
}

fn described() -> Domain {
    Domain::new(OPERATOR).about(
        "Runs the platform: processes, queues and jobs, schedules, the event log and its readers. \
         For operators only.",
    )
}

/// What is recorded of actions.
fn recording(operator: Domain) -> Domain {
    operator
        .command::<RecordActionRequested>()
        .command::<RecordActionFinished>()
        .command::<RecordToolCalled>()
        .command::<RecordUserDisconnected>()
        .emits::<ActionRequested>()
        .emits::<ActionFinished>()
        .emits::<ToolCalled>()
        .emits::<UserDisconnected>()
}

/// Somebody asked for an action outside any transaction: recorded before it acts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ActionRequested {
    /// The action, to find its outcome.
    pub action_id: Id<Action>,
    /// The domain asked.
    pub domain: String,
    /// The operation, for example `kill_process`.
    pub operation: String,
    /// What was asked for, with the reason given.
    pub input: Value,
}

/// How an action ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ActionFinished {
    /// The action.
    pub action_id: Id<Action>,
    /// The operation, for example `kill_process`.
    pub operation: String,
    /// `done`, or the kind of the error.
    pub outcome: String,
    /// What went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was answered, where the answer tells what was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
}

/// What an action's id identifies.
#[derive(Debug)]
pub enum Action {}

impl Event for ActionRequested {
    const TYPE: EventType = OPERATOR.event("action_requested", 1);
    fn aggregate_id(&self) -> Uuid {
        self.action_id.uuid()
    }
}

impl Event for ActionFinished {
    const TYPE: EventType = OPERATOR.event("action_finished", 1);
    fn aggregate_id(&self) -> Uuid {
        self.action_id.uuid()
    }
}

/// Records that an action was asked for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordActionRequested(ActionRequested);

impl Command for RecordActionRequested {
    const SPEC: Spec = Spec::internal("record_action_requested");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&self.0).await.map(drop)
    }
}

/// Records how an action ended, once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordActionFinished(ActionFinished);

impl Command for RecordActionFinished {
    const SPEC: Spec = Spec::internal("record_action_finished");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        // The process that acted and the request that waited for it may both come with it.
        if !idempotency::is_first(tx, Self::SPEC.name(), &self.0.action_id.to_string()).await? {
            return Ok(());
        }
        tx.append(&self.0).await.map(drop)
    }
}
