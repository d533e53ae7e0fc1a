//! A queue with a past: jobs that were completed before.

use benches::figures::Size;
use benches::server::Database;

/// Writes down `count` jobs as if they had been completed in the last days.
pub(crate) async fn fill(database: &Database, count: i64) {
    /// Rows of one statement.
    const BATCH: i64 = 500_000;
    let mut owner = database.owner().await;
    for first in (0..count).step_by(usize::try_from(BATCH).expect("it is positive")) {
        sqlx::query(
            "insert into jobs.finished (id, org_id, queue, name, state, args, scope, attempt,
                 max_attempts, timeout_ms, node, duration_us, inserted_at, scheduled_at,
                 attempted_at, completed_at)
             select
                 (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
                     || '7' || substr(md5(number::text), 1, 3)
                     || '8' || substr(md5(number::text), 4, 15))::uuid,
                 '01900000-0000-7000-8000-000000000000', 'recruit', 'work', 'completed',
                 jsonb_build_object('number', number), '{}', 1, 20, 60000, 'past', 1000,
                 at, at, at, at
             from generate_series($1::bigint, $2::bigint - 1) as number,
             lateral (select now() - interval '5 days' + number * interval '1 ms' as at) as past",
        )
        .bind(first)
        .bind(count.min(first + BATCH))
        .execute(&mut owner)
        .await
        .expect("the owner may");
    }
    let settle = "vacuum analyze jobs.finished";
    sqlx::raw_sql(settle).execute(&mut owner).await.expect("the owner may");
}

/// Makes every run begin alike: nothing waits, and no other run's rows are written out meanwhile.
pub(crate) async fn settle(database: &Database, size: Size) {
    let mut owner = database.owner().await;
    let empty = if size.is_smallest() {
        "truncate jobs.jobs, jobs.finished, recruit.effects"
    } else {
        "truncate jobs.jobs"
    };
    for statement in [empty, "checkpoint"] {
        sqlx::raw_sql(statement).execute(&mut owner).await.expect("the owner may");
    }
}
