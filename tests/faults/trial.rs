//! A trial: load, harm, judgement.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::judge;
use crate::node::{Node, PROJECTION};
use crate::random::{self, Random};
use crate::report::Row;
use crate::writers::Writers;

/// One fault under trial.
pub(crate) struct Trial {
    fault: &'static str,
    seed: u64,
    began: Instant,
    /// Decides everything that is left to chance.
    pub(crate) random: Random,
}

impl Trial {
    /// Begins the trial of the fault that the table calls `fault`.
    pub(crate) fn of(fault: &'static str) -> Self {
        let seed = random::seed();
        // Told at once: a test that hangs is repeated by it as well.
        eprintln!("{fault}: FINNEST_FAULTS_SEED={seed}");
        Self { fault, seed, began: Instant::now(), random: Random::new(seed) }
    }

    /// Lets the writers write while `harm` is done, then judges. `harm` answers what it did.
    ///
    /// # Panics
    /// When anything was lost, doubled, left out or broken.
    pub(crate) async fn run(
        mut self,
        cluster: &Cluster,
        node: &Node,
        writers: &Writers,
        projections: &[&str],
        harm: impl AsyncFnOnce(&mut Random) -> String,
    ) {
        let is_done = AtomicBool::new(false);
        let harming = async {
            let harm = harm(&mut self.random).await;
            is_done.store(true, Ordering::Relaxed);
            harm
        };
        let (promises, harm) = tokio::join!(writers.write_until(&is_done), harming);
        let findings = judge::judge(cluster, &node.log, &promises, projections).await;
        let row = Row {
            fault: self.fault,
            harm,
            acknowledged: promises.acknowledged_count(),
            in_doubt: promises.in_doubt,
            failed: promises.failed,
            findings,
            took: self.began.elapsed(),
            seed: self.seed,
        };
        row.tell();
        assert!(row.acknowledged > 0, "nobody could write anything");
        assert!(row.findings.is_clean(), "{row:?}");
    }

    /// The same on a node with the projection and nothing else.
    pub(crate) async fn run_plain(
        self,
        cluster: &Cluster,
        app: &PgConnectOptions,
        harm: impl AsyncFnOnce(&mut Random, &Node, &Writers) -> String,
    ) {
        let clock = otp::Clock::system();
        let node = Node::start(app, clock.clone()).await;
        let writers = Writers::new(app, &node.log, clock);
        let harm = async |random: &mut Random| harm(random, &node, &writers).await;
        self.run(cluster, &node, &writers, &[PROJECTION], harm).await;
        node.stop().await;
    }
}
