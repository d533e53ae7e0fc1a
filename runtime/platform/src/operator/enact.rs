//! Bringing an action to its end, whoever still waits for it.
//!
//! An action may end its own caller: killing the connections kills the one the request came over.
//! So each runs as a process of its own below the operator's domain, which records that it was
//! asked for, acts and records how that ended, while the request only waits for the answer. An
//! operator may kill that process too; then the request records what became of it. The record is
//! made once, whoever comes to it first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use kernel::{CanonicalError, DomainName, Id, Scope, canonical_bytes};
use otp::{ChildSpec, DynamicSupervisor, ExitReason, Pid};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{
    ACTOR, Action, ActionFinished, ActionRequested, OPERATOR, RecordActionFinished,
    RecordActionRequested,
};
use crate::dispatch::{self, RETRY_AFTER, guarded};
use crate::operation::{Operation, RunAction, Spec};
use crate::refusal::{Error, FieldError, Reason, Result};
use crate::system::System;

/// The id of the supervisor of actions, among the children of the operator's domain.
const ACTIONS: &str = "actions";
/// How long starting the process of an action may take. A supervisor that is held still starts
/// none, and it is by an action that it is resumed: then the request acts itself.
const START_WITHIN: Duration = Duration::from_secs(1);

/// The supervisor of the actions that are under way.
pub(super) fn supervisor(_: &System) -> ChildSpec {
    DynamicSupervisor::child(ACTIONS, None)
}

/// Runs an action to its end, with a record of both ends, even when the caller is gone.
pub(crate) async fn enact(
    system: &System,
    scope: &Scope,
    operation: &Operation,
    run: RunAction,
    input: Value,
) -> Result<Value> {
    must_be_recordable(&input)?;
    let asked = Asked {
        action_id: Id::new(),
        domain: operation.domain,
        spec: operation.spec,
        system: system.clone(),
        scope: scope.clone(),
        is_on_record: Arc::default(),
    };
    let (told, ended) = oneshot::channel();
    let work = asked.clone().enact(run, input, told).in_current_span();
    let process = start(system, Box::pin(work)).await;
    let told = ended.await;
    let exit = match process {
        Some(process) => process.gone().await,
        // It was done here, unless whoever was starting it has been killed.
        None if told.is_ok() => {
            return told.map_or_else(|_| Err(interrupted()), |ended| ended.outcome);
        }
        None => ExitReason::Killed,
    };
    let ended = told.unwrap_or_else(|_| asked.ended(Err(interrupted())));
    if exit != ExitReason::Normal && asked.is_on_record.load(Ordering::Acquire) {
        asked.record(ended.finished).await;
    }
    ended.outcome
}

/// Refuses a fraction in what is free in form, such as the arguments of a job: it would be done,
/// but could not be recorded.
fn must_be_recordable(input: &Value) -> Result<()> {
    let Err(CanonicalError::Float { pointer, number }) = canonical_bytes(input) else {
        return Ok(());
    };
    let message = format!("{number} is no whole number, and no other can be recorded");
    let fields = vec![FieldError { pointer, message: message.clone() }];
    Err(Error::Refused { reason: Reason::invalid("no_whole_number"), message, fields })
}

fn interrupted() -> Error {
    let message = "its process was killed, or stopped with the platform; how much of it was done \
                   is not known";
    Error::unavailable(message, RETRY_AFTER)
}

/// Starts a process that does `work`, or does it here and now when none can be started.
async fn start(system: &System, work: BoxFuture<'static, ()>) -> Option<Pid> {
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&work);
    let process = ChildSpec::task("action", move |_| async move {
        if let Some(work) = take(&theirs) {
            work.await;
        }
        Ok(())
    });
    let path = format!("root/domains/{OPERATOR}/children/{ACTIONS}");
    let actions = DynamicSupervisor::at(system.tree().clone(), path);
    if let Ok(Ok(started)) = timeout(START_WITHIN, actions.start_numbered(process)).await {
        return started;
    }
    // Whoever takes it does it, so a late start does it no second time.
    if let Some(work) = take(&work) {
        work.await;
    }
    None
}

fn take(work: &Mutex<Option<BoxFuture<'static, ()>>>) -> Option<BoxFuture<'static, ()>> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// An action that was asked for.
#[derive(Clone)]
struct Asked {
    action_id: Id<Action>,
    domain: DomainName,
    spec: Spec,
    system: System,
    scope: Scope,
    /// Whether the log says that it was asked for. Until then nothing is done, and nothing ends.
    is_on_record: Arc<AtomicBool>,
}

/// How it ended: for the log, and for the caller.
struct Ended {
    finished: ActionFinished,
    outcome: Result<Value>,
}

impl Asked {
    /// Records, acts, tells, records. Without the first record it must not act.
    async fn enact(self, run: RunAction, input: Value, told: oneshot::Sender<Ended>) {
        let requested = ActionRequested {
            action_id: self.action_id,
            domain: self.domain.to_string(),
            operation: self.spec.name().to_owned(),
            input: input.clone(),
        };
        let (system, scope) = (&self.system, &self.scope);
        let command = RecordActionRequested(requested);
        if let Err(error) = dispatch::run_command(system, OPERATOR, scope, command, None).await {
            // A caller that has gone needs no answer, here and below.
            let _ = told.send(self.ended(Err(error)));
            return;
        }
        self.is_on_record.store(true, Ordering::Release);
        let actor = scope.principal.clone();
        let outcome = ACTOR.scope(actor, guarded(run(input, system))).await;
        let ended = self.ended(outcome);
        let finished = ended.finished.clone();
        let _ = told.send(ended);
        self.record(finished).await;
    }

    fn ended(&self, outcome: Result<Value>) -> Ended {
        let error = outcome.as_ref().err();
        let finished = ActionFinished {
            action_id: self.action_id,
            operation: self.spec.name().to_owned(),
            outcome: error.map_or("done", |error| error.kind().name()).to_owned(),
            message: error.map(|error| error.message().to_owned()),
            answer: outcome.as_ref().ok().filter(|_| self.spec.is_answer_kept()).cloned(),
        };
        Ended { finished, outcome }
    }

    /// Records how it ended, once. It has happened by then, so a failing record is only logged.
    async fn record(&self, finished: ActionFinished) {
        let (system, scope) = (&self.system, &self.scope);
        let command = RecordActionFinished(finished);
        let recorded = dispatch::run_command(system, OPERATOR, scope, command, None).await;
        if let Err(error) = recorded {
            let action_id = self.action_id;
            tracing::error!(%action_id, %error, "the outcome of an action could not be recorded");
        }
    }
}
