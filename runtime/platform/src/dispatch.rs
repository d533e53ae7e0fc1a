//! Dispatch: the one path from a call to an answer, whoever calls.
//!
//! Access, availability, limits, schema, idempotency, transaction, commit, wake-ups and
//! measurements happen here and nowhere else. A panic inside an operation is a failure of that call
//! alone.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use jobs::panics::stack_of;
use kernel::{DomainName, JobId, OrgId, Scope};
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use tracing::{Instrument as _, Span};

use crate::access;
use crate::cursor;
use crate::form;
use crate::idempotency::{self, Remembered};
use crate::identity::forget;
use crate::operation::{Access, Command, Operation, Query, Runner};
use crate::operator;
use crate::refusal::{Error, Reason, Result};
use crate::system::System;
use crate::tx::{Snapshot, Trace, Tx};

/// The answer to a call that may have been made before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The operation's output.
    pub value: Value,
    /// Whether it was remembered from an earlier call with the same key.
    pub is_replayed: bool,
}

/// Answers a call by name: the door of all surfaces and of agents.
pub(crate) async fn call(
    system: &System,
    scope: &Scope,
    domain: &str,
    name: &str,
    input: Value,
    key: Option<&str>,
) -> Result<Answer> {
    let (operation, span) = found(system, scope, domain, name)?;
    let began = Instant::now();
    let result = surfaced(system, scope, operation, input, key).instrument(span.clone()).await;
    system.telemetry().operation(
        operation,
        began.elapsed(),
        result.as_ref().err().map(Error::kind),
    );
    if let Err(Error::Failure(cause)) = &result {
        span.in_scope(|| tracing::error!(error = &**cause, "an operation failed"));
    }
    result
}

/// Answers a caller, whose cursors are signed.
async fn surfaced(
    system: &System,
    scope: &Scope,
    operation: &Operation,
    input: Value,
    key: Option<&str>,
) -> Result<Answer> {
    // Who may not ask is not told whether the cursor was good.
    access::authorise(scope, operation, system.now())?;
    let input = cursor::opened(system.secret(), scope, operation, input)?;
    let mut answer = answer(system, scope, operation, input, key).await?;
    cursor::sign(system.secret(), scope, operation, &mut answer.value);
    Ok(answer)
}

/// Answers a call that the platform passed on to this cell. What it trusted is checked again; what
/// it measures and what it tells of a failure is left to it.
pub(crate) async fn relayed(
    system: &System,
    scope: &Scope,
    domain: &str,
    name: &str,
    input: Value,
    key: Option<&str>,
) -> Result<Answer> {
    let (operation, span) = found(system, scope, domain, name)?;
    answer(system, scope, operation, input, key).instrument(span).await
}

/// The operation of that name, and the span in which it answers.
fn found<'a>(
    system: &'a System,
    scope: &Scope,
    domain: &str,
    name: &str,
) -> Result<(&'a Operation, Span)> {
    let operation =
        system.catalog().operation(domain, name).ok_or_else(|| unknown(domain, name))?;
    let span = tracing::info_span!(
        "operation",
        domain,
        operation = name,
        org_id = %scope.org_id,
        correlation_id = %scope.correlation_id,
    );
    Ok((operation, span))
}

async fn answer(
    system: &System,
    scope: &Scope,
    operation: &Operation,
    input: Value,
    key: Option<&str>,
) -> Result<Answer> {
    access::authorise(scope, operation, system.now())?;
    system.must_be_up(operation.domain)?;
    let _place = system.tuned().enter(operation.domain)?;
    operation.check(&input)?;
    if let Some(cell) = system.cell(operation.domain) {
        let (name, is_read) = (operation.spec.name(), operation.spec.is_read());
        let answer = cell.call(scope, name, input, key, is_read).await;
        forget::at_once(system, operation.domain, scope.org_id);
        return answer;
    }
    let input = form::with_whole_numbers(input);
    let Some(home) = system.homes().of(operation.domain) else {
        return perform(system, scope, operation, input, key).await;
    };
    let (scope, key, span) = (scope.clone(), key.map(str::to_owned), Span::current());
    let (domain, name) = (operation.domain, operation.spec.name());
    home.answer(system, name, move |system| {
        async move {
            let operation = system.catalog().operation(domain.as_str(), name);
            let operation = operation.ok_or_else(|| unknown(domain.as_str(), name))?;
            perform(&system, &scope, operation, input, key.as_deref()).await
        }
        .instrument(span)
    })
    .await
}

/// Does what has been checked, wherever it is to be done.
async fn perform(
    system: &System,
    scope: &Scope,
    operation: &Operation,
    input: Value,
    key: Option<&str>,
) -> Result<Answer> {
    match (operation.runner, key) {
        (_, Some(_)) if operation.spec.is_confidential() => Err(Error::refused(
            Reason::invalid("idempotency_key_not_accepted"),
            "what this answers is told once and not remembered; leave the idempotency key out",
        )),
        (Runner::Command(run), Some(key)) => {
            remembered(system, scope, operation, input, key, run).await
        }
        (_, Some(_)) => Err(Error::refused(
            Reason::invalid("idempotency_key_not_accepted"),
            "only commands remember their answers; leave the idempotency key out",
        )),
        (Runner::Command(run), None) => {
            in_transaction(system, operation.domain, scope, async |tx| run(input, tx).await).await
        }
        .map(fresh),
        (Runner::Query(run), None) => {
            in_snapshot(system, operation.domain, scope, async |db| run(input, db).await)
                .await
                .map(fresh)
        }
        // What a person shows to sign in belongs into no log, and there is no organisation yet.
        (Runner::Action(run), None)
            if operation.spec.access() == Access::Anyone || operation.spec.is_confidential() =>
        {
            guarded(run(input, &system.called_by(scope))).await.map(fresh)
        }
        (Runner::Action(run), None) if operation.spec.is_read() => {
            guarded(run(input, &system.called_by(scope))).await.map(fresh)
        }
        (Runner::Action(run), None) => {
            let system = system.called_by(scope);
            operator::enact(&system, scope, operation, run, input).await.map(fresh)
        }
    }
}

const fn fresh(value: Value) -> Answer {
    Answer { value, is_replayed: false }
}

type RunCommand =
    for<'a, 'b> fn(Value, &'a mut Tx<'b>) -> futures_util::future::BoxFuture<'a, Result<Value>>;

/// Runs a command unless its key has been seen; then the remembered answer is given again.
async fn remembered(
    system: &System,
    scope: &Scope,
    operation: &Operation,
    input: Value,
    key: &str,
    run: RunCommand,
) -> Result<Answer> {
    let request = idempotency::Request::new(system.secret(), operation, key, &input)?;
    in_transaction(system, operation.domain, scope, async |tx| {
        match idempotency::begin(tx, &request).await? {
            Remembered::Answer(value) => Ok(Answer { value, is_replayed: true }),
            Remembered::Nothing => {
                let value = run(input, tx).await?;
                idempotency::finish(tx, &request, &value).await?;
                Ok(fresh(value))
            }
        }
    })
    .await
}

/// Runs a typed command, and completes the job it is, if it is one.
pub(crate) async fn run_command<C: Command>(
    system: &System,
    domain: DomainName,
    scope: &Scope,
    command: C,
    completes: Option<(JobId, u32)>,
) -> Result<C::Output> {
    in_transaction(system, domain, scope, async |tx| {
        let output = command.handle(tx).await?;
        if let Some(attempt) = completes {
            tx.complete(attempt, serde_json::to_value(&output)?).await?;
        }
        Ok(output)
    })
    .await
}

/// Answers a typed query.
pub(crate) async fn ask<Q: Query>(
    system: &System,
    domain: DomainName,
    scope: &Scope,
    query: Q,
) -> Result<Q::Output> {
    in_snapshot(system, domain, scope, async |db| query.answer(db).await).await
}

/// Everything of one question at one instant, in a transaction that cannot write.
async fn in_snapshot<T>(
    system: &System,
    domain: DomainName,
    scope: &Scope,
    work: impl AsyncFnOnce(&mut Snapshot<'_>) -> Result<T>,
) -> Result<T> {
    let now = system.now();
    let mut session = system.sessions().take().await?;
    let mut transaction = system.opening(domain, scope, true).begin(&mut session).await?;
    let mut snapshot = Snapshot::new(&mut transaction, system, scope, now);
    let output = guarded(work(&mut snapshot)).await;
    transaction.rollback().await?;
    session.give_back();
    output
}

/// Everything of one call in one transaction: effect, events, jobs and, if the call is a job, its
/// completion, which is the last thing its work does. Whoever waits for the consequences is woken
/// after the commit.
async fn in_transaction<T>(
    system: &System,
    domain: DomainName,
    scope: &Scope,
    work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T>,
) -> Result<T> {
    let now = system.now();
    let mut session = system.sessions().take().await?;
    let mut transaction = system.opening(domain, scope, false).begin(&mut session).await?;
    let mut tx = Tx::new(&mut transaction, domain, scope, now).telling(system);
    let result = guarded(work(&mut tx)).await;
    let trace = tx.trace();
    match result {
        Ok(value) => {
            commit(system, domain, scope.org_id, transaction, trace).await?;
            session.give_back();
            Ok(value)
        }
        Err(error) => {
            // What failed already decides the answer; a failing rollback only closes the
            // connection.
            if transaction.rollback().await.is_ok() {
                session.give_back();
            }
            Err(error)
        }
    }
}

async fn commit(
    system: &System,
    domain: DomainName,
    org_id: OrgId,
    transaction: Transaction<'_, Postgres>,
    trace: Trace,
) -> Result<()> {
    transaction.commit().await?;
    if trace.appended {
        system.log().nudge();
        forget::at_once(system, domain, org_id);
    }
    if trace.enqueued {
        system.queues().nudge(domain.as_str());
    }
    Ok(())
}

/// A panic inside becomes a failure of this call, with its message in the log.
pub(crate) async fn guarded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let (message, stack) = (panic_message(&*panic).to_owned(), stack_of(&*panic));
        Err(Error::failure(Panicked { message, stack }))
    })
}

/// A panic of an operation.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {message}")]
pub(crate) struct Panicked {
    message: String,
    /// Where it happened, as far as that is known.
    pub(crate) stack: Vec<String>,
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with something that is no text")
}

fn unknown(domain: &str, name: &str) -> Error {
    Error::refused(
        Reason::not_found("unknown_operation"),
        format!("{domain} has no operation `{name}`"),
    )
}

/// How long a caller waits before it asks a busy or quarantined domain again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
