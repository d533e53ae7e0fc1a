//! Reports: the same events for the log, in OTP's words.
//!
//! A supervisor report has the `context` `child_terminated`, `start_error`, `shutdown_error` or
//! `shutdown`, the path of the `supervisor`, the `reason`, and the child it is about:
//! `offender.pid`, `.id`, `.restart`, `.significant`, `.shutdown` and `.type`. A `progress` report
//! tells each start. As in OTP there is none of a mild end that leads to nothing; those are told at
//! debug level only, as is everything else that a supervisor does in good order.

use std::fmt;

use super::record::Record;
use crate::child::{ChildKind, Restart, Shutdown};
use crate::event::{SupervisionEvent, SupervisionEventKind as Kind};
use crate::exit::ExitReason;

/// What is said of a process that ended, apart from its event.
#[derive(Clone, Copy)]
pub(super) enum Ending<'a> {
    /// It was not told to.
    Unasked,
    /// Its supervisor told it to, with this.
    Told(&'a ExitReason),
}

/// Reports an event of the process that `record` describes.
pub(super) fn report(event: &SupervisionEvent, record: Option<&Record>, ending: Ending<'_>) {
    let SupervisionEvent { path, incarnation, cause, .. } = event;
    match &event.kind {
        Kind::Started => {
            let supervisor = above(path);
            let offender = record.map(Offender::id);
            tracing::debug!(path, incarnation, supervisor, offender.id = offender, "progress");
        }
        Kind::Exited { reason } | Kind::Terminated { reason } => {
            let restart = record.map_or(Restart::Permanent, |record| record.restart);
            match ending {
                Ending::Unasked if restart != Restart::Permanent && reason.is_mild() => {
                    tracing::debug!(path, incarnation, %reason, "exited");
                }
                Ending::Unasked => supervisor_report("child_terminated", reason, event, record),
                Ending::Told(told) if is_expected(reason, told, restart) => {
                    tracing::debug!(path, incarnation, %reason, "terminated");
                }
                Ending::Told(_) => supervisor_report("shutdown_error", reason, event, record),
            }
        }
        Kind::StartFailed { error } => supervisor_report("start_error", error, event, record),
        Kind::Restarted => {
            tracing::info!(path, incarnation, cause, recovery_us = event.recovery_us, "restarted");
        }
        Kind::Ignored => tracing::debug!(path, "ignored"),
        // Reported with the child that died once too often.
        Kind::GaveUp => {}
        Kind::Quarantined { round, until } => {
            tracing::error!(path, cause, round, %until, "quarantined");
        }
        Kind::QuarantineLifted => tracing::info!(path, "quarantine_lifted"),
        Kind::Overstayed { message, for_ms, spawned_at, ancestors } => {
            let spawned_at = spawned_at.as_deref();
            tracing::warn!(
                path,
                incarnation,
                message,
                for_ms,
                spawned_at,
                ?ancestors,
                "overstayed"
            );
        }
        Kind::NotReplaced { why } => tracing::error!(path, incarnation, why, "not_replaced"),
    }
}

/// Whether anybody reads what goes well.
pub(super) fn is_told_in_detail() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// Whether a child that was told to stop ended as it should have. One that was killed because it
/// took too long did not.
fn is_expected(reason: &ExitReason, told: &ExitReason, restart: Restart) -> bool {
    match reason {
        ExitReason::Shutdown => true,
        ExitReason::Normal | ExitReason::ShutdownWith(_) => restart != Restart::Permanent,
        ExitReason::Killed => *told == ExitReason::Killed,
        ExitReason::Failed(_) | ExitReason::Os(_) => false,
    }
}

fn supervisor_report(
    context: &str,
    reason: &dyn fmt::Display,
    event: &SupervisionEvent,
    record: Option<&Record>,
) {
    let SupervisionEvent { path, incarnation, cause, .. } = event;
    let Some(offender) = record.map(Offender) else { return };
    tracing::warn!(
        path,
        incarnation,
        cause,
        supervisor = above(path),
        context,
        %reason,
        offender.pid = %offender,
        offender.id = Offender::id(offender.0),
        offender.restart = offender.restart(),
        offender.significant = offender.0.significant,
        offender.shutdown = %offender.shutdown(),
        offender.type = offender.kind(),
        "{context}"
    );
}

/// A supervisor gives up, because a child of it died once too often.
pub(super) fn gave_up(supervisor: &str, cause: Option<u64>, offender: Option<&Record>) {
    let reason = "reached_max_restart_intensity";
    let Some(offender) = offender.map(Offender) else { return };
    tracing::error!(
        path = supervisor,
        cause,
        supervisor,
        context = "shutdown",
        reason,
        offender.pid = %offender,
        offender.id = Offender::id(offender.0),
        offender.restart = offender.restart(),
        offender.significant = offender.0.significant,
        offender.shutdown = %offender.shutdown(),
        offender.type = offender.kind(),
        "{reason}"
    );
}

/// The supervisor of a process; the root has none.
fn above(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(above, _)| above)
}

/// The child that a report is about.
struct Offender<'a>(&'a Record);

impl Offender<'_> {
    fn id(record: &Record) -> &str {
        record.path.rsplit_once('/').map_or(&*record.path, |(_, id)| id)
    }

    const fn restart(&self) -> &'static str {
        match self.0.restart {
            Restart::Permanent => "permanent",
            Restart::Transient => "transient",
            Restart::Temporary => "temporary",
        }
    }

    fn shutdown(&self) -> String {
        match self.0.shutdown {
            Shutdown::BrutalKill => "brutal_kill".to_owned(),
            Shutdown::Timeout(patience) => patience.as_millis().to_string(),
            Shutdown::Infinity => "infinity".to_owned(),
        }
    }

    const fn kind(&self) -> &'static str {
        match self.0.kind {
            ChildKind::Worker => "worker",
            ChildKind::Supervisor => "supervisor",
        }
    }
}

impl fmt::Display for Offender<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{}#{}>", self.0.path, self.0.incarnation)
    }
}
