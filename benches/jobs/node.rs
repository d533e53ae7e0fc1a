//! A node: a queue and the duties under a supervisor, as in the platform.

use std::collections::HashMap;
use std::sync::Arc;

use benches::server::{DOMAIN, Database};
use jobs::{
    Attempt, BoxFuture, Failure, NewJob, Perform, Performed, Performers, Queues, duties, producer,
};
use kernel::{OrgId, Scope};
use otp::{ChildSpec, Clock, Root, Strategy, SupervisorSpec};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

/// Connections of a node, as many as the platform has by default.
pub(crate) const CONNECTIONS_MAX: u32 = 40;
/// So many attempts run at once.
pub(crate) const LIMIT: u32 = 50;
/// The name of all jobs.
const WORK: &str = "work";

/// A running node.
pub(crate) struct Node {
    pub(crate) queues: Queues,
    pub(crate) pool: PgPool,
    root: Root,
}

impl Node {
    /// Starts these queues, each with its performer, and the duties.
    pub(crate) async fn start(
        database: &Database,
        names: &[String],
        limit: u32,
        performers: impl Fn(&PgPool) -> Performers,
    ) -> Self {
        let pool = database.pool(CONNECTIONS_MAX);
        let queues = Queues::new(pool.clone(), Clock::system(), "bench");
        let duties = SupervisorSpec::new(Strategy::OneForOne)
            .child(duties::leader(&queues))
            .child(duties::stager(&queues))
            .child(duties::sweeper(&queues))
            .child(duties::lifeline(&queues))
            .child(duties::pruner(&queues));
        let queue = |name: &String| {
            let subtree = producer::subtree(&queues, name, limit, performers(&pool));
            ChildSpec::supervisor(name.as_str(), SupervisorSpec::default().child(subtree))
        };
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .child(ChildSpec::supervisor("jobs", duties))
            .children(names.iter().map(queue));
        let root = Root::start(spec, Clock::system()).await.expect("the children start");
        Self { queues, pool, root }
    }

    /// Starts the queue of the domain.
    pub(crate) async fn of_domain(
        database: &Database,
        limit: u32,
        performers: impl Fn(&PgPool) -> Performers,
    ) -> Self {
        Self::start(database, &[DOMAIN.as_str().to_owned()], limit, performers).await
    }

    /// Stops the node.
    pub(crate) async fn stop(self) {
        self.root.stop().await;
        self.pool.close().await;
    }
}

/// A job of the domain; the number is what it is told apart by.
pub(crate) fn job(number: usize) -> NewJob {
    let org_id = OrgId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000));
    let scope = Scope::system(org_id, "bench", Uuid::now_v7());
    NewJob::new(DOMAIN.as_str(), WORK, json!({ "number": number }), scope)
}

/// The number of a job, from its arguments.
pub(crate) fn number_of(attempt: &Attempt) -> usize {
    let number = attempt.args["number"].as_u64().expect("every job has one");
    usize::try_from(number).expect("there are not so many")
}

/// The performers of a queue, made of a function.
pub(crate) fn performing<F, A>(perform: F) -> Performers
where
    F: Fn(Attempt) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Performed, Failure>> + Send + 'static,
{
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
    let performer: Arc<dyn Perform> = Arc::new(Play(perform));
    Arc::new(HashMap::from([(WORK.to_owned(), performer)]))
}
