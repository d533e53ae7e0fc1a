//! The enqueuer: a client that enqueues until it is told that it has, whatever happens meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use jobs::{EnqueueError, NewJob};
use otp::Clock;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::time::{interval, timeout};
use uuid::Uuid;

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
        let mut ticks = interval(Duration::from_millis(100));
        for failed in 0_u64.. {
            ticks.tick().await;
            if let Ok(Ok(())) = timeout(PATIENCE, self.try_enqueue(jobs)).await {
                return failed;
            }
        }
        unreachable!("there is no end of numbers")
    }

    async fn try_enqueue(&self, jobs: &[NewJob]) -> Result<(), sqlx::Error> {
        let begin = "begin; set local role finnest_runtime";
        let mut transaction = self.pool.begin_with(begin).await?;
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.job_id.uuid()).collect();
        let there: Vec<Uuid> =
            sqlx::query_scalar("select id from jobs.every_job where id = any ($1)")
                .bind(ids)
                .fetch_all(&mut *transaction)
                .await?;
        let there: HashSet<Uuid> = there.into_iter().collect();
        let is_new = |job: &&NewJob| !there.contains(&job.job_id.uuid());
        let new: Vec<NewJob> = jobs.iter().filter(is_new).cloned().collect();
        match jobs::enqueue_all(&mut transaction, &new, self.clock.now()).await {
            Ok(_) => transaction.commit().await,
            Err(EnqueueError::Database { source, .. }) => Err(source),
            Err(error) => panic!("jobs that can be enqueued are refused: {error}"),
        }
    }
}
