//! Counting jobs: as far as it is cheap, or, for whoever changes them all anyway, to the end.

use std::collections::BTreeMap;

use kernel::JobId;
use sqlx::{PgConnection, QueryBuilder, Row};
use uuid::Uuid;

use super::AdminError;
use super::change::{Change, Seen};
use super::filter::JobFilter;
use super::listing::{Window, queues_of};
use crate::{JobState, Queues, database};

/// A count goes so far; beyond it, more is only more.
pub const COUNT_MAX: u32 = 10_000;
/// How many jobs fit a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobCount {
    /// So many were found.
    pub count: u64,
    /// Whether those are all; otherwise there are at least so many.
    pub is_exact: bool,
}

/// How many jobs fit a filter, counted as far as that is cheap.
pub async fn count_jobs(queues: &Queues, filter: &JobFilter) -> Result<JobCount, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let window = Window::of(&mut transaction, filter, None, COUNT_MAX + 1).await?;
    let mut query = QueryBuilder::new("select count(*) from (select id from ");
    window.push(&mut query);
    window.push_rest(&mut query);
    query.push(" limit ").push_bind(i64::from(COUNT_MAX) + 1).push(") as found");
    let count: i64 =
        query.build_query_scalar().persistent(false).fetch_one(&mut *transaction).await?;
    let count = count.unsigned_abs();
    let is_exact = count <= u64::from(COUNT_MAX) && window.end(&mut transaction).await?.is_none();
    transaction.commit().await?;
    Ok(JobCount { count: count.min(u64::from(COUNT_MAX)), is_exact })
}

/// How many of the jobs that fit a filter a change would leave as they are, by reason; beside how
/// many fit. Looks at [`COUNT_MAX`] of them.
pub(crate) async fn preview(
    queues: &Queues,
    change: Change,
    filter: &JobFilter,
) -> Result<(JobCount, BTreeMap<String, u64>), sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let window = Window::of(&mut transaction, filter, None, COUNT_MAX + 1).await?;
    let mut query = QueryBuilder::new(
        "select state, waits_for, is_followed, count(*) from (
             select state, waits_for, is_followed from ",
    );
    window.push(&mut query);
    window.push_rest(&mut query);
    query.push(" limit ").push_bind(i64::from(COUNT_MAX) + 1);
    query.push(") as found group by state, waits_for, is_followed");
    let rows = query.build().persistent(false).fetch_all(&mut *transaction).await?;
    let (mut all, mut refusals) = (0, BTreeMap::new());
    for row in rows {
        let state = crate::job::state(&row)?;
        let seen = Seen {
            job_id: JobId::from_uuid(Uuid::nil()),
            queue: String::new(),
            state,
            waits_for: crate::job::count(&row, "waits_for")?,
            is_followed: row.try_get("is_followed")?,
            // One that ended is swept a moment later.
            is_swept: state.is_final(),
        };
        let count = row.try_get::<i64, _>("count")?.unsigned_abs();
        all += count;
        if let Some(obstacle) = change.obstacle(&seen) {
            *refusals.entry(obstacle.name().to_owned()).or_default() += count;
        }
    }
    let most = u64::from(COUNT_MAX);
    let is_exact = all <= most && window.end(&mut transaction).await?.is_none();
    transaction.commit().await?;
    Ok((JobCount { count: all.min(most), is_exact }, refusals))
}

/// How many jobs below a cursor fit a filter, however many those are.
pub(crate) async fn count_all(
    connection: &mut PgConnection,
    filter: &JobFilter,
    cursor: JobId,
) -> Result<i64, sqlx::Error> {
    let window = Window::of(connection, filter, Some(cursor), u32::MAX).await?.unbounded();
    let mut query = QueryBuilder::new("select count(*) from ");
    window.push(&mut query);
    window.push_rest(&mut query);
    query.build_query_scalar().persistent(false).fetch_one(connection).await
}

/// How many jobs are in each state of each queue. What is to be done is counted whole, what is
/// finished up to [`COUNT_MAX`].
pub(super) async fn count_by_state(
    connection: &mut PgConnection,
) -> Result<Vec<(String, JobState, u64)>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select queue, state, count(*) as count from jobs.jobs group by queue, state",
    );
    // Each place by itself and in order, or the planner reads all to find what is rare.
    for queue in queues_of(connection).await? {
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            query.push(" union all select ").push_bind(queue.clone());
            query.push(", ").push_bind(state.name());
            query.push(", count(*) from (select from jobs.finished as job where job.queue = ");
            query.push_bind(queue.clone()).push(" and job.state = ").push_bind(state.name());
            query.push(" order by job.id desc limit ").push_bind(i64::from(COUNT_MAX));
            query.push(") as job having count(*) > 0");
        }
    }
    let rows = query.build().persistent(false).fetch_all(connection).await?;
    let read = |row| {
        let count: i64 = Row::try_get(row, "count")?;
        Ok((Row::try_get(row, "queue")?, crate::job::state(row)?, count.unsigned_abs()))
    };
    rows.iter().map(read).collect()
}
