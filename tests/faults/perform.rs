//! How a job is performed: the way it is told to go.

use std::collections::HashMap;
use std::future::pending;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::{Attempt, BoxFuture, Failure, NewJob, Outcome, Perform, Performed, Performers};
use otp::Clock;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::time::{interval, sleep};

use crate::work::{CHILDREN, WORK, Way, Work, long_text};

/// How long a job that holds its thread does so, unless it is told when to stop.
const SPINS_FOR: Duration = Duration::from_secs(1);
/// How long a snooze is.
const SNOOZE: Duration = Duration::from_millis(500);
/// How long a job takes between its effect and its end at most: time to be killed in.
const DELAY_MS_MAX: u64 = 8;

type Answer = Result<Performed, Failure>;

/// The performers of a queue. A job that holds its thread does so until there is such a file, if
/// one is named.
#[must_use]
pub fn performers(pool: PgPool, clock: Clock, release: Option<PathBuf>) -> Performers {
    let performer: Arc<dyn Perform> = Arc::new(Performer { pool, clock, release });
    Arc::new(HashMap::from([(WORK.to_owned(), performer)]))
}

#[derive(Clone)]
struct Performer {
    pool: PgPool,
    clock: Clock,
    release: Option<PathBuf>,
}

impl Perform for Performer {
    fn perform(&self, attempt: Attempt) -> BoxFuture<'static, Answer> {
        let performer = self.clone();
        Box::pin(async move {
            match serde_json::from_value(attempt.args.clone()) {
                Ok(work) => {
                    performer.note_if_early(work, &attempt).await?;
                    performer.go(work, &attempt).await
                }
                // As the platform does: another deploy may understand it.
                Err(error) => Err(Failure::Retry(format!("undecodable arguments: {error}"))),
            }
        })
    }
}

impl Performer {
    async fn go(&self, work: Work, attempt: &Attempt) -> Answer {
        match work.way {
            Way::Flaky if i64::from(attempt.used()) <= 1 + work.number % 2 => {
                Err(Failure::Retry("not this time".to_owned()))
            }
            Way::Panicking if attempt.used() == 1 => panic!("unlucky"),
            Way::Poisonous => panic!("unlucky, as ever"),
            Way::Snoozing if attempt.excused < 2 => Ok(Performed::Outcome(Outcome::Snooze(SNOOZE))),
            Way::Hopeless => Err(Failure::Retry("never".to_owned())),
            Way::Refusing => {
                Ok(Performed::Outcome(Outcome::Cancel("there is nothing to do".to_owned())))
            }
            Way::Verbose => Err(Failure::Retry(long_text())),
            Way::Hanging => pending().await,
            Way::Spinning => {
                self.spin();
                pending().await
            }
            Way::Flooding => {
                let mut flood = Vec::new();
                loop {
                    flood.push(black_box(vec![1_u8; 1 << 20]));
                    tokio::task::yield_now().await;
                }
            }
            Way::Outside => self.call(work, attempt).await,
            _ => self.command(work, attempt).await,
        }
    }

    /// Writes down that it is performed before it is due. When the attempt was claimed tells
    /// nothing of that: the claim may have waited for others, and found what became due meanwhile.
    async fn note_if_early(&self, work: Work, attempt: &Attempt) -> Result<(), Failure> {
        if self.clock.now() >= attempt.scheduled_at {
            return Ok(());
        }
        let noted = sqlx::query("insert into faults.early (number) values ($1)")
            .bind(work.number)
            .execute(&self.pool)
            .await;
        noted.map(drop).map_err(|error| Failure::Unavailable(error.to_string()))
    }

    fn spin(&self) {
        let begun = Instant::now();
        let is_released = || match &self.release {
            Some(file) => file.exists(),
            None => begun.elapsed() > SPINS_FOR,
        };
        while !is_released() {
            std::hint::spin_loop();
        }
    }

    /// What work outside does: it says under which key it came, and that stays said.
    async fn call(&self, work: Work, attempt: &Attempt) -> Answer {
        let called = sqlx::query("insert into faults.calls (number, key) values ($1, $2)")
            .bind(work.number)
            .bind(attempt.job_id)
            .execute(&self.pool)
            .await;
        called.map_err(|error| Failure::Unavailable(error.to_string()))?;
        linger(work).await;
        Ok(Performed::Outcome(Outcome::Complete))
    }

    /// What a command does: effect and completion in one transaction.
    async fn command(&self, work: Work, attempt: &Attempt) -> Answer {
        match self.have_effect(work, attempt).await {
            Ok(true) => Ok(Performed::AlreadyCompleted),
            Ok(false) => Err(Failure::Retry("another attempt owns the job".to_owned())),
            Err(error) => Err(Failure::Unavailable(error.to_string())),
        }
    }

    async fn have_effect(&self, work: Work, attempt: &Attempt) -> Result<bool, sqlx::Error> {
        if work.way == Way::Waiting {
            self.reach_gate(work, attempt).await?;
        }
        let mut transaction = self.begin().await?;
        sqlx::query("insert into faults.effects (number, queue, job_id) values ($1, $2, $3)")
            .bind(work.number)
            .bind(&attempt.queue)
            .bind(attempt.job_id)
            .execute(&mut *transaction)
            .await?;
        if work.way == Way::Parent {
            self.leave_child(&mut transaction, work, attempt).await?;
        }
        linger(work).await;
        let now = self.clock.now();
        if !jobs::complete(&mut transaction, attempt.job_id, attempt.number, now).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        if work.way == Way::Holding {
            self.reach_gate(work, attempt).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn leave_child(
        &self,
        connection: &mut PgConnection,
        work: Work,
        attempt: &Attempt,
    ) -> Result<(), sqlx::Error> {
        let work = Work { number: work.number + CHILDREN, way: Way::Command };
        let args = serde_json::to_value(work).expect("numbers and names are JSON");
        let child = NewJob::new(&attempt.queue, WORK, args, attempt.scope.clone());
        match jobs::enqueue(connection, &child, self.clock.now()).await {
            Ok(_) => Ok(()),
            Err(jobs::EnqueueError::Database { source, .. }) => Err(source),
            Err(error) => panic!("a job that can be enqueued is refused: {error}"),
        }
    }

    /// Says that it has come to the gate, and waits until it is open.
    async fn reach_gate(&self, work: Work, attempt: &Attempt) -> Result<(), sqlx::Error> {
        sqlx::query("insert into faults.calls (number, key) values ($1, $2)")
            .bind(work.number)
            .bind(attempt.job_id)
            .execute(&self.pool)
            .await?;
        let mut ticks = interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let gate = sqlx::query_scalar("select is_open from faults.gate");
            if gate.fetch_one(&self.pool).await? {
                return Ok(());
            }
        }
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool.begin_with("begin; set local role finnest_runtime").await
    }
}

/// Takes some time, as work does: the same for the same job.
async fn linger(work: Work) {
    sleep(Duration::from_millis(work.number.unsigned_abs() % (DELAY_MS_MAX + 1))).await;
}
