//! Why jobs wait: what controls each queue, and what is in the way of those that are due.

use std::collections::HashMap;

use chrono::TimeDelta;
use kernel::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};

use crate::limits::{Limits, Overrides};
use crate::{Queues, database};

/// A node that has not said for so long that it lives performs nothing, as far as one can tell.
const SILENCE_MAX: TimeDelta = TimeDelta::seconds(30);

/// What is in the way of jobs that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The queue is paused.
    Paused,
    /// No node has a producer of it: its domain is down everywhere.
    NoProducer,
    /// It is paused on every node that has a producer of it.
    PausedOnNodes,
    /// As many attempts have started as may within the period.
    RateLimited {
        /// When the next one may, by the clock of the database.
        until: Timestamp,
    },
    /// As many of its jobs execute as may over all nodes.
    GlobalLimit,
    /// Its partitions are limited, and this node has places free.
    PartitionLimits,
    /// All places of this node are taken, or it has none.
    Busy,
}

/// What controls a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueControl {
    /// The queue.
    pub queue: String,
    /// Since when it is paused on every node.
    pub paused_at: Option<Timestamp>,
    /// What is declared.
    pub declared: Limits,
    /// What operators said in place of that.
    pub overrides: Overrides,
    /// What holds.
    pub limits: Limits,
    /// What operators said about single nodes, by their names.
    pub nodes: Vec<NodeControl>,
    /// The nodes that have a producer of it, by their names.
    pub producers: Vec<String>,
    /// How many of its jobs execute, over all nodes.
    pub executing: u64,
    /// What is in the way of its jobs that are due; absent if none is, or nothing.
    pub waits: Option<Waits>,
}

/// What an operator said about a queue on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeControl {
    /// The node, by its name.
    pub node: String,
    /// So many attempts run at once there.
    pub limit: Option<u32>,
    /// Since when it claims none there.
    pub paused_at: Option<Timestamp>,
}

/// What controls each queue that this node knows or that anything was said about, by name.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn control(queues: &Queues) -> Result<Vec<QueueControl>, sqlx::Error> {
    let known: Vec<String> = queues.stats().into_iter().map(|stats| stats.queue).collect();
    let mut transaction = database::begin(queues.pool()).await?;
    let found = find(&mut transaction, &known, queues.now() - SILENCE_MAX).await?;
    let mut nodes = nodes_by_queue(&mut transaction).await?;
    transaction.commit().await?;
    let controls = found.into_iter().map(|found| {
        let nodes = nodes.remove(&found.queue).unwrap_or_default();
        let has_place = queues
            .find_slots(&found.queue)
            .is_some_and(|slots| slots.control.has_producer() && slots.demand() > 0);
        found.with(nodes, has_place)
    });
    Ok(controls.collect())
}

/// A queue as it was found.
struct Found {
    queue: String,
    paused_at: Option<Timestamp>,
    declared: Limits,
    overrides: Overrides,
    producers: Vec<String>,
    executing: u64,
    is_waiting: bool,
    started: u64,
    until: Option<Timestamp>,
}

impl Found {
    fn with(self, nodes: Vec<NodeControl>, has_place: bool) -> QueueControl {
        let limits =
            self.declared.overridden(&self.overrides).unwrap_or_else(|_| self.declared.clone());
        let waits = self.is_waiting.then(|| self.in_the_way(&limits, &nodes, has_place)).flatten();
        QueueControl {
            queue: self.queue,
            paused_at: self.paused_at,
            declared: self.declared,
            overrides: self.overrides,
            limits,
            nodes,
            producers: self.producers,
            executing: self.executing,
            waits,
        }
    }

    fn in_the_way(&self, limits: &Limits, nodes: &[NodeControl], has_place: bool) -> Option<Waits> {
        let is_paused_on = |producer: &String| {
            let name = producer.split_once('/').map_or(producer.as_str(), |(name, _)| name);
            nodes.iter().any(|node| node.node == name && node.paused_at.is_some())
        };
        let reached = |limit: Option<u32>, count| limit.is_some_and(|limit| count >= limit.into());
        if self.paused_at.is_some() {
            return Some(Waits::Paused);
        }
        if self.producers.is_empty() {
            return Some(Waits::NoProducer);
        }
        if self.producers.iter().all(is_paused_on) {
            return Some(Waits::PausedOnNodes);
        }
        if let Some(until) = self.until.filter(|_| reached(limits.rate_limit, self.started)) {
            return Some(Waits::RateLimited { until });
        }
        if reached(limits.global_limit, self.executing) {
            return Some(Waits::GlobalLimit);
        }
        match (has_place, limits.partition_limit.or(limits.partition_rate_limit)) {
            (false, _) => Some(Waits::Busy),
            (true, Some(_)) => Some(Waits::PartitionLimits),
            // They are about to start.
            (true, None) => None,
        }
    }
}

impl FromRow<'_, PgRow> for Found {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            queue: row.try_get("queue")?,
            paused_at: row.try_get("paused_at")?,
            declared: row.try_get::<Json<Limits>, _>("declared")?.0,
            overrides: row.try_get::<Json<Overrides>, _>("overrides")?.0,
            producers: row.try_get("producers")?,
            executing: row.try_get::<i64, _>("executing")?.unsigned_abs(),
            is_waiting: row.try_get("is_waiting")?,
            started: row.try_get::<i64, _>("started")?.unsigned_abs(),
            until: row.try_get("until")?,
        })
    }
}

async fn find(
    connection: &mut PgConnection,
    known: &[String],
    seen_since: Timestamp,
) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as(
        "select known.queue, queue.paused_at, \
             coalesce(queue.declared, '{}') as declared, \
             coalesce(queue.overrides, '{}') as overrides,
             array(
                 select node.name from jobs.nodes as node
                 where known.queue = any (node.queues) and node.left_at is null
                     and node.seen_at > $2
                 order by node.name
             ) as producers,
             (select count(*) from jobs.jobs as job
              where job.queue = known.queue and job.state = 'executing') as executing,
             exists (
                 select from jobs.jobs as job
                 where job.queue = known.queue and job.state = 'available'
             ) as is_waiting,
             rate.started, rate.until
         from (
             select queue from jobs.queues union select unnest($1::text[])
         ) as known (queue)
         left join jobs.queues as queue on queue.queue = known.queue
         cross join lateral (
             select coalesce(sum(used), 0)::bigint as started,
                 min(last_at) + queue.rate_period_ms * interval '1 millisecond' as until
             from jobs.rates
             where rates.queue = known.queue and counts = 'queue' and last_at >
                 clock_timestamp() - queue.rate_period_ms * interval '1 millisecond'
         ) as rate
         order by known.queue",
    )
    .bind(known)
    .bind(seen_since)
    .fetch_all(connection)
    .await
}

async fn nodes_by_queue(
    connection: &mut PgConnection,
) -> Result<HashMap<String, Vec<NodeControl>>, sqlx::Error> {
    let rows = sqlx::query(
        "select queue, node, local_limit, paused_at from jobs.queue_nodes
         where local_limit is not null or paused_at is not null
         order by queue, node",
    )
    .fetch_all(connection)
    .await?;
    let mut nodes: HashMap<String, Vec<NodeControl>> = HashMap::new();
    for row in rows {
        let limit: Option<i32> = row.try_get("local_limit")?;
        nodes.entry(row.try_get("queue")?).or_default().push(NodeControl {
            node: row.try_get("node")?,
            limit: limit.map(i32::unsigned_abs),
            paused_at: row.try_get("paused_at")?,
        });
    }
    Ok(nodes)
}
