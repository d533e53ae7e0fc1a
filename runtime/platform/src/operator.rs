//! The operator's domain: the running platform as a thing that can be watched and repaired.
//!
//! It is a domain like the others, so the console, the command line and REST get it for nothing,
//! and what operators do is recorded in the same log as everything else: who, what, why, with what
//! result.

use kernel::{DomainName, Event, EventType, Id, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

mod kill;
mod log;
mod process;
mod queues;
mod reload;
mod tree;

pub use kill::{KillProcess, Killed, LiftQuarantine, Lifted};
pub use log::{
    ChainReport, Cursors, ListCursors, ListEvents, SealedEventView, SealedEvents, VerifyChain,
    verify,
};
pub use process::{
    GetProcess, MailboxView, ObserveProcess, ProcessActedOn, ProcessEvent, ProcessStatistics,
    ProcessTrace, ProcessView, ResumeProcess, SuspendProcess, TraceProcess,
};
pub use queues::{
    CancelJob, Jobs, ListJobs, ListQueues, PauseQueue, QueueList, ResumeQueue, RetryJob,
};
pub use reload::ReloadSupervision;
pub use tree::{GetTree, ListSupervisionEvents, ProcessNode, SupervisionHistory};

use crate::dispatch;
use crate::domain::Domain;
use crate::operation::{Command, Operation, Spec};
use crate::page::Page;
use crate::refusal::Result;
use crate::system::System;
use crate::tx::Tx;

/// The name of the operator's domain.
pub const OPERATOR: DomainName = DomainName::new("operator");

/// The operator's domain, to be listed beside the business domains.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(OPERATOR)
        .action::<GetTree>()
        .action::<ListSupervisionEvents>()
        .action::<KillProcess>()
        .action::<LiftQuarantine>()
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
        .action::<RetryJob>()
        .action::<CancelJob>()
        .action::<ListCursors>()
        .action::<ListEvents>()
        .action::<VerifyChain>()
        .command::<RecordActionRequested>()
        .command::<RecordActionFinished>()
        .emits::<ActionRequested>()
        .emits::<ActionFinished>()
        .page(Page::new("Operator actions").feed::<ActionRequested>().feed::<ActionFinished>())
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

/// Records how an action ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecordActionFinished(ActionFinished);

impl Command for RecordActionFinished {
    const SPEC: Spec = Spec::internal("record_action_finished");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&self.0).await.map(drop)
    }
}

/// Records that `operation` was asked for. Without that record it must not act.
pub(crate) async fn record_request(
    system: &System,
    scope: &Scope,
    operation: &Operation,
    input: &Value,
) -> Result<Id<Action>> {
    let action_id = Id::new();
    let requested = ActionRequested {
        action_id,
        domain: operation.domain.to_string(),
        operation: operation.spec.name().to_owned(),
        input: input.clone(),
    };
    dispatch::run_command(system, OPERATOR, scope, RecordActionRequested(requested), None).await?;
    Ok(action_id)
}

/// Records how it ended. The action has happened by then, so a failing record is only logged.
pub(crate) async fn record_outcome(
    system: &System,
    scope: &Scope,
    operation: &Operation,
    action_id: Id<Action>,
    outcome: &Result<Value>,
) {
    let finished = ActionFinished {
        action_id,
        operation: operation.spec.name().to_owned(),
        outcome: outcome.as_ref().err().map_or("done", |error| error.kind().name()).to_owned(),
        message: outcome.as_ref().err().map(|error| error.message().to_owned()),
        answer: outcome.as_ref().ok().filter(|_| operation.spec.is_answer_kept()).cloned(),
    };
    let recorded =
        dispatch::run_command(system, OPERATOR, scope, RecordActionFinished(finished), None).await;
    if let Err(error) = recorded {
        tracing::error!(%action_id, %error, "the outcome of an action could not be recorded");
    }
}
