//! The keeper of checkpoints: a child of the store that makes one at intervals and exports it.
//!
//! It works on the node that seals. A place that takes no checkpoint is asked again, later each
//! time, and stops neither the sealing nor the making of further checkpoints.

use std::sync::Arc;
use std::time::Duration;

use otp::{ChildSpec, ExitReason, Process, RunContext};
use tokio::time::Instant;

use super::export::export;
use super::{CheckpointStore, Key, make};
use crate::log::Log;

/// How long a place that took no checkpoint is left alone at first; doubled up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest time a place is left alone.
const WAIT_MAX: Duration = Duration::from_mins(5);
/// A place that does not answer within this time has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// How checkpoints are made and where they go.
#[derive(Clone)]
pub struct Options {
    /// Signs them.
    pub key: Key,
    /// How often one is made, if there is something new.
    pub interval: Duration,
    /// Where they are exported to.
    pub places: Vec<Arc<dyn CheckpointStore>>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places: Vec<String> = self.places.iter().map(|place| place.name()).collect();
        formatter
            .debug_struct("Options")
            .field("key", &self.key)
            .field("interval", &self.interval)
            .field("places", &places)
            .finish()
    }
}

/// The keeper of this node, as a child of the store's supervisor.
#[must_use]
pub fn child(log: &Log, options: &Options) -> ChildSpec {
    let (log, options) = (log.clone(), options.clone());
    ChildSpec::process("checkpoints", move || Keeper {
        log: log.clone(),
        exports: options.places.iter().cloned().map(Export::new).collect(),
        options: options.clone(),
    })
}

struct Keeper {
    log: Log,
    options: Options,
    exports: Vec<Export>,
}

/// One place, and when to ask it again.
struct Export {
    place: Arc<dyn CheckpointStore>,
    failures: u32,
    due: Instant,
}

impl Export {
    fn new(place: Arc<dyn CheckpointStore>) -> Self {
        Self { place, failures: 0, due: Instant::now() }
    }

    /// Exports what is due; answers whether the place took it.
    async fn act(&mut self, log: &Log) {
        let result = tokio::time::timeout(PATIENCE, export(log, &self.place)).await;
        let error: Box<dyn std::error::Error> = match result {
            Ok(Ok(_)) => {
                self.failures = 0;
                return;
            }
            Ok(Err(error)) => Box::new(error),
            Err(elapsed) => Box::new(elapsed),
        };
        let wait = WAIT_MIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        self.due = Instant::now() + wait;
        tracing::warn!(
            error = &*error,
            place = self.place.name(),
            wait_s = wait.as_secs(),
            "a checkpoint is not exported yet"
        );
    }
}

impl Process for Keeper {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut next = Instant::now() + self.options.interval;
        loop {
            if self.log.sealer_stats().counts().is_leader {
                let now = Instant::now();
                if now >= next {
                    self.make().await;
                    next = now + self.options.interval;
                }
                for export in self.exports.iter_mut().filter(|export| export.due <= now) {
                    export.act(&self.log).await;
                    if export.failures == 0 {
                        export.due = next;
                    }
                }
            }
            let due = self.exports.iter().map(|export| export.due).min().unwrap_or(next).min(next);
            // A node that does not lead looks again soon: it may have to take over.
            let due = due.max(Instant::now() + WAIT_MIN);
            tokio::select! {
                () = context.stopping() => return Ok(()),
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }
}

impl Keeper {
    async fn make(&self) {
        match make(&self.log, &self.options.key).await {
            Ok(Some(checkpoint)) => {
                tracing::info!(organisations = checkpoint.heads.len(), "a checkpoint is signed");
            }
            Ok(None) => {}
            // Said again at each interval until somebody has looked.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "no checkpoint is signed");
            }
        }
    }
}
