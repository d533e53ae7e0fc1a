//! The limit: a loop that claims and moves jobs, and does nothing else.

use std::time::Instant;

use benches::server::{Database, Server, Speed};
use serde_json::Value;
use sqlx::{PgPool, Row as _};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Tables as the queue has them, without row security.
pub(crate) const TABLES: &str = "create schema bare;
    create table bare.jobs (like jobs.jobs including all) with (
        autovacuum_vacuum_scale_factor = 0.0,
        autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0
    );
    create table bare.finished (like jobs.finished including all);
    grant usage on schema bare to public;
    grant select, insert, update, delete on all tables in schema bare to public;";

/// As many as a queue with that limit has in hands.
const BATCH: i64 = 50;

/// Lets so many loops work off a copy of the jobs that wait.
pub(crate) async fn measure(server: &Server, database: &Database, loops: usize) -> Speed {
    let mut owner = database.owner().await;
    let refill = "truncate bare.jobs, bare.finished;
        insert into bare.jobs select * from jobs.jobs;
        checkpoint";
    sqlx::raw_sql(refill).execute(&mut owner).await.expect("the owner may");
    let pool = database.pool(2);
    let (begun, before) = (Instant::now(), server.spent_seconds());
    let mut running = JoinSet::new();
    for _ in 0..loops {
        running.spawn(work_off(pool.clone()));
    }
    let count = running.join_all().await.into_iter().sum::<usize>() as f64;
    let speed = Speed {
        per_second: count / begun.elapsed().as_secs_f64(),
        processor_us: (server.spent_seconds() - before) * 1e6 / count,
    };
    pool.close().await;
    speed
}

/// Claims and moves until nothing is left; answers how many jobs that were.
async fn work_off(pool: PgPool) -> usize {
    let mut connection = pool.acquire().await.expect("the server answers");
    let mut count = 0;
    loop {
        let claimed = sqlx::query(
            "with next as materialized (
                 select id from bare.jobs where queue = $1 and state = 'available'
                 order by priority, scheduled_at, id limit $2 for update skip locked
             )
             update bare.jobs as job
             set state = 'executing', attempt = attempt + 1, node = 'bare', attempted_at = now()
             from next where job.id = next.id
             returning job.id, job.name, job.args, job.attempt",
        )
        .bind("recruit")
        .bind(BATCH)
        .fetch_all(&mut *connection)
        .await
        .expect("nothing is in the way");
        if claimed.is_empty() {
            return count;
        }
        let read = |row: &sqlx::postgres::PgRow| {
            let _args: Value = row.try_get("args")?;
            row.try_get("id")
        };
        let ids: Result<Vec<Uuid>, sqlx::Error> = claimed.iter().map(read).collect();
        let moved = sqlx::query(
            "with gone as (
                 delete from bare.jobs where id = any($1) and state = 'executing' returning *
             )
             insert into bare.finished (id, org_id, queue, name, state, args, scope, priority,
                 attempt, max_attempts, timeout_ms, node, inserted_at, scheduled_at, attempted_at,
                 completed_at)
             select id, org_id, queue, name, 'completed', args, scope, priority, attempt,
                 max_attempts, timeout_ms, node, inserted_at, scheduled_at, attempted_at, now()
             from gone",
        )
        .bind(ids.expect("the columns are there"))
        .execute(&mut *connection)
        .await;
        count += usize::try_from(moved.expect("nothing is in the way").rows_affected())
            .expect("a batch is small");
    }
}
