//! The enqueuer: a client that enqueues until it is told that it has, whatever happens meanwhile.

use std::time::Duration;

use jobs::{BatchError, EnqueueError, NewJob, WorkflowError};
use otp::Clock;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::time::{interval, timeout};

use super::flows::{Unit, What};

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client of the queues with a few connections.
pub(crate) struct Enqueuer {
    pool: PgPool,
    clock: Clock,
}

impl Enqueuer {
    pub(crate) fn new(app: &PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(6).acquire_timeout(PATIENCE);
        Self { pool: pool.connect_lazy_with(app.clone()), clock: Clock::system() }
    }

    /// Enqueues the jobs in one transaction, again and again until that is acknowledged, and says
    /// how often it was not. What an unanswered commit left there is not enqueued again.
    pub(crate) async fn enqueue(&self, jobs: &[NewJob]) -> u64 {
        self.enqueue_unit(&Unit::of(jobs)).await
    }

    /// The same for what belongs together.
    pub(crate) async fn enqueue_unit(&self, unit: &Unit) -> u64 {
        let mut ticks = interval(Duration::from_millis(100));
        for failed in 0_u64.. {
            ticks.tick().await;
            if let Ok(Ok(())) = timeout(PATIENCE, self.try_enqueue(unit)).await {
                return failed;
            }
        }
        unreachable!("there is no end of numbers")
    }

    async fn try_enqueue(&self, unit: &Unit) -> Result<(), sqlx::Error> {
        let begin = "begin; set local role finnest_runtime";
        let mut transaction = self.pool.begin_with(begin).await?;
        let there: bool =
            sqlx::query_scalar("select exists(select from jobs.every_job where id = any ($1))")
                .bind(&unit.job_ids)
                .fetch_one(&mut *transaction)
                .await?;
        if there {
            return Ok(());
        }
        let now = self.clock.now();
        let refused = match &unit.what {
            What::Jobs(jobs) => jobs::enqueue_all(&mut transaction, jobs, now).await.err(),
            What::Workflow(workflow) => {
                match jobs::enqueue_workflow(&mut transaction, workflow, now).await {
                    Err(WorkflowError::Database(source)) => return Err(source),
                    Err(WorkflowError::Enqueue(error)) => Some(error),
                    Err(error) => panic!("a workflow that can be enqueued is refused: {error}"),
                    Ok(()) => None,
                }
            }
            What::Batch(batch) => match jobs::enqueue_batch(&mut transaction, batch, now).await {
                Err(BatchError::Database(source)) => return Err(source),
                Err(BatchError::Enqueue(error)) => Some(error),
                Err(error) => panic!("a batch that can be enqueued is refused: {error}"),
                Ok(_) => None,
            },
        };
        match refused {
            None => transaction.commit().await,
            Some(EnqueueError::Database { source, .. }) => Err(source),
            Some(error) => panic!("jobs that can be enqueued are refused: {error}"),
        }
    }
}
