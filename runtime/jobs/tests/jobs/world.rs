//! The world of a test: a database of its own, nodes on it, a clock by hand, performers to order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use jobs::producer::QueueOptions;
use jobs::{
    Attempt, BoxFuture, Enqueued, Failure, JobRow, NewJob, Perform, Performed, Performers, Queues,
    admin,
};
use kernel::{JobId, OrgId, Scope};
use otp::{Clock, Root, Strategy, SupervisorSpec};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres, Transaction};
use testkit::TestDatabase;
use uuid::Uuid;

use crate::database;

/// The queue of nearly every test; also the role of a domain.
pub(crate) const QUEUE: &str = "recruit";
/// The name of nearly every job.
pub(crate) const WORK: &str = "work";
/// A test that waits longer for something has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    /// Connections of the application, as a node has them.
    pub(crate) pool: PgPool,
    /// Connections of the owner, who is refused nothing, to look behind the scenes.
    pub(crate) owner: PgPool,
    pub(crate) clock: Clock,
    pub(crate) org_id: OrgId,
    database: TestDatabase,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = database::create().await;
        let pool = PgPoolOptions::new().max_connections(12);
        let pool = pool.connect_with(database.app_options()).await;
        let owner = PgPoolOptions::new().max_connections(2);
        let owner = owner.connect_with(database.options()).await;
        let start = DateTime::from_timestamp(1_800_000_000, 0).expect("the time exists");
        Self {
            pool: pool.expect("the application may connect"),
            owner: owner.expect("the owner may connect"),
            clock: Clock::manual(start),
            org_id: OrgId::new(),
            database,
        }
    }

    /// So many more connections of the application.
    pub(crate) async fn connections(&self, count: u32) -> PgPool {
        let pool = PgPoolOptions::new().max_connections(count);
        pool.connect_with(self.database.app_options()).await.expect("the application may connect")
    }

    /// A transaction of the domain whose queue is [`QUEUE`], for an organisation.
    pub(crate) async fn domain(&self, org_id: OrgId) -> Transaction<'static, Postgres> {
        let begin = self.pool.begin_with("begin; set local role recruit").await;
        let mut transaction = begin.expect("the role exists");
        sqlx::query("select set_config('app.org_id', $1, true)")
            .bind(org_id.to_string())
            .execute(&mut *transaction)
            .await
            .expect("the setting may be made");
        transaction
    }

    /// A node of that name, which has said that it lives.
    pub(crate) async fn node(&self, name: &str) -> Queues {
        let queues = Queues::new(self.pool.clone(), self.clock.clone(), name);
        jobs::lifeline::beat(&queues).await.expect("the database is there");
        queues
    }

    pub(crate) fn job(&self, args: Value) -> NewJob {
        NewJob::new(QUEUE, WORK, args, Scope::system(self.org_id, "test", Uuid::now_v7()))
    }

    pub(crate) async fn enqueue(&self, job: &NewJob) -> JobId {
        let mut transaction = self.runtime().await;
        let enqueued = jobs::enqueue(&mut transaction, job, self.clock.now()).await;
        transaction.commit().await.expect("the database is there");
        match enqueued.expect("the job is well-formed") {
            Enqueued::New(job_id) => job_id,
            other => panic!("there is an earlier one: {other:?}"),
        }
    }

    pub(crate) async fn enqueue_many(&self, count: usize) -> Vec<JobId> {
        let mut transaction = self.runtime().await;
        let mut job_ids = Vec::new();
        for number in 0..count {
            let job = self.job(json!({ "number": number }));
            let enqueued = jobs::enqueue(&mut transaction, &job, self.clock.now()).await;
            job_ids.push(enqueued.expect("the job is well-formed").job_id());
        }
        transaction.commit().await.expect("the database is there");
        job_ids
    }

    pub(crate) async fn runtime(&self) -> Transaction<'static, Postgres> {
        let begin = "begin; set local role finnest_runtime";
        self.pool.begin_with(begin).await.expect("the database is there")
    }

    /// How many jobs are in a state.
    pub(crate) async fn count(&self, state: &str) -> i64 {
        let statement = "select count(*) from jobs.every_job where state = $1";
        let count = sqlx::query_scalar(statement).bind(state).fetch_one(&self.owner).await;
        count.expect("the database is there")
    }

    /// Waits until so many jobs are in a state.
    pub(crate) async fn until_count(&self, state: &str, expected: i64) {
        until(state, async || self.count(state).await == expected).await;
    }
}

pub(crate) async fn job_row(queues: &Queues, job_id: JobId) -> JobRow {
    admin::get_job(queues, job_id).await.expect("the job exists")
}

/// Waits for a condition, for as long as is reasonable.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited too long for: {what}");
}

/// Waits for something to be sent, for as long as is reasonable.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("waited too long for: {what}"))
}

/// A performer made of a function.
struct Play<F>(F);

impl<F, A> Perform for Play<F>
where
    F: Fn(Attempt) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Performed, Failure>> + Send + 'static,
{
    fn perform(&self, attempt: Attempt) -> BoxFuture<'static, Result<Performed, Failure>> {
        Box::pin((self.0)(attempt))
    }
}

/// The performers of a queue whose jobs are all called [`WORK`].
pub(crate) fn performing<F, A>(perform: F) -> Performers
where
    F: Fn(Attempt) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Performed, Failure>> + Send + 'static,
{
    let performer: Arc<dyn Perform> = Arc::new(Play(perform));
    Arc::new(HashMap::from([(WORK.to_owned(), performer)]))
}

/// Starts a tree with the queue's subtree in it.
pub(crate) async fn start(world: &World, queues: &Queues, performers: Performers) -> Root {
    start_with(world, queues, QueueOptions::new(10), performers).await
}

/// The same, with a sweeper beside it.
pub(crate) async fn start_swept(world: &World, queues: &Queues, performers: Performers) -> Root {
    let queue = jobs::producer::subtree(queues, QUEUE, 10, performers);
    let sweeper = jobs::duties::sweeper(queues);
    let spec = SupervisorSpec::new(Strategy::OneForOne).child(queue).child(sweeper);
    Root::start(spec, world.clock.clone()).await.expect("the queue starts")
}

pub(crate) async fn start_with(
    world: &World,
    queues: &Queues,
    options: QueueOptions,
    performers: Performers,
) -> Root {
    let queue = jobs::producer::subtree_with(queues, QUEUE, options, performers);
    let spec = SupervisorSpec::new(Strategy::OneForOne).child(queue);
    Root::start(spec, world.clock.clone()).await.expect("the queue starts")
}
