//! The lifeline: this node's heartbeat, and the rescue of jobs whose attempt is gone.
//!
//! A rescue may be wrong: a node that is slow looks like one that is dead. That costs no effect
//! inside the database, since the attempt number guards every completion, and it is why work
//! outside has the job's id as idempotency key.

use std::time::Duration;

use chrono::TimeDelta;
use kernel::Timestamp;
use otp::ChildSpec;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::counters::Count;
use crate::ending::{job_error, stored};
use crate::slots::AttemptKey;
use crate::{Queues, database, duty};

/// How often a node says that it lives.
const EVERY: Duration = Duration::from_secs(5);
/// A node that has been silent for so long is taken for dead.
const SILENCE_MAX: TimeDelta = TimeDelta::seconds(20);
/// A claim of this node may take so long to become an attempt, and an attempt to be recorded.
const GRACE: TimeDelta = TimeDelta::seconds(10);
/// So many jobs are rescued in one transaction.
const BATCH: usize = 500;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("lifeline", EVERY, queues, |queues| async move {
        beat(&queues).await?;
        rescue(&queues).await?;
        Ok(())
    })
}

/// Says that this node lives. Its first beat marks earlier nodes of the same name as left.
pub async fn beat(queues: &Queues) -> Result<(), sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let now = queues.now();
    if upsert_node(&mut transaction, queues, now).await? {
        mark_predecessors(&mut transaction, queues, now).await?;
    }
    transaction.commit().await
}

/// Rescues every job whose attempt is gone, and says how many.
///
/// Gone are attempts of nodes that left or fell silent, and attempts of this node that no process
/// of it runs. A job with attempts left becomes available, one without is discarded.
pub async fn rescue(queues: &Queues) -> Result<u64, sqlx::Error> {
    let mut rescued = 0;
    loop {
        // The time is taken before the books are read: what is claimed after it is not old enough.
        let now = queues.now();
        let mut running = Vec::new();
        let mut claiming = Vec::new();
        for slots in queues.every_slots() {
            match slots.held_if_known() {
                Some(attempts) => running.extend(attempts),
                None => claiming.push(slots.queue.clone()),
            }
        }
        let mut transaction = database::begin(queues.pool()).await?;
        let batch =
            take_back(&mut transaction, queues.node_id(), (&running, &claiming), now).await?;
        transaction.commit().await?;
        for queue in &batch {
            tracing::warn!(queue, "rescued a job whose attempt was gone");
            if let Some(slots) = queues.find_slots(queue) {
                slots.counters.add(Count::Rescued, 1);
                slots.nudge.nudge();
            }
        }
        rescued += batch.len() as u64;
        if batch.len() < BATCH {
            return Ok(rescued);
        }
    }
}

/// `true` if this was the node's first beat.
///
/// After a silence of its own (a database that was away silences everybody) a node starts to be
/// steady anew, and judges nobody silent before it has been steady for as long as that takes.
async fn upsert_node(
    connection: &mut PgConnection,
    queues: &Queues,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "insert into jobs.nodes as node (node, name, started_at, steady_since, seen_at)
         values ($1, $2, $3, $3, $3)
         on conflict (node) do update
         set seen_at = excluded.seen_at, left_at = null, steady_since = case
             when excluded.seen_at - node.seen_at > $4 then excluded.seen_at
             else node.steady_since end
         returning node.xmax = 0 as is_first",
    )
    .bind(queues.node_id())
    .bind(queues.node_name())
    .bind(now)
    .bind(SILENCE_MAX)
    .fetch_one(connection)
    .await?;
    row.try_get("is_first")
}

async fn mark_predecessors(
    connection: &mut PgConnection,
    queues: &Queues,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update jobs.nodes set left_at = $3
         where name = $2 and node <> $1 and left_at is null",
    )
    .bind(queues.node_id())
    .bind(queues.node_name())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes jobs back from attempts that are gone; their queues, one for each job. Of this node, that
/// is what is not among the running, in queues where no claim is under way.
async fn take_back(
    connection: &mut PgConnection,
    node: &str,
    (running, claiming): (&[AttemptKey], &[String]),
    now: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    let job_ids: Vec<_> = running.iter().map(|(job_id, _)| *job_id).collect();
    let attempts: Vec<i32> = running.iter().map(|(_, attempt)| stored(*attempt)).collect();
    let error = job_error(0, "rescued: the attempt was gone without a word", now);
    let rows = sqlx::query(
        "with orphan as materialized (
             select job.id
             from jobs.jobs as job
             left join jobs.nodes as node on node.node = job.node
             where job.state = 'executing' and (
                 job.node = $1 and job.attempted_at < $2 and job.queue <> all ($9::text[])
                 and not exists (
                     select from unnest($3::uuid[], $4::int[]) as running (id, attempt)
                     where running.id = job.id and running.attempt = job.attempt
                 )
                 or job.node <> $1 and node.left_at is not null
                 or job.node <> $1 and coalesce(node.seen_at, job.attempted_at) < $5 and exists (
                     select from jobs.nodes as judge
                     where judge.node = $1 and judge.steady_since < $5
                 )
             )
             limit $6
             for update of job skip locked
         )
         update jobs.jobs as job
         set state = case when job.attempt - job.excused < job.max_attempts
                 then 'available' else 'discarded' end,
             discarded_at = case when job.attempt - job.excused < job.max_attempts
                 then null else $7 end,
             errors = jsonb_path_query_array(
                 job.errors || jsonb_set($8::jsonb, '{attempt}', to_jsonb(job.attempt)),
                 '$[last - 19 to last]')
         from orphan
         where job.id = orphan.id
         returning job.queue",
    )
    .bind(node)
    .bind(now - GRACE)
    .bind(job_ids)
    .bind(attempts)
    .bind(now - SILENCE_MAX)
    .bind(i64::try_from(BATCH).expect("the batch is small"))
    .bind(now)
    .bind(Json(error))
    .bind(claiming)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.try_get("queue")).collect()
}
