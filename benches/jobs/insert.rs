//! Enqueueing: many jobs at once, and one in a transaction of its own.

use std::time::{Duration, Instant};

use benches::server::{DOMAIN, Database};
use kernel::Timestamp;
use otp::Clock;
use sqlx::AssertSqlSafe;
use store::Sessions;
use tokio::task::JoinSet;

use crate::node::{CONNECTIONS_MAX, job};

/// So many jobs are enqueued in one transaction.
const BATCH: usize = 1_000;

/// Enqueues `count` jobs, many at once, and says how many a second.
pub(crate) async fn bulk(database: &Database, count: usize) -> f64 {
    let pool = database.pool(1);
    let begun = Instant::now();
    for batch in 0..count.div_ceil(BATCH) {
        let numbers = batch * BATCH..count.min((batch + 1) * BATCH);
        let jobs: Vec<_> = numbers.map(job).collect();
        let opening = "begin; set local role finnest_runtime";
        let mut transaction = pool.begin_with(opening).await.expect("the server answers");
        let enqueued = jobs::enqueue_all(&mut transaction, &jobs, now()).await;
        enqueued.expect("the jobs are well-formed");
        transaction.commit().await.expect("nothing is in the way");
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    pool.close().await;
    rate
}

/// Lets `writers` enqueue for `span`, each job in a transaction of the domain, and says how many a
/// second.
pub(crate) async fn single(database: &Database, writers: usize, span: Duration) -> f64 {
    let pool = database.pool(CONNECTIONS_MAX);
    let sessions = Sessions::new(pool.clone());
    // Connections are opened and statements prepared before the time is taken.
    write_for(&sessions, writers, span / 10).await;
    let begun = Instant::now();
    let count = write_for(&sessions, writers, span).await;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    sessions.close();
    pool.close().await;
    rate
}

async fn write_for(sessions: &Sessions, writers: usize, span: Duration) -> usize {
    let end = Instant::now() + span;
    let mut running = JoinSet::new();
    for _ in 0..writers {
        let sessions = sessions.clone();
        running.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                enqueue(&sessions, count).await;
                count += 1;
            }
            count
        });
    }
    running.join_all().await.into_iter().sum()
}

/// Enqueues one job as a command of the domain does it.
pub(crate) async fn enqueue(sessions: &Sessions, number: usize) {
    let job = job(number);
    let opening = format!(
        "begin; set local role {DOMAIN}; set local search_path = {DOMAIN}; \
         set local app.org_id = '{}'; set local statement_timeout = 5000",
        job.scope.org_id
    );
    let mut session = sessions.take().await.expect("the server answers");
    let mut transaction = session.begin(AssertSqlSafe(opening)).await.expect("a domain's role");
    let enqueued = jobs::enqueue(&mut transaction, &job, now()).await;
    enqueued.expect("a domain may enqueue its own jobs");
    transaction.commit().await.expect("nothing is in the way");
    session.give_back();
}

fn now() -> Timestamp {
    Clock::system().now()
}
