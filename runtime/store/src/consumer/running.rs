//! The process of a lane: it stands by until it may work, and works until it must not.

use std::time::Duration;

use kernel::Position;
use otp::{ExitReason, Process, RunContext};
use tokio::time::Instant;

use super::lease::{self, Lease, Wish};
use super::open::Working;
use super::pace::{IDLE_AFTER, Pace};
use super::reader::{POLL_EVERY, Reader, Step};
use super::{ConsumerError, ConsumerState, ConsumerStatus};
use crate::backoff::Backoff;

/// How long a consumer waits for the head to move before it looks anyway.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);

/// A stand-by asks when the lease would expire, and a little later, since it is renewed elsewhere.
const STANDBY_MARGIN: Duration = Duration::from_millis(20);

/// How soon a stand-by asks again where the lease is free but the layout is another process's.
const ELSEWHERE_WAIT: Duration = Duration::from_millis(500);

/// The process of one lane.
pub(super) struct Running {
    pub(super) working: Working,
}

/// Why a lane stopped following the log.
enum Interrupted {
    /// The node stops.
    Stopping,
    /// Another process works the lane now.
    Lost,
    /// A step failed.
    Failed(ConsumerError),
}

impl Process for Running {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut backoff = Backoff::default();
        while !context.is_stopping() {
            let wait = match self.serve(context, &mut backoff).await {
                Ok(Interrupted::Stopping) => break,
                Ok(Interrupted::Lost) => continue,
                Ok(Interrupted::Failed(ConsumerError::Elsewhere)) => {
                    self.stands_by(None);
                    ELSEWHERE_WAIT
                }
                Ok(Interrupted::Failed(error)) | Err(error) => {
                    self.tell(&error);
                    backoff.next_wait()
                }
            };
            tokio::select! {
                () = context.stopping() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }
}

impl Running {
    /// One lease, from getting it until it is lost, given back or of no use.
    async fn serve(
        &self,
        context: &RunContext,
        backoff: &mut Backoff,
    ) -> Result<Interrupted, ConsumerError> {
        let Some(lease) = self.stand_by(context).await? else {
            return Ok(Interrupted::Stopping);
        };
        lease::fence(self.working.consumer.log.pool(), self.working.key()).await?;
        let interrupted = tokio::select! {
            followed = self.follow(context, backoff) => match followed {
                Ok(()) => Interrupted::Stopping,
                Err(error) => Interrupted::Failed(error),
            },
            () = lease.keep() => Interrupted::Lost,
        };
        if !matches!(interrupted, Interrupted::Lost) {
            lease.release().await;
        }
        Ok(interrupted)
    }

    /// Waits until this process works the lane; `None` if the node stops first.
    async fn stand_by(&self, context: &RunContext) -> Result<Option<Lease>, ConsumerError> {
        loop {
            let wish = lease::acquire(&self.working.consumer.log, &self.working.name).await?;
            let remaining = match wish {
                Wish::Granted(lease) => return Ok(Some(lease)),
                Wish::Refused { remaining, position } => {
                    self.stands_by(position);
                    remaining
                }
            };
            tokio::select! {
                () = context.stopping() => return Ok(None),
                () = tokio::time::sleep(remaining + STANDBY_MARGIN) => {}
            }
        }
    }

    /// Applies events as they are sealed, until the node stops or the log cannot be read.
    async fn follow(
        &self,
        context: &RunContext,
        backoff: &mut Backoff,
    ) -> Result<(), ConsumerError> {
        let log = &self.working.consumer.log;
        let mut reader = Reader::open(self.working.clone()).await?;
        let mut pace = Pace::new(log);
        let mut head = log.head();
        while !context.is_stopping() {
            head.mark_unchanged();
            let begun = Instant::now();
            let step = match reader.step().await {
                Err(error @ ConsumerError::Stalled { .. }) => {
                    self.tell(&error);
                    continue;
                }
                step => step?,
            };
            backoff.reset();
            context.report_backlog(reader.behind());
            match step {
                Step::Held => {
                    self.pause(context, reader.due()).await;
                    continue;
                }
                Step::Careful => continue,
                // The head is followed, so there is no need to look once more in vain.
                Step::Applied(_) if reader.behind() == 0 => {
                    let free = pace.committed(begun);
                    self.report(&reader, ConsumerState::Live);
                    self.pause(context, Some(free)).await;
                }
                Step::CaughtUp => self.report(&reader, ConsumerState::Live),
                Step::Applied(_) | Step::Scanned | Step::Moved => {
                    self.report(&reader, ConsumerState::CatchingUp);
                    continue;
                }
            }
            let idle = if pace.is_busy() { IDLE_AFTER } else { SCAN_INTERVAL };
            tokio::select! {
                _ = head.changed() => {}
                () = context.stopping() => {}
                () = sleep_until(reader.due()), if reader.due().is_some() => {}
                () = tokio::time::sleep(idle) => {
                    pace.rest();
                    reader.save().await?;
                }
            }
        }
        reader.save().await?;
        Ok(())
    }

    /// Waits until `until`, but no longer than an operator's order may wait.
    async fn pause(&self, context: &RunContext, until: Option<Instant>) {
        let until = until.unwrap_or_else(Instant::now).min(Instant::now() + POLL_EVERY);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = context.stopping() => {}
        }
    }

    fn report(&self, reader: &Reader, state: ConsumerState) {
        let parked = u32::try_from(reader.parked_count()).unwrap_or(u32::MAX);
        let now = ConsumerStatus { position: reader.position(), parked, state };
        self.working.status().send_if_modified(|status| {
            let is_news = *status != now;
            *status = now;
            is_news
        });
    }

    /// Another process works the lane and has come to `position`, as far as this one knows.
    fn stands_by(&self, position: Option<Position>) {
        self.working.status().send_if_modified(|status| {
            let position = position.unwrap_or(status.position);
            let now = ConsumerStatus { position, state: ConsumerState::Standby, ..status.clone() };
            let is_news = *status != now;
            *status = now;
            is_news
        });
    }

    fn tell(&self, error: &ConsumerError) {
        self.working.status().send_modify(|status| {
            status.state = status.state.failed(error);
        });
        tracing::warn!(
            consumer = %self.working.name,
            error = error as &dyn std::error::Error,
            "a consumer waits before it tries again"
        );
    }
}

async fn sleep_until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant).await;
    }
}
