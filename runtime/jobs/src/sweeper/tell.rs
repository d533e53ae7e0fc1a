//! The end of a job that matters to others, and what it means for them.
//!
//! Each round locks jobs that ended, then those that wait for them, then their batches, and skips
//! what it cannot lock at once. What it could lock all of, it moves and tells. Jobs that it cancels
//! on the way have ended too, and are swept by the next round.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{JobId, OrgId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use crate::ending::job_error;
use crate::job::all_columns;
use crate::{Queues, batch, database};

/// So many jobs are swept and told of in one transaction.
const BATCH: usize = 500;

/// A job that ended, and what others have to do with it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) job_id: JobId,
    pub(crate) queue: String,
    pub(crate) org_id: OrgId,
    pub(crate) state: String,
    pub(crate) step: Option<String>,
    pub(crate) batch_id: Option<Uuid>,
}

impl FromRow<'_, PgRow> for Ended {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            job_id: row.try_get("id")?,
            queue: row.try_get("queue")?,
            org_id: row.try_get("org_id")?,
            state: row.try_get("state")?,
            step: row.try_get("workflow_step")?,
            batch_id: row.try_get("batch_id")?,
        })
    }
}

/// Sweeps every followed job that ended, and says how many those were.
pub(super) async fn sweep(queues: &Queues) -> Result<u64, sqlx::Error> {
    let mut swept = 0;
    let mut left = Vec::new();
    loop {
        let mut transaction = database::begin(queues.pool()).await?;
        let round = round(&mut transaction, &left, queues.now()).await?;
        transaction.commit().await?;
        let Some(round) = round else { return Ok(swept) };
        for queue in &round.queues {
            queues.nudge(queue);
        }
        swept += round.swept;
        left.extend(round.left);
    }
}

/// What a round came to.
struct Round {
    swept: u64,
    left: Vec<JobId>,
    /// Those in which something may be performed now.
    queues: BTreeSet<String>,
}

/// One round; `None` if there was nothing but what is to be left.
async fn round(
    connection: &mut PgConnection,
    leave: &[JobId],
    now: Timestamp,
) -> Result<Option<Round>, sqlx::Error> {
    let ended = lock_ended(connection, leave).await?;
    if ended.is_empty() {
        return Ok(None);
    }
    let mut busy = busy_by_dependents(connection, &ended).await?;
    busy.extend(busy_by_batch(connection, &ended).await?);
    let (left, ended): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|ended| busy.contains(&ended.job_id));
    let left = left.into_iter().map(|ended| ended.job_id).collect();
    let swept = move_ended(connection, &ended).await?;
    let mut queues = release(connection, &ended, now).await?;
    cancel_downstream(connection, &ended, now).await?;
    queues.extend(batch::tell(connection, &ended, now).await?);
    forget_chains(connection, &ended).await?;
    Ok(Some(Round { swept, left, queues }))
}

/// Locks jobs that ended. One that was cancelled while it waited in a chain stays in its place
/// there until those before it have ended: nobody behind it may overtake them.
async fn lock_ended(
    connection: &mut PgConnection,
    leave: &[JobId],
) -> Result<Vec<Ended>, sqlx::Error> {
    sqlx::query_as(
        "select id, queue, org_id, state, workflow_step, batch_id
         from jobs.jobs as job
         where is_followed and state in ('completed', 'cancelled', 'discarded')
             and id <> all ($1)
             and (chain_key is null or not exists (
                 select from jobs.dependencies as link
                 join jobs.jobs as before on before.id = link.depends_on
                 where link.job_id = job.id and link.workflow_id is null
             ))
         order by id
         limit $2
         for update skip locked",
    )
    .bind(leave)
    .bind(i64::try_from(BATCH).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
}

/// Locks the jobs that wait for `ended`; those of `ended` for which somebody else holds one.
async fn busy_by_dependents(
    connection: &mut PgConnection,
    ended: &[Ended],
) -> Result<BTreeSet<JobId>, sqlx::Error> {
    let rows = sqlx::query(
        "select dependency.job_id, dependency.depends_on
         from jobs.dependencies as dependency
         join jobs.jobs as waiting on waiting.id = dependency.job_id
         where dependency.depends_on = any ($1) and not dependency.is_met
             and waiting.waits_for > 0",
    )
    .bind(ended.iter().map(|ended| ended.job_id.uuid()).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let mut waiting: BTreeMap<JobId, Vec<JobId>> = BTreeMap::new();
    for row in rows {
        waiting.entry(row.try_get("job_id")?).or_default().push(row.try_get("depends_on")?);
    }
    if waiting.is_empty() {
        return Ok(BTreeSet::new());
    }
    // Who adds a dependency on one of them (`for key share`) does not matter here.
    let locked: Vec<JobId> = sqlx::query_scalar(
        "select id from jobs.jobs where id = any ($1) order by id for no key update skip locked",
    )
    .bind(waiting.keys().map(|job_id| job_id.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for job_id in locked {
        waiting.remove(&job_id);
    }
    Ok(waiting.into_values().flatten().collect())
}

/// Locks the batches of `ended`; those of `ended` whose batch somebody else holds.
async fn busy_by_batch(
    connection: &mut PgConnection,
    ended: &[Ended],
) -> Result<Vec<JobId>, sqlx::Error> {
    let batch_ids: BTreeSet<Uuid> = ended.iter().filter_map(|ended| ended.batch_id).collect();
    if batch_ids.is_empty() {
        return Ok(Vec::new());
    }
    let batch_ids: Vec<Uuid> = batch_ids.into_iter().collect();
    let locked: Vec<Uuid> = sqlx::query_scalar(
        "select id from jobs.batches where id = any ($1) order by id for update skip locked",
    )
    .bind(&batch_ids)
    .fetch_all(&mut *connection)
    .await?;
    let known: Vec<Uuid> = sqlx::query_scalar("select id from jobs.batches where id = any ($1)")
        .bind(&batch_ids)
        .fetch_all(connection)
        .await?;
    let is_busy = |ended: &&Ended| {
        ended.batch_id.is_some_and(|id| known.contains(&id) && !locked.contains(&id))
    };
    Ok(ended.iter().filter(is_busy).map(|ended| ended.job_id).collect())
}

async fn move_ended(connection: &mut PgConnection, ended: &[Ended]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(concat!(
        "with gone as (delete from jobs.jobs as job where job.id = any ($1) returning job.*)
         insert into jobs.finished (",
        all_columns!(""),
        ") select ",
        all_columns!(""),
        " from gone",
    ))
    .bind(ended.iter().map(|ended| ended.job_id.uuid()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Has those go on who waited for nothing else, or one less than before; the queues in which
/// something became available.
async fn release(
    connection: &mut PgConnection,
    ended: &[Ended],
    now: Timestamp,
) -> Result<BTreeSet<String>, sqlx::Error> {
    // What is done already may have to be done again, and then it need not wait: so a step that is
    // not in its queue any more has its dependency met as well.
    let queues: Vec<String> = sqlx::query_scalar(
        "with ended as materialized (
             select * from unnest($1::uuid[], $2::text[]) as ended (id, state)
         ),
         met as materialized (
             select dependency.job_id, dependency.depends_on, dependency.queue, \
                 dependency.org_id, dependency.workflow_id
             from ended join jobs.dependencies as dependency on dependency.depends_on = ended.id
             where not dependency.is_met and case ended.state
                 when 'completed' then true
                 when 'cancelled' then dependency.if_cancelled = 'ignore'
                 else dependency.if_discarded = 'ignore' end
         ),
         kept as (
             update jobs.dependencies as dependency set is_met = true from met
             where dependency.job_id = met.job_id and dependency.depends_on = met.depends_on
                 and met.workflow_id is not null
         ),
         dropped as (
             delete from jobs.dependencies as link
             where link.workflow_id is null and (
                 link.job_id = any (select id from ended)
                 or (link.job_id, link.depends_on) in (select job_id, depends_on from met)
             )
         ),
         told as (
             update jobs.jobs as job
             set waits_for = greatest(0, job.waits_for - met.number),
                 state = case when job.state = 'scheduled' and job.waits_for <= met.number
                     and job.scheduled_at <= $3 then 'available' else job.state end
             from (
                 select job_id, queue, org_id, count(*)::int as number from met
                 group by job_id, queue, org_id
             ) as met
             where job.id = met.job_id and job.queue = met.queue and job.org_id = met.org_id
                 and job.waits_for > 0
             returning job.queue, job.state
         )
         select distinct queue from told where state = 'available'",
    )
    .bind(ended.iter().map(|ended| ended.job_id.uuid()).collect::<Vec<_>>())
    .bind(ended.iter().map(|ended| ended.state.as_str()).collect::<Vec<_>>())
    .bind(now)
    .fetch_all(connection)
    .await?;
    Ok(queues.into_iter().collect())
}

/// Cancels those who are not to go on without what they waited for.
async fn cancel_downstream(
    connection: &mut PgConnection,
    ended: &[Ended],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let failed: Vec<&Ended> = ended.iter().filter(|ended| ended.state != "completed").collect();
    if failed.is_empty() {
        return Ok(());
    }
    let error = |ended: &&Ended| {
        let (step, state) = (ended.step.as_deref().unwrap_or("?"), &ended.state);
        let error = format!("cancelled: step `{step}`, which it waits for, was {state}");
        Json(job_error(0, &error, now))
    };
    sqlx::query(
        "update jobs.jobs as job
         set state = 'cancelled', cancelled_at = $4,
             errors = jsonb_path_query_array(
                 job.errors || jsonb_set(cause.error, '{attempt}', to_jsonb(job.attempt)),
                 '$[last - 19 to last]')
         from (
             select distinct on (dependency.job_id) dependency.job_id, dependency.queue, \
                 dependency.org_id, ended.error
             from unnest($1::uuid[], $2::text[], $3::jsonb[]) as ended (id, state, error)
             join jobs.dependencies as dependency on dependency.depends_on = ended.id
             where not dependency.is_met and case ended.state
                 when 'cancelled' then dependency.if_cancelled = 'cancel'
                 else dependency.if_discarded = 'cancel' end
             order by dependency.job_id, ended.id
         ) as cause
         where job.id = cause.job_id and job.queue = cause.queue and job.org_id = cause.org_id
             and job.state = 'scheduled' and job.waits_for > 0",
    )
    .bind(failed.iter().map(|ended| ended.job_id.uuid()).collect::<Vec<_>>())
    .bind(failed.iter().map(|ended| ended.state.as_str()).collect::<Vec<_>>())
    .bind(failed.iter().map(error).collect::<Vec<_>>())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// A chain whose last job is done needs no row. One that somebody adds to at this moment keeps it.
async fn forget_chains(connection: &mut PgConnection, ended: &[Ended]) -> Result<(), sqlx::Error> {
    let done: Vec<Uuid> = ended
        .iter()
        .filter(|ended| ended.state == "completed")
        .map(|ended| ended.job_id.uuid())
        .collect();
    sqlx::query(
        "with idle as materialized (
             select queue, org_id, chain_key from jobs.chains where tail = any ($1)
             for update skip locked
         )
         delete from jobs.chains as chain using idle
         where chain.queue = idle.queue and chain.org_id = idle.org_id
             and chain.chain_key = idle.chain_key",
    )
    .bind(done)
    .execute(connection)
    .await?;
    Ok(())
}
