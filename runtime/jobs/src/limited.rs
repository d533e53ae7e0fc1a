//! The limited claim: no more jobs than the limits of the queue over all nodes leave room for.
//!
//! Claims of a limited queue take turns by a lock on its row, held for the claim alone. Whoever has
//! it counts what executes, which is what the table says and so falls by itself when an attempt
//! ends or a dead node's jobs are rescued, and what started lately. Partitions take turns: a claim
//! begins behind the partition that this node served last and gives each that has room one job
//! before any gets a second.
//!
//! **Invariant:** a queue with limits is claimed here only. The unlimited claim asks in its own
//! statement whether the queue has any, so a node that has not heard of them yet claims nothing.

use std::time::Duration;

use chrono::TimeDelta;
use kernel::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use crate::fetch::{Claimed, attempt_columns, claim, in_order};
use crate::slots::Slots;
use crate::{Attempt, Queues};

/// A claim looks at so many partitions; the next one goes on behind them.
const PARTITIONS_MAX: i32 = 1_000;
/// Starts are counted in so many slots a period.
const SLOTS: i64 = 20;

/// The limits of a queue, as its row has them.
#[derive(Debug)]
struct Policy {
    is_limited: bool,
    is_paused: bool,
    is_partitioned: bool,
    global_limit: Option<i64>,
    partition_limit: Option<i64>,
    rate_limit: Option<i64>,
    partition_rate_limit: Option<i64>,
    rate_period: Duration,
}

/// What a claim goes by.
struct Round<'a> {
    queue: &'a str,
    node: &'a str,
    demand: u32,
    now: Timestamp,
    /// The time by which starts are counted, which is the database's own.
    rate_now: Timestamp,
}

/// Claims up to `demand` available jobs of a queue, the way this node knows it to be claimed.
pub(crate) async fn claim_by(
    connection: &mut PgConnection,
    queues: &Queues,
    slots: &Slots,
    demand: u32,
) -> Result<Vec<Attempt>, sqlx::Error> {
    let (queue, node) = (slots.queue.as_str(), queues.node_id());
    if !slots.control.is_limited() {
        return claim(connection, queue, demand, node, queues.now()).await;
    }
    let policy = lock(connection, queue).await?.filter(|policy| policy.is_limited);
    // What waited for its turn begins now.
    let now = queues.now();
    let Some(policy) = policy else {
        slots.control.set_limited(false);
        return claim(connection, queue, demand, node, now).await;
    };
    if policy.is_paused {
        return Ok(Vec::new());
    }
    let rate_now = tell_time(connection, queue, &policy, now).await?;
    let round = Round { queue, node, demand, now, rate_now };
    if !policy.is_partitioned {
        return claim_whole(connection, &round, &policy).await;
    }
    let last = slots.control.last_partition();
    let (claimed, reached) = claim_by_turns(connection, &round, &policy, &last).await?;
    if let Some(reached) = reached {
        slots.control.set_last_partition(reached);
    }
    Ok(claimed)
}

/// Reads the limits of a queue and holds off other limited claims of it until the transaction ends.
async fn lock(connection: &mut PgConnection, queue: &str) -> Result<Option<Policy>, sqlx::Error> {
    sqlx::query_as(
        "select is_limited, paused_at is not null as is_paused, \
             partition_by is not null as is_partitioned, global_limit::bigint, \
             partition_limit::bigint, rate_limit::bigint, partition_rate_limit::bigint, \
             rate_period_ms
         from jobs.queues where queue = $1
         for no key update",
    )
    .bind(queue)
    .fetch_optional(connection)
    .await
}

impl FromRow<'_, PgRow> for Policy {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            is_limited: row.try_get("is_limited")?,
            is_paused: row.try_get("is_paused")?,
            is_partitioned: row.try_get("is_partitioned")?,
            global_limit: row.try_get("global_limit")?,
            partition_limit: row.try_get("partition_limit")?,
            rate_limit: row.try_get("rate_limit")?,
            partition_rate_limit: row.try_get("partition_rate_limit")?,
            rate_period: Duration::from_millis(
                row.try_get::<i64, _>("rate_period_ms")?.unsigned_abs(),
            ),
        })
    }
}

impl Policy {
    fn has_rate(&self) -> bool {
        self.rate_limit.is_some() || self.partition_rate_limit.is_some()
    }

    fn period(&self) -> TimeDelta {
        TimeDelta::from_std(self.rate_period).unwrap_or(TimeDelta::MAX)
    }

    /// The slot in which a start at that time is counted.
    fn slot(&self, at: Timestamp) -> i64 {
        at.timestamp_millis() / (self.period().num_milliseconds() / SLOTS).max(1)
    }
}

/// The time by which the starts of a queue are counted, and forgets those that are a period old.
///
/// It is the database's, as the clocks of nodes differ. After that was set back, what started later
/// than now started now: nothing comes back early, and nothing later than a period from now.
async fn tell_time(
    connection: &mut PgConnection,
    queue: &str,
    policy: &Policy,
    now: Timestamp,
) -> Result<Timestamp, sqlx::Error> {
    if !policy.has_rate() {
        return Ok(now);
    }
    sqlx::query_scalar(
        "with clock as materialized (select clock_timestamp() as now),
         set_back as (
             update jobs.rates set last_at = clock.now
             from clock where queue = $1 and last_at > clock.now
         ),
         forgotten as (
             delete from jobs.rates using clock
             where queue = $1 and last_at <= clock.now - $2
         )
         select now from clock",
    )
    .bind(queue)
    .bind(policy.period())
    .fetch_one(connection)
    .await
}

/// How many places a queue has left, from the table `busy` of what executes; after it, what was
/// claimed is counted. Spliced into both claims, which share the numbers of their parameters.
macro_rules! places {
    () => {
        "room as materialized (
             select greatest(0, least($2::bigint,
                 case when $5::bigint is not null then
                     $5 - (select coalesce(sum(busy), 0) from busy) end,
                 case when $6::bigint is not null then
                     $6 - (select coalesce(sum(used), 0) from jobs.rates
                           where queue = $1 and counts = 'queue' and last_at > $8 - $9) end
             )) as places
         )"
    };
}

macro_rules! granted {
    () => {
        concat!(
            "granted as (
                 update jobs.jobs as job
                 set state = 'executing', attempt = job.attempt + 1, node = $3, \
                     attempted_at = $4, duration_us = null
                 from next
                 where job.id = next.id
                 returning job.partition_key, ",
            attempt_columns!(),
            "),
             counted as (
                 insert into jobs.rates (queue, counts, partition_key, slot, used, last_at)
                 select $1, 'queue', '', $10, count(*), $8 from granted
                 where $6::bigint is not null having count(*) > 0
                 union all
                 select $1, 'partition', partition_key, $10, count(*), $8 from granted
                 where $7::bigint is not null and partition_key is not null
                 group by partition_key
                 on conflict (queue, counts, partition_key, slot) do update
                 set used = rates.used + excluded.used,
                     last_at = greatest(rates.last_at, excluded.last_at)
             )"
        )
    };
}

/// Claims the next jobs of a queue without partitions.
///
/// Candidates are found by a limit that the planner knows: by one it does not, it sorts the queue.
async fn claim_whole(
    connection: &mut PgConnection,
    round: &Round<'_>,
    policy: &Policy,
) -> Result<Vec<Attempt>, sqlx::Error> {
    let statement = concat!(
        "with busy as materialized (
             select count(*) as busy from jobs.jobs
             where queue = $1 and state = 'executing' and $5::bigint is not null
         ), ",
        places!(),
        ", candidate as materialized (
             select id, priority, scheduled_at from jobs.jobs
             where queue = $1 and state = 'available'
             order by priority, scheduled_at, id
             limit $2
         ),
         next as materialized (
             select id from jobs.jobs
             where state = 'available' and id = any (array(
                 select id from candidate order by priority, scheduled_at, id
                 limit (select places from room)
             ))
             for update skip locked
         ), ",
        granted!(),
        " select * from granted",
    );
    let claimed = bound(sqlx::query(statement), round, policy).fetch_all(connection).await?;
    claimed.iter().map(Claimed::from_row).collect::<Result<_, _>>().map(in_order)
}

/// The claim of a queue with partitions, told below.
const BY_TURNS: &str = concat!(
    "with recursive busy as materialized (
             select coalesce(partition_key, '') collate \"C\" as partition_key, count(*) as busy
             from jobs.jobs where queue = $1 and state = 'executing' group by 1
         ), ",
    places!(),
    ", part (lap, partition_key, visited, found, room) as (
             select 0, $11::text collate \"C\", 0, 0, 0::bigint from room where places > 0
             union all
             select next.lap, next.partition_key, part.visited + 1,
                 part.found + case when has.room > 0 then 1 else 0 end, has.room
             from part
             cross join room
             cross join lateral (
                 (select part.lap, partition_key collate \"C\" as partition_key from jobs.jobs
                  where queue = $1 and state = 'available'
                      and partition_key collate \"C\" > part.partition_key
                  order by partition_key collate \"C\" limit 1)
                 union all
                 (select 1, partition_key collate \"C\" from jobs.jobs
                  where queue = $1 and state = 'available' and partition_key is not null
                      and part.lap = 0
                  order by partition_key collate \"C\" limit 1)
                 order by lap limit 1
             ) as next
             cross join lateral (
                 select least(room.places,
                     case when $12::bigint is not null then $12 - coalesce((
                         select busy from busy where busy.partition_key = next.partition_key
                     ), 0) end,
                     case when $7::bigint is not null then $7 - coalesce((
                         select sum(used) from jobs.rates
                         where queue = $1 and counts = 'partition' and last_at > $8 - $9
                             and rates.partition_key = next.partition_key
                     ), 0) end
                 )::bigint as room
             ) as has
             where part.visited < $13 and part.found < room.places
                 and (next.lap = 0 or next.partition_key <= $11)
         ),
         chosen as materialized (
             select *, count(*) over () as partitions from part where room > 0
         ),
         candidate as materialized (
             select job.id, chosen.visited, row_number() over (
                 partition by chosen.partition_key
                 order by job.priority, job.scheduled_at, job.id
             ) as turn
             from chosen
             cross join room
             cross join lateral (
                 select id, priority, scheduled_at from jobs.jobs
                 where queue = $1 and state = 'available'
                     and partition_key collate \"C\" = chosen.partition_key
                 order by priority, scheduled_at, id
                 limit least(chosen.room, room.places - chosen.partitions + 1)
             ) as job
         ),
         next as materialized (
             select id from jobs.jobs
             where state = 'available' and id = any (array(
                 select id from candidate order by turn, visited limit (select places from room)
             ))
             for update skip locked
         ), ",
    granted!(),
    " select granted.*, reached.partition_key as reached
          from (select partition_key from part order by visited desc limit 1) as reached
          left join granted on true",
);

/// Claims the next jobs of a queue with partitions, which take turns behind the one served last;
/// and which partition it reached.
///
/// Only as many partitions with room as there are places are looked into, and candidates are locked
/// once they are chosen: a claim costs what it takes and not what waits.
async fn claim_by_turns(
    connection: &mut PgConnection,
    round: &Round<'_>,
    policy: &Policy,
    last_partition: &str,
) -> Result<(Vec<Attempt>, Option<String>), sqlx::Error> {
    let rows = bound(sqlx::query(BY_TURNS), round, policy)
        .bind(last_partition)
        .bind(policy.partition_limit)
        .bind(PARTITIONS_MAX)
        .fetch_all(connection)
        .await?;
    let reached = rows.first().map(|row| row.try_get("reached")).transpose()?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get::<Option<kernel::JobId>, _>("id")?.is_some() {
            claimed.push(Claimed::from_row(row)?);
        }
    }
    Ok((in_order(claimed), reached))
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Binds the parameters that both claims share.
fn bound<'q>(statement: Statement<'q>, round: &Round<'q>, policy: &Policy) -> Statement<'q> {
    statement
        .bind(round.queue)
        .bind(i64::from(round.demand))
        .bind(round.node)
        .bind(round.now)
        .bind(policy.global_limit)
        .bind(policy.rate_limit)
        .bind(policy.partition_rate_limit)
        .bind(round.rate_now)
        .bind(policy.period())
        .bind(policy.slot(round.rate_now))
}
