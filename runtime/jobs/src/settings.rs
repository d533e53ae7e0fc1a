//! What is stored about queues, and how each node comes to go by it.
//!
//! A producer stores what the page of its node declares before it claims for the first time, and
//! reads what holds. After that the duty looks, for all queues of the node in one question, and a
//! node that hears of a change looks at once. The leader also tells waiting jobs their
//! partitions anew when a queue is divided by something else.

use std::collections::HashMap;
use std::time::Duration;

use kernel::Timestamp;
use otp::ChildSpec;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::control::Stored;
use crate::limits::{Contradiction, Limits, Overrides, RATE_PERIOD_MS};
use crate::slots::Slots;
use crate::{Queues, database, duty};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);
/// So many jobs are told their partition in one transaction.
const BATCH: i64 = 5_000;
/// Every so many looks, jobs that nobody told their partition are looked for.
const LOOKS_PER_SEARCH: u64 = 5;

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    duty::child("settings", EVERY, queues, |queues, _| async move {
        refresh(&queues).await?;
        // Where no producer does it, because the domain is down or in a process of its own.
        for slots in queues.every_slots().iter().filter(|slots| slots.control.is_unsettled()) {
            settle(&queues, slots).await?;
        }
        if !queues.is_leader() {
            return Ok(());
        }
        let must_search = queues.count_look().is_multiple_of(LOOKS_PER_SEARCH);
        divide(&queues, must_search).await?;
        Ok(())
    })
}

/// Goes by what is stored about the queues of this node, from now on, and notes which of them it
/// has a producer of.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn refresh(queues: &Queues) -> Result<(), sqlx::Error> {
    let every = queues.every_slots();
    let names: Vec<&str> = every.iter().map(|slots| slots.queue.as_str()).collect();
    let mut transaction = database::begin(queues.pool()).await?;
    let stored = read(&mut transaction, &names, queues.settings_name()).await?;
    transaction.commit().await?;
    for slots in &every {
        if let Some(stored) = stored.get(&slots.queue) {
            let is_news = slots.go_by(*stored);
            if is_news || slots.control.is_unsettled() {
                slots.nudge.nudge();
            }
        }
    }
    tell_producers(queues).await
}

/// Notes which queues this node has a producer of, if that is news.
async fn tell_producers(queues: &Queues) -> Result<(), sqlx::Error> {
    let every = queues.every_slots();
    let produced = every.iter().filter(|slots| slots.control.has_producer());
    let produced: Vec<String> = produced.map(|slots| slots.queue.clone()).collect();
    if queues.produced().as_ref() == Some(&produced) {
        return Ok(());
    }
    let mut transaction = database::begin(queues.pool()).await?;
    let done = sqlx::query("update jobs.nodes set queues = $2 where node = $1")
        .bind(queues.node_id())
        .bind(&produced)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    // A node that has not said yet that it lives has no row.
    *queues.produced() = (done.rows_affected() == 1).then_some(produced);
    Ok(())
}

/// Stores what this node declares about a queue, and goes by what holds.
pub(crate) async fn settle(queues: &Queues, slots: &Slots) -> Result<(), sqlx::Error> {
    slots.control.settle();
    let settling = async {
        let mut transaction = database::begin(queues.pool()).await?;
        if let Some(declared) = slots.control.declared() {
            declare(&mut transaction, &slots.queue, &declared, queues.now()).await?;
        }
        let name = queues.settings_name();
        let stored = read(&mut transaction, &[&slots.queue], name).await?;
        transaction.commit().await?;
        Ok(stored)
    };
    match settling.await {
        Ok(stored) => {
            for stored in stored.into_values() {
                // Whoever settles looks next anyway.
                let _is_news = slots.go_by(stored);
            }
            Ok(())
        }
        Err(error) => {
            slots.control.unsettle();
            Err(error)
        }
    }
}

/// Stores what an operator says about a queue, over what was said before; what holds then.
pub(crate) async fn override_with(
    connection: &mut PgConnection,
    queue: &str,
    said: Overrides,
    now: Timestamp,
) -> Result<Result<Limits, Contradiction>, sqlx::Error> {
    let (declared, before) = lock(connection, queue, now).await?;
    let overrides = before.and_then(said);
    match declared.overridden(&overrides) {
        Ok(limits) => {
            write(connection, queue, (&declared, &overrides, &limits), now).await?;
            Ok(Ok(limits))
        }
        Err(contradiction) => Ok(Err(contradiction)),
    }
}

/// Forgets what operators said about a queue, but for its being paused; what holds then.
pub(crate) async fn reset(
    connection: &mut PgConnection,
    queue: &str,
    now: Timestamp,
) -> Result<Limits, sqlx::Error> {
    let (declared, _) = lock(connection, queue, now).await?;
    write(connection, queue, (&declared, &Overrides::default(), &declared), now).await?;
    sqlx::query(
        "update jobs.queue_nodes set local_limit = null, updated_at = $2
         where queue = $1 and local_limit is not null",
    )
    .bind(queue)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(declared)
}

async fn declare(
    connection: &mut PgConnection,
    queue: &str,
    declared: &Limits,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let before: Option<Json<Limits>> =
        sqlx::query_scalar("select declared from jobs.queues where queue = $1")
            .bind(queue)
            .fetch_optional(&mut *connection)
            .await?;
    if before.map(|before| before.0).unwrap_or_default() == *declared {
        return Ok(());
    }
    let (_, overrides) = lock(connection, queue, now).await?;
    let limits = declared.overridden(&overrides).unwrap_or_else(|error| {
        tracing::warn!(queue, %error, "what an operator said does not fit what is declared now");
        declared.clone()
    });
    write(connection, queue, (declared, &overrides, &limits), now).await
}

/// What is declared and what operators said about a queue, which nobody else changes or claims by
/// until the transaction ends.
async fn lock(
    connection: &mut PgConnection,
    queue: &str,
    now: Timestamp,
) -> Result<(Limits, Overrides), sqlx::Error> {
    sqlx::query(
        "insert into jobs.queues (queue, updated_at) values ($1, $2) on conflict do nothing",
    )
    .bind(queue)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let row =
        sqlx::query("select declared, overrides from jobs.queues where queue = $1 for update")
            .bind(queue)
            .fetch_one(connection)
            .await?;
    let declared: Json<Limits> = row.try_get("declared")?;
    let overrides: Json<Overrides> = row.try_get("overrides")?;
    Ok((declared.0, overrides.0))
}

async fn write(
    connection: &mut PgConnection,
    queue: &str,
    (declared, overrides, limits): (&Limits, &Overrides, &Limits),
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let stored = |limit: Option<u32>| limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
    sqlx::query(
        "update jobs.queues
         set declared = $2, overrides = $3, partition_by = $4, global_limit = $5, \
             partition_limit = $6, rate_limit = $7, partition_rate_limit = $8, \
             rate_period_ms = $9, updated_at = $10
         where queue = $1",
    )
    .bind(queue)
    .bind(Json(declared))
    .bind(Json(overrides))
    .bind(limits.partition_by.as_ref().map(ToString::to_string))
    .bind(stored(limits.global_limit))
    .bind(stored(limits.partition_limit))
    .bind(stored(limits.rate_limit))
    .bind(stored(limits.partition_rate_limit))
    .bind(i64::from(limits.rate_period_ms.unwrap_or(RATE_PERIOD_MS)))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn read(
    connection: &mut PgConnection,
    queues: &[&str],
    node: &str,
) -> Result<HashMap<String, Stored>, sqlx::Error> {
    let rows = sqlx::query(
        "select known.queue, coalesce(queue.is_limited, false) as is_limited, \
             coalesce(here.local_limit, (queue.overrides ->> 'limit')::integer) as local_limit, \
             here.paused_at is not null as is_paused_here
         from unnest($1::text[]) as known (queue)
         left join jobs.queues as queue on queue.queue = known.queue
         left join jobs.queue_nodes as here on here.queue = known.queue and here.node = $2",
    )
    .bind(queues)
    .bind(node)
    .fetch_all(connection)
    .await?;
    let stored = rows.iter().map(|row| {
        let limit: Option<i32> = row.try_get("local_limit")?;
        let stored = Stored {
            limit: limit.map(i32::unsigned_abs),
            is_limited: row.try_get("is_limited")?,
            is_paused_here: row.try_get("is_paused_here")?,
        };
        Ok((row.try_get("queue")?, stored))
    });
    stored.collect()
}

/// Tells the jobs that wait in a queue their partitions, where it is divided by something else than
/// before; and, if `must_search`, those that nobody told.
///
/// Whoever enqueues tells the partition by the policy his statement sees, and so may be a moment
/// late; a job that an operator brought back may be years old.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was told before stays so.
pub async fn divide(queues: &Queues, must_search: bool) -> Result<u64, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let divided = sqlx::query(
        "select queue, partition_by, partition_by is distinct from keyed_by as is_stale
         from jobs.queues where partition_by is not null
         order by queue",
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let mut told = 0;
    for row in divided {
        let queue: String = row.try_get("queue")?;
        let partition_by: String = row.try_get("partition_by")?;
        let before = told;
        if row.try_get("is_stale")? {
            told += divide_anew(queues, &queue, &partition_by).await?;
        } else if must_search {
            told += divide_untold(queues, &queue, &partition_by).await?;
        }
        if told > before {
            queues.nudge(&queue);
        }
    }
    Ok(told)
}

/// One walk over everything that waits, by identity.
async fn divide_anew(queues: &Queues, queue: &str, partition_by: &str) -> Result<u64, sqlx::Error> {
    let (mut told, mut last) = (0, Uuid::nil());
    loop {
        let mut transaction = database::begin(queues.pool()).await?;
        let rows = sqlx::query(
            "with next as materialized (
                 select id from jobs.jobs
                 where queue = $1 and id > $3
                     and state in ('available', 'scheduled', 'retryable', 'executing')
                 order by id
                 limit $4
                 for no key update
             ),
             told as (
                 update jobs.jobs as job
                 set partition_key = jobs.partition_of(
                     $2, job.partition_key, job.org_id, job.name, job.args)
                 from next
                 where job.id = next.id and job.partition_key is distinct from \
                     jobs.partition_of($2, job.partition_key, job.org_id, job.name, job.args)
                 returning job.id
             )
             select (select max(id::text)::uuid from next) as last, \
                 (select count(*) from next) as found, (select count(*) from told) as told",
        )
        .bind(queue)
        .bind(partition_by)
        .bind(last)
        .bind(BATCH)
        .fetch_one(&mut *transaction)
        .await?;
        let found: i64 = rows.try_get("found")?;
        told += rows.try_get::<i64, _>("told")?.unsigned_abs();
        if found < BATCH {
            sqlx::query(
                "update jobs.queues set keyed_by = $2 where queue = $1 and partition_by = $2",
            )
            .bind(queue)
            .bind(partition_by)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            return Ok(told);
        }
        last = rows.try_get("last")?;
        transaction.commit().await?;
    }
}

/// What waits without having been told.
async fn divide_untold(
    queues: &Queues,
    queue: &str,
    partition_by: &str,
) -> Result<u64, sqlx::Error> {
    let mut told = 0;
    loop {
        let mut transaction = database::begin(queues.pool()).await?;
        let done = sqlx::query(
            "with untold as materialized (
                 select id from jobs.jobs
                 where queue = $1 and state = 'available' and partition_key is null
                 limit $3
                 for no key update skip locked
             )
             update jobs.jobs as job
             set partition_key = jobs.partition_of($2, null, job.org_id, job.name, job.args)
             from untold where job.id = untold.id",
        )
        .bind(queue)
        .bind(partition_by)
        .bind(BATCH)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        told += done.rows_affected();
        if done.rows_affected() < BATCH.unsigned_abs() {
            return Ok(told);
        }
    }
}
