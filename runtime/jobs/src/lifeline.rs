//! The lifeline: this node's heartbeat, and the rescue of jobs whose attempt is gone.
//!
//! Every node beats, looks after the jobs in its own hands, and watches the others; the leader
//! rescues what nodes hold that fell silent. A rescue may be wrong: a node that is slow looks like
//! one that is dead. That costs no effect inside the database, since the attempt number guards
//! every completion, and it is why work outside has the job's id as idempotency key. A node that
//! comes back finds out at its next heartbeat and ends the attempts it lost.

mod watch;

use std::time::Duration;

use chrono::TimeDelta;
use kernel::{JobId, Timestamp};
use otp::ChildSpec;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::counters::Count;
use crate::ending::{job_error, stored};
use crate::job::count;
use crate::slots::AttemptKey;
use crate::{Queues, database, duty};

pub(crate) use watch::Watch;

/// How often a node says that it lives.
const EVERY: Duration = Duration::from_secs(5);
/// A node that was away for longer than this is not as steady as it was.
const ABSENCE_MAX: TimeDelta = TimeDelta::seconds(20);
/// A job in the hands of a node that never said that it lives is left to it for so long.
const UNKNOWN_MAX: TimeDelta = TimeDelta::minutes(1);
/// A claim of this node may take so long to become an attempt, and an attempt to be recorded.
const GRACE: TimeDelta = TimeDelta::seconds(10);
/// So many jobs are rescued in one transaction.
const BATCH: usize = 500;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("lifeline", EVERY, queues, |queues, _| async move {
        beat(&queues).await?;
        end_superseded(&queues).await?;
        let reach = if queues.is_leader() { Reach::Everybody } else { Reach::Own };
        rescue_within(&queues, reach).await?;
        Ok(())
    })
}

/// Says that this node lives, and takes note of who else does. Its first beat marks earlier nodes
/// of the same name as left.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn beat(queues: &Queues) -> Result<(), sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let now = queues.now();
    if upsert_node(&mut transaction, queues, now).await? {
        mark_predecessors(&mut transaction, queues, now).await?;
    }
    let others = beats_of_others(&mut transaction, queues.node_id()).await?;
    transaction.commit().await?;
    queues.watch().look(others, now);
    Ok(())
}

/// Asks for the end of attempts of this node whose job is no longer theirs, and says how many
/// those are: they were cancelled from another node, or rescued while this one was thought dead.
///
/// Nothing depends on it: such an attempt can complete nothing. But what it still does outside the
/// database is done in vain, or twice.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn end_superseded(queues: &Queues) -> Result<u64, sqlx::Error> {
    let every = queues.every_slots();
    let running: Vec<AttemptKey> = every.iter().flat_map(|slots| slots.running_keys()).collect();
    if running.is_empty() {
        return Ok(0);
    }
    let mut transaction = database::begin(queues.pool()).await?;
    let superseded = find_superseded(&mut transaction, queues.node_id(), &running).await?;
    transaction.commit().await?;
    let mut ended = 0;
    for key in superseded {
        // What ended by itself since then is in no book any more.
        if every.iter().any(|slots| slots.unwant_attempt(key)) {
            tracing::warn!(job_id = %key.0, number = key.1, "an attempt no longer owns its job");
            ended += 1;
        }
    }
    Ok(ended)
}

/// Rescues every job whose attempt is gone, on whichever node that was, and says how many.
///
/// Gone are attempts of nodes that left or fell silent, and attempts of this node that no process
/// of it runs. A job with attempts left becomes available, one without is discarded.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was rescued before stays so.
pub async fn rescue(queues: &Queues) -> Result<u64, sqlx::Error> {
    rescue_within(queues, Reach::Everybody).await
}

/// Whose jobs are rescued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Those in the hands of this node.
    Own,
    /// Those of others too.
    Everybody,
}

async fn rescue_within(queues: &Queues, reach: Reach) -> Result<u64, sqlx::Error> {
    let mut rescued = 0;
    loop {
        // The time is taken before the books are read: what is claimed after it is not old enough.
        let now = queues.now();
        let mut own = Own { held: Vec::new(), claiming: Vec::new() };
        for slots in queues.every_slots() {
            match slots.held_if_known() {
                Some(attempts) => own.held.extend(attempts),
                None => own.claiming.push(slots.queue.clone()),
            }
        }
        let silent = (reach == Reach::Everybody).then(|| queues.watch().silent(now));
        let mut transaction = database::begin(queues.pool()).await?;
        let batch = take_back(&mut transaction, queues.node_id(), &own, silent, now).await?;
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
    .bind(ABSENCE_MAX)
    .fetch_one(connection)
    .await?;
    row.try_get("is_first")
}

async fn beats_of_others(
    connection: &mut PgConnection,
    node: &str,
) -> Result<Vec<(String, Timestamp)>, sqlx::Error> {
    let statement = "select node, seen_at from jobs.nodes where node <> $1 and left_at is null";
    sqlx::query_as(statement).bind(node).fetch_all(connection).await
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

/// The attempts among these that do not own their job any more. One that was completed did own it.
async fn find_superseded(
    connection: &mut PgConnection,
    node: &str,
    running: &[AttemptKey],
) -> Result<Vec<AttemptKey>, sqlx::Error> {
    let job_ids: Vec<JobId> = running.iter().map(|(job_id, _)| *job_id).collect();
    let attempts: Vec<i32> = running.iter().map(|(_, attempt)| stored(*attempt)).collect();
    let rows = sqlx::query(
        "select running.id, running.attempt
         from unnest($1::uuid[], $2::int[]) as running (id, attempt)
         where not exists (
             select from jobs.jobs as job
             where job.id = running.id and job.attempt = running.attempt
                 and (job.state = 'executing' and job.node = $3 or job.state = 'completed')
         )
         and not exists (
             select from jobs.finished as job
             where job.id = running.id and job.attempt = running.attempt
                 and job.state = 'completed'
         )",
    )
    .bind(job_ids)
    .bind(attempts)
    .bind(node)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, count(row, "attempt")?))).collect()
}

/// What this node has in hand.
struct Own {
    /// What runs, or has ended without its end being recorded yet.
    held: Vec<AttemptKey>,
    /// Queues where a claim is under way, whose attempts are in no book yet.
    claiming: Vec<String>,
}

/// Takes jobs back from attempts that are gone; their queues, one for each job. Of this node, that
/// is what is not among the held, in queues where no claim is under way; of others, what those
/// hold that are `silent` or left, if they are judged at all.
async fn take_back(
    connection: &mut PgConnection,
    node: &str,
    own: &Own,
    silent: Option<Vec<String>>,
    now: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    let job_ids: Vec<_> = own.held.iter().map(|(job_id, _)| *job_id).collect();
    let attempts: Vec<i32> = own.held.iter().map(|(_, attempt)| stored(*attempt)).collect();
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
                 or $5::text[] is not null and job.node <> $1 and (
                     node.left_at is not null or job.node = any ($5::text[])
                     or node.node is null and job.attempted_at < $10
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
    .bind(silent)
    .bind(i64::try_from(BATCH).expect("the batch is small"))
    .bind(now)
    .bind(Json(error))
    .bind(&own.claiming)
    .bind(now - UNKNOWN_MAX)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.try_get("queue")).collect()
}
