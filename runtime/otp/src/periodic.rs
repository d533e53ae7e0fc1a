//! A periodic child: acts on its own clock, with jitter, and sooner when nudged.
//!
//! It acts once at its start, so that work which waited while it was down is not delayed by a
//! whole interval. The jitter keeps the same duty on many nodes from acting in step.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};

use crate::exit::ExitReason;
use crate::nudge::Nudge;
use crate::run::{Process, RunContext};

/// What a periodic child can reach while it acts.
pub type PeriodicContext = RunContext;

pub(crate) type Act =
    Arc<dyn Fn(PeriodicContext) -> BoxFuture<'static, Result<(), ExitReason>> + Send + Sync>;

pub(crate) struct Periodic {
    interval: Duration,
    jitter: Duration,
    nudge: Option<Nudge>,
    act: Act,
}

impl Periodic {
    pub(crate) fn new(
        interval: Duration,
        jitter: Duration,
        nudge: Option<Nudge>,
        act: Act,
    ) -> Self {
        Self { interval, jitter, nudge, act }
    }

    fn pause(&self) -> Duration {
        let jitter_ns = u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX);
        if jitter_ns == 0 {
            return self.interval;
        }
        // A hasher with fresh random keys is randomness enough to fall out of step.
        let late = Duration::from_nanos(RandomState::new().hash_one(0) % jitter_ns);
        self.interval.saturating_add(late)
    }
}

impl Process for Periodic {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        loop {
            (self.act)(context.clone()).await?;
            let nudged: OptionFuture<_> = self.nudge.as_ref().map(Nudge::nudged).into();
            tokio::select! {
                () = context.stopping() => return Ok(()),
                () = context.clock().sleep(self.pause()) => {}
                Some(()) = nudged => {}
            }
        }
    }
}
