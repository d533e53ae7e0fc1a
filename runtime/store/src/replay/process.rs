//! The rebuilder: the process that runs the rebuilds of one projection, whoever asks for them.

use otp::{ChildSpec, ExitReason, Process, RunContext};
use tokio::sync::watch;

use super::record::{self, Wish};
use super::step::{Rebuild, Step};
use super::{ApplyTo, ReadModel, ReplayError};
use crate::backoff::Backoff;
use crate::consumer::with_causes;
use crate::log::Log;
use kernel::is_outage;

/// How often a rebuilder looks for a rebuild that was asked for on another node.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs the rebuilds of one projection: one at a time, on one node at a time.
///
/// It puts the projection on record when it starts. What it has done is in the database, so it may
/// be killed at any time; the next one goes on with the batch after the last commit.
#[derive(Clone)]
pub struct Rebuilder {
    model: ReadModel,
    log: Log,
    apply: ApplyTo,
    wanted: watch::Receiver<u64>,
    renewal: Option<Wish>,
}

impl Rebuilder {
    /// A rebuilder of `model`, which looks for work whenever `wanted` changes, and now and then.
    #[must_use]
    pub fn new(model: ReadModel, log: &Log, apply: ApplyTo, wanted: watch::Receiver<u64>) -> Self {
        Self { model, log: log.clone(), apply, wanted, renewal: None }
    }

    /// Asks for a rebuild like this by itself, if the live tables were filled by an older version.
    #[must_use]
    pub fn renews(mut self, wish: Wish) -> Self {
        self.renewal = Some(wish);
        self
    }

    /// The rebuilder as a child.
    #[must_use]
    pub fn child(self, id: impl Into<String>) -> ChildSpec {
        let running = move || Running { rebuilder: self.clone(), is_declared: false };
        ChildSpec::process(id.into(), running)
    }
}

struct Running {
    rebuilder: Rebuilder,
    is_declared: bool,
}

impl Process for Running {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut backoff = Backoff::default();
        let mut wanted = self.rebuilder.wanted.clone();
        while !context.is_stopping() {
            wanted.mark_unchanged();
            let pause = match self.look(context).await {
                Ok(()) => {
                    backoff.reset();
                    LOOK_INTERVAL
                }
                Err(error) => {
                    self.tell(&error);
                    backoff.next_wait()
                }
            };
            context.report_backlog(0);
            tokio::select! {
                _ = wanted.changed() => {}
                () = context.stopping() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }
}

impl Running {
    /// Runs the rebuild there is, if any, until it ends, is halted or fails.
    async fn look(&mut self, context: &RunContext) -> Result<(), ReplayError> {
        if !self.is_declared {
            self.declare().await?;
        }
        let Rebuilder { model, log, apply, .. } = &self.rebuilder;
        let Some(mut rebuild) = Rebuild::take_up(model, log, apply).await? else { return Ok(()) };
        while !context.is_stopping() {
            match rebuild.step().await {
                Ok(Step::Applied(_)) => {}
                Ok(Step::Halted) => return Ok(()),
                Ok(Step::Ended(state)) => {
                    let projection = model.name.as_str();
                    tracing::info!(projection, %state, "a rebuild has caught up");
                    return Ok(());
                }
                Err(ReplayError::Database(error)) if is_outage(&error) => {
                    return Err(error.into());
                }
                Err(error) => {
                    self.tell(&error);
                    rebuild.fail(&with_causes(&error)).await?;
                    return Ok(());
                }
            }
            context.report_backlog(rebuild.behind());
            let wait = rebuild.wait();
            if !wait.is_zero() {
                tokio::select! {
                    () = context.stopping() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
        Ok(())
    }

    /// Puts the projection on record, and asks for its renewal if that is due.
    async fn declare(&mut self) -> Result<(), ReplayError> {
        let Rebuilder { model, log, renewal, .. } = &self.rebuilder;
        let live = record::declare(log.pool(), model, log.clock().now()).await?;
        if live < model.version {
            let projection = model.name.as_str();
            let version = model.version;
            tracing::warn!(projection, live, version, "a projection needs to be rebuilt");
            if let Some(wish) = renewal {
                match record::request(log.pool(), model, wish, log.clock().now()).await {
                    // Another node has asked, or an operator.
                    Ok(_) | Err(ReplayError::UnderWay(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.is_declared = true;
        Ok(())
    }

    fn tell(&self, error: &ReplayError) {
        tracing::warn!(
            projection = self.rebuilder.model.name,
            error = error as &dyn std::error::Error,
            "a rebuild does not go on"
        );
    }
}
