//! Cron: what recurs becomes a job, exactly once per tick over all nodes.
//!
//! The last tick of each entry is kept in the database and only moves forward, in the transaction
//! that enqueues the job. So a second node, a restart in the middle and a clock set back find the
//! tick taken. Ticks missed while no node ran are made up for by one job, that of the latest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::{OrgId, Scope, Timestamp};
use otp::ChildSpec;
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::schedule::Schedule;
use crate::{EnqueueError, NewJob, Queues, database, duty, enqueue};

/// How often it looks; a tick becomes a job this much late at most.
const EVERY: Duration = Duration::from_secs(1);

/// Something that recurs.
#[derive(Debug, Clone, PartialEq)]
pub struct CronEntry {
    /// Its name, the same for ever: ticks are remembered under it.
    pub name: String,
    /// When it recurs.
    pub schedule: Schedule,
    /// The queue of the job.
    pub queue: String,
    /// The name of the job.
    pub job_name: String,
    /// The arguments of the job.
    pub args: Value,
    /// The organisation the job works for; the nil one, which is nobody's, if absent.
    pub org_id: Option<OrgId>,
    /// After so many failed attempts the job is discarded.
    pub max_attempts: u16,
    /// An attempt that takes longer has failed.
    pub timeout: Duration,
}

impl CronEntry {
    fn job(&self, tick: Timestamp) -> NewJob {
        let org_id = self.org_id.unwrap_or_else(|| OrgId::from_uuid(Uuid::nil()));
        let scope = Scope::system(org_id, "cron", Uuid::now_v7());
        let job = NewJob::new(&self.queue, &self.job_name, self.args.clone(), scope);
        NewJob {
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            unique_key: Some(format!("cron:{}:{}", self.name, tick.to_rfc3339())),
            ..job
        }
    }
}

/// What recurs on this node, and which ticks it need not ask the database about again.
#[derive(Debug, Clone, Default)]
pub struct Crontab {
    entries: Arc<Vec<CronEntry>>,
    seen: Arc<Mutex<HashMap<String, Timestamp>>>,
}

impl Crontab {
    /// A crontab of these entries.
    #[must_use]
    pub fn new(entries: Vec<CronEntry>) -> Self {
        Self { entries: Arc::new(entries), seen: Arc::default() }
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[CronEntry] {
        &self.entries
    }

    fn has_seen(&self, name: &str, tick: Timestamp) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(name) == Some(&tick)
    }

    fn see(&self, name: &str, tick: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.to_owned(), tick);
    }
}

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues, entries: Vec<CronEntry>) -> ChildSpec {
    let crontab = Crontab::new(entries);
    duty::child("cron", EVERY, queues, move |queues, _| {
        let crontab = crontab.clone();
        async move {
            tick(&queues, &crontab).await?;
            Ok(())
        }
    })
}

/// Enqueues a job for each entry whose latest tick has not become one yet, and says how many.
///
/// An entry that was never seen before begins with its next tick.
pub async fn tick(queues: &Queues, crontab: &Crontab) -> Result<u64, sqlx::Error> {
    let now = queues.now();
    let mut enqueued = 0;
    for entry in crontab.entries() {
        let Some(tick) = entry.schedule.latest_tick(now) else {
            continue;
        };
        if crontab.has_seen(&entry.name, tick) {
            continue;
        }
        if take(queues, entry, tick, now).await? {
            enqueued += 1;
            queues.nudge(&entry.queue);
        }
        crontab.see(&entry.name, tick);
    }
    Ok(enqueued)
}

/// Takes a tick and enqueues its job, unless somebody did; `true` if this call did.
async fn take(
    queues: &Queues,
    entry: &CronEntry,
    tick: Timestamp,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let is_taken = advance(&mut transaction, &entry.name, tick).await?;
    if is_taken {
        match enqueue(&mut transaction, &entry.job(tick), now).await {
            Ok(_) => {}
            Err(EnqueueError::Database { source, .. }) => return Err(source),
            Err(error) => {
                tracing::error!(entry = entry.name, %error, "a schedule has no job to enqueue");
            }
        }
    }
    transaction.commit().await?;
    Ok(is_taken)
}

async fn advance(
    connection: &mut PgConnection,
    name: &str,
    tick: Timestamp,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "insert into jobs.schedules as schedule (name, ticked_at) values ($1, $2)
         on conflict (name) do update set ticked_at = excluded.ticked_at
         where schedule.ticked_at < excluded.ticked_at
         returning schedule.xmax <> 0 as is_known",
    )
    .bind(name)
    .bind(tick)
    .fetch_optional(connection)
    .await?;
    row.map_or(Ok(false), |row| row.try_get("is_known"))
}
