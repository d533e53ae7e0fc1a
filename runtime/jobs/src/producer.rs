//! The producer: one process per queue that claims jobs and starts their attempts.
//!
//! It claims no more than it has places for, is woken by a nudge (an enqueue, an attempt that
//! ended, the stager) and looks by itself on a slow clock. It performs nothing: each attempt is a
//! process of its own under the supervisor `attempts` beside it. So attempts outlive a producer
//! that is killed, and the next producer finds them by the slots they hold. Nor does it write down
//! how they ended: that is the recorder's, and goes on while the producer claims.

use std::sync::Arc;
use std::time::Duration;

use kernel::JobId;
use otp::{
    ChildSpec, DynamicSupervisor, ExitReason, Intensity, Process, RequestError, RunContext,
    Shutdown, Strategy, SupervisorSpec,
};
use sqlx::PgConnection;
use tokio::time::Instant;

use crate::counters::Count;
use crate::ending::stored;
use crate::limited::claim_by;
use crate::slots::{AttemptKey, Slots, child_id};
use crate::{Performers, Queues, backoff, database, executor, recorder, settings};

/// After its patience a stopping producer has so long to end what still runs.
const END_WITHIN: Duration = Duration::from_millis(500);

/// How a queue is performed on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueOptions {
    /// So many attempts run at once.
    pub limit: u32,
    /// How long a stop waits for running attempts before it ends them.
    pub patience: Duration,
    /// How often the producer looks for work without having been told of any.
    pub scan: Duration,
    /// How many restarts of its processes the queue tolerates before it gives up.
    pub intensity: Intensity,
}

impl QueueOptions {
    /// So many attempts at once, five seconds of patience, a look every five seconds.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            patience: Duration::from_secs(5),
            scan: Duration::from_secs(5),
            intensity: Intensity::new(3, Duration::from_secs(5)),
        }
    }
}

/// The subtree `queue` of a domain: the supervisor of its running attempts, its recorder and its
/// producer.
#[must_use]
pub fn subtree(queues: &Queues, queue: &str, limit: u32, performers: Performers) -> ChildSpec {
    subtree_with(queues, queue, QueueOptions::new(limit), performers)
}

/// The same, with everything that can be chosen.
#[must_use]
pub fn subtree_with(
    queues: &Queues,
    queue: &str,
    options: QueueOptions,
    performers: Performers,
) -> ChildSpec {
    let slots = queues.slots(queue);
    slots.declare_limit(options.limit);
    let recorder = recorder::child(queues, &slots);
    let queues = queues.clone();
    let make = move || Producer {
        queues: queues.clone(),
        slots: slots.clone(),
        performers: performers.clone(),
        options,
        must_adopt: true,
    };
    // The producer comes last, so that it is stopped first, while its attempts still run; and the
    // recorder outlives it, to write down how they end.
    let attempts = DynamicSupervisor::child("attempts", None);
    let producer = ChildSpec::process("producer", make)
        .shutdown(Shutdown::Timeout(options.patience + END_WITHIN * 2));
    let spec =
        SupervisorSpec::new(Strategy::OneForOne).child(attempts).child(recorder).child(producer);
    ChildSpec::supervisor("queue", spec)
}

/// The process. What must outlive it is in the slots and in the table.
struct Producer {
    queues: Queues,
    slots: Arc<Slots>,
    performers: Performers,
    options: QueueOptions,
    /// Whether there may be claims of which no attempt came.
    must_adopt: bool,
}

/// Why a round was not finished.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("an attempt could not be started: {0}")]
    Start(#[from] RequestError),
}

impl Fault {
    /// A bug is worth a crash; what passes by itself is not.
    fn passes(&self) -> bool {
        match self {
            Self::Database(error) => database::is_outage(error),
            Self::Start(_) => true,
        }
    }
}

impl Process for Producer {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        self.slots.let_go(false);
        let producing = self.slots.begin_producing();
        let mut faults = 0;
        while !context.is_stopping() {
            let pause = match self.round(context).await {
                Ok(()) => {
                    faults = 0;
                    self.options.scan
                }
                Err(fault) if fault.passes() => {
                    tracing::warn!(queue = self.slots.queue, %fault, "the producer backs off");
                    let pause = backoff::outage(faults, &self.slots.queue);
                    faults += 1;
                    pause
                }
                Err(fault) => return Err(ExitReason::Failed(fault.to_string())),
            };
            self.wait(context, pause, faults > 0).await;
        }
        // What comes from here on is for other nodes.
        drop(producing);
        self.finish(context).await;
        Ok(())
    }
}

impl Producer {
    /// Waits for a reason to look again. A nudge does not cut a back-off short, or the end of each
    /// attempt would meet the same fault at once.
    async fn wait(&self, context: &RunContext, pause: Duration, is_backing_off: bool) {
        tokio::select! {
            () = context.stopping() => {}
            () = tokio::time::sleep(pause) => {}
            () = self.slots.nudge.nudged(), if !is_backing_off => {}
        }
    }

    /// One look at the queue: end what is unwanted, fill the free places.
    async fn round(&mut self, context: &RunContext) -> Result<(), Fault> {
        for key in self.slots.take_unwanted() {
            Self::end(context, key);
        }
        if self.must_adopt {
            self.adopt().await?;
            self.must_adopt = false;
        }
        if self.slots.control.is_unsettled() {
            settings::settle(&self.queues, &self.slots).await?;
        }
        if self.slots.demand() == 0 {
            return Ok(());
        }
        self.must_adopt = true;
        self.fill(context).await?;
        self.must_adopt = false;
        Ok(())
    }

    /// Returns jobs that this node claimed for this queue and has no attempt of: their claim was
    /// committed, but the producer was killed or disconnected before it heard of that.
    async fn adopt(&self) -> Result<(), sqlx::Error> {
        let _alone = self.slots.by_hand.lock().await;
        let held = self.slots.held();
        let mut transaction = database::begin(self.queues.pool()).await?;
        let node = self.queues.node_id();
        let returned = return_claims(&mut transaction, &self.slots.queue, node, &held).await?;
        transaction.commit().await?;
        self.slots.counters.add(Count::Rescued, returned);
        Ok(())
    }

    /// Claims jobs for the free places and starts their attempts.
    async fn fill(&self, context: &RunContext) -> Result<(), Fault> {
        let under_way = self.slots.begin_claim();
        let pool = self.queues.pool();
        let mut transaction = if self.slots.control.is_limited() {
            database::begin(pool).await?
        } else {
            database::begin_by_index(pool).await?
        };
        // Places that became free while the transaction was opened are filled, too.
        let demand = self.slots.demand();
        let claimed = claim_by(&mut transaction, &self.queues, &self.slots, demand).await?;
        transaction.commit().await?;
        self.slots.counters.add(Count::Claimed, claimed.len() as u64);
        // All places are taken before the first attempt starts: a fault loses none of the rest.
        let slots: Vec<_> = claimed.into_iter().map(|attempt| self.slots.occupy(attempt)).collect();
        drop(under_way);
        for slot in slots {
            let child = executor::child(&self.queues, &self.performers, slot);
            self.start(context, child).await?;
        }
        Ok(())
    }

    async fn start(&self, context: &RunContext, child: ChildSpec) -> Result<(), Fault> {
        let attempts = DynamicSupervisor::at(context.tree().clone(), attempts_path(context));
        attempts.start_child(child).await?;
        Ok(())
    }

    /// Ends an attempt at its next await. Its slot is dropped with it.
    fn end(context: &RunContext, key: AttemptKey) {
        let path = format!("{}/{}", attempts_path(context), child_id(key));
        // An attempt that ended by itself in the meantime is what was wanted.
        let _ = context.tree().kill(&path);
    }

    /// Stops: waits for running attempts, and ends those that outlast its patience. Their jobs are
    /// returned by the recorder.
    async fn finish(&self, context: &RunContext) {
        let deadline = Instant::now() + self.options.patience;
        self.quiet_by(deadline).await;
        self.slots.let_go(true);
        for key in self.slots.running_keys() {
            Self::end(context, key);
        }
        self.quiet_by(Instant::now() + END_WITHIN).await;
    }

    /// Waits until no attempt runs, but no longer than the deadline.
    async fn quiet_by(&self, deadline: Instant) {
        let quiet = async {
            while self.slots.running_count() > 0 {
                self.slots.nudge.nudged().await;
            }
        };
        // Whether it became quiet is seen from the slots.
        let _ = tokio::time::timeout_at(deadline, quiet).await;
    }
}

fn attempts_path(context: &RunContext) -> String {
    let path = context.path();
    let parent = path.rsplit_once('/').map_or(path, |(parent, _)| parent);
    format!("{parent}/attempts")
}

async fn return_claims(
    connection: &mut PgConnection,
    queue: &str,
    node: &str,
    held: &[AttemptKey],
) -> Result<u64, sqlx::Error> {
    let job_ids: Vec<JobId> = held.iter().map(|(job_id, _)| *job_id).collect();
    let attempts: Vec<i32> = held.iter().map(|(_, attempt)| stored(*attempt)).collect();
    let done = sqlx::query(
        "update jobs.jobs as job
         set state = 'available', excused = job.excused + 1
         where job.state = 'executing' and job.node = $1 and job.queue = $2 and not exists (
             select from unnest($3::uuid[], $4::int[]) as held (id, attempt)
             where held.id = job.id and held.attempt = job.attempt
         )",
    )
    .bind(node)
    .bind(queue)
    .bind(job_ids)
    .bind(attempts)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
