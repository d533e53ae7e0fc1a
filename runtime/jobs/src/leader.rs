//! The leader: the one node that does the duties of all queues.
//!
//! Leadership is a lease in the database, by the database's clock, and each one has a number of its
//! own, the epoch. A node asks for it every few seconds; the leader's own question renews it. A
//! leader that stops gives it back, and one that died or hangs is replaced when its lease ends.
//!
//! **Invariant:** nothing depends on there being one leader at most. A leader that was suspended
//! may still be in the middle of a duty when the next one begins it: what a duty changes it locks
//! and skips, or it is guarded or unique. The lease only saves looks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use kernel::Timestamp;
use otp::{ChildSpec, ExitReason, Process, RunContext, StartError};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use tokio::time::{Instant, timeout};

use crate::{Queues, database, lifeline};

/// How often a node asks for leadership, and so renews it.
const EVERY: Duration = Duration::from_secs(4);
/// A leadership that is not renewed ends after so long; together with a candidate's pause, a leader
/// that died is replaced within 15 seconds.
const LEASE: TimeDelta = TimeDelta::seconds(11);
/// A node that stops has so long to give its leadership back.
const RESIGN_WITHIN: Duration = Duration::from_secs(1);
/// What is led: all duties together.
const DUTIES: &str = "duties";

/// Who does the duties of all queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The node, as it stands on its attempts.
    pub node: String,
    /// The name of the node, the same after a restart; absent if it never said that it lives.
    pub name: Option<String>,
    /// The number of its leadership; each is higher than all before.
    pub epoch: i64,
    /// Since when it leads, by the database's clock.
    pub since: Timestamp,
    /// When it last renewed its lease.
    pub renewed_at: Timestamp,
    /// When its lease ends unless it is renewed.
    pub expires_at: Timestamp,
    /// Whether the lease has ended, and nobody has taken over yet.
    pub is_expired: bool,
}

/// What this node knows of its own leadership.
#[derive(Debug, Default)]
pub(crate) struct Leadership {
    /// Until when it leads. The clock stands still for nobody: a process that was suspended finds
    /// that its lease has ended.
    until: Mutex<Option<Instant>>,
}

impl Leadership {
    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }
}

/// The candidate as a child of `root/jobs`: the first, so that it is the last to stop.
#[must_use]
pub fn child(queues: &Queues) -> ChildSpec {
    let queues = queues.clone();
    ChildSpec::process("leader", move || Candidate { queues: queues.clone() })
}

struct Candidate {
    queues: Queues,
}

impl Process for Candidate {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        // Its first beat shows that a predecessor of this name is gone, whom it then replaces.
        let first = async {
            lifeline::beat(&self.queues).await?;
            campaign(&self.queues).await
        };
        match first.await {
            Err(error) if !database::is_outage(&error) => Err(StartError::failed(error)),
            _ => Ok(()),
        }
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        loop {
            tokio::select! {
                () = context.stopping() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
            match campaign(&self.queues).await {
                Err(error) if database::is_outage(&error) => {
                    tracing::warn!(%error, "the database is away, so nobody can be made leader");
                }
                Err(error) => return Err(ExitReason::Failed(format!("leader: {error}"))),
                Ok(_) => {}
            }
        }
    }

    async fn terminate(&mut self, _: &ExitReason) {
        let resigned = timeout(RESIGN_WITHIN, resign(&self.queues)).await;
        if !matches!(resigned, Ok(Ok(()))) {
            tracing::warn!("leadership is left to end by itself");
        }
    }
}

/// Asks for leadership, or renews it; whether this node leads now.
///
/// It is given to whoever asks first once the lease of the last leader has ended, or once that node
/// has left: its successor on the same machine need not wait.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was held is held until the lease ends.
pub async fn campaign(queues: &Queues) -> Result<bool, sqlx::Error> {
    // Taken before the question, so that the lease ends here no later than in the database.
    let asked_at = Instant::now();
    let mut transaction = database::begin(queues.pool()).await?;
    let epoch: Option<i64> = sqlx::query_scalar(
        "insert into jobs.leaders as leader (name, node, epoch, since, renewed_at, expires_at)
         values ($1, $2, 1, clock_timestamp(), clock_timestamp(), clock_timestamp() + $3)
         on conflict (name) do update
         set node = excluded.node, renewed_at = excluded.renewed_at,
             expires_at = excluded.expires_at,
             epoch = case when leader.node = excluded.node
                 and leader.expires_at >= excluded.renewed_at
                 then leader.epoch else leader.epoch + 1 end,
             since = case when leader.node = excluded.node
                 and leader.expires_at >= excluded.renewed_at
                 then leader.since else excluded.since end
         where leader.node = excluded.node or leader.expires_at < clock_timestamp() or exists (
             select from jobs.nodes as node
             where node.node = leader.node and node.left_at is not null
         )
         returning leader.epoch",
    )
    .bind(DUTIES)
    .bind(queues.node_id())
    .bind(LEASE)
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let was_held = queues.leadership().is_held();
    *queues.leadership().until() = epoch.map(|_| asked_at + LEASE.to_std().unwrap_or_default());
    if let Some(epoch) = epoch.filter(|_| !was_held) {
        tracing::info!(epoch, node = queues.node_id(), "leading the duties of all queues");
    }
    Ok(epoch.is_some())
}

/// Gives leadership back, so that another node takes over when it next asks.
///
/// # Errors
/// When Postgres refuses or cannot be reached; the lease then ends by itself.
pub async fn resign(queues: &Queues) -> Result<(), sqlx::Error> {
    let was_held = queues.leadership().until().take().is_some();
    if !was_held {
        return Ok(());
    }
    let mut transaction = database::begin(queues.pool()).await?;
    sqlx::query(
        "update jobs.leaders set expires_at = clock_timestamp() - interval '1 microsecond'
         where name = $1 and node = $2",
    )
    .bind(DUTIES)
    .bind(queues.node_id())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Who leads, or led last; `None` if nobody ever did.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn current(queues: &Queues) -> Result<Option<Leader>, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let leader = sqlx::query_as(
        "select leader.node, node.name, leader.epoch, leader.since, leader.renewed_at,
             leader.expires_at, leader.expires_at < clock_timestamp() as is_expired
         from jobs.leaders as leader
         left join jobs.nodes as node on node.node = leader.node
         where leader.name = $1",
    )
    .bind(DUTIES)
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(leader)
}

impl FromRow<'_, PgRow> for Leader {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            node: row.try_get("node")?,
            name: row.try_get("name")?,
            epoch: row.try_get("epoch")?,
            since: row.try_get("since")?,
            renewed_at: row.try_get("renewed_at")?,
            expires_at: row.try_get("expires_at")?,
            is_expired: row.try_get("is_expired")?,
        })
    }
}
