//! Cron: what recurs becomes a job, exactly once per tick over all nodes.
//!
//! Entries are declared in code, and operators may change, pause, delete and add some. The leader
//! takes their ticks. The last tick of each entry is kept in the database, and taking one moves it
//! on in the transaction that enqueues the job, under a lock of its row. So a second leader, a
//! restart in the middle and a node with other declarations find the tick taken. It moves forward
//! only, so a clock set back repeats nothing; and the job of a tick has a key of its own besides,
//! for a clock that was so far ahead that one must not wait for its time to come.

mod admin;
mod entry;
mod store;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use kernel::{JobId, Timestamp};
use otp::ChildSpec;
use sqlx::PgConnection;

use crate::schedule::Schedule;
use crate::{EnqueueError, Enqueued, Queues, database, duty, enqueue_all};
pub use admin::{
    PREVIEW_MAX, ScheduleInfo, Source, WishError, delete, get, list, pause, put, reset, resume,
    run_now,
};
pub use entry::{CronEntry, Definition, EntryError, MISSED_MAX, Missed};
use store::Stored;

/// How often it looks; a tick becomes a job this much late at most.
const EVERY: Duration = Duration::from_secs(1);
/// How often it reads again what operators changed.
const RELOAD_EVERY: TimeDelta = TimeDelta::seconds(5);
/// A tick is missed if it is later than this.
const LATE_MAX: TimeDelta = TimeDelta::minutes(1);
/// A tick further in the future than this was taken by a clock that was wrong.
const AHEAD_MAX: TimeDelta = TimeDelta::hours(1);
/// How often it is noted that an entry is still declared.
const NOTE_EVERY: TimeDelta = TimeDelta::days(1);

/// What recurs, as this node declares it.
#[derive(Debug, Clone, Default)]
pub struct Crontab {
    declared: Arc<Vec<CronEntry>>,
    known: Arc<Mutex<Known>>,
}

/// What the duty knows of the table, so that it need not ask every second.
#[derive(Debug, Default)]
struct Known {
    /// When the table was read, if it was.
    read_at: Option<Timestamp>,
    due: Vec<Due>,
}

/// An entry, and when it is to be looked at again.
#[derive(Debug, Clone)]
struct Due {
    entry: CronEntry,
    at: Timestamp,
}

impl Crontab {
    /// A crontab of these entries.
    #[must_use]
    pub fn new(entries: Vec<CronEntry>) -> Self {
        Self { declared: Arc::new(entries), known: Arc::default() }
    }

    /// The entries, as they are declared.
    #[must_use]
    pub fn entries(&self) -> &[CronEntry] {
        &self.declared
    }

    fn declared(&self, name: &str) -> Option<&CronEntry> {
        self.declared.iter().find(|entry| entry.name == name)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the table read again at the next look.
    fn forget(&self) {
        self.known().read_at = None;
    }

    /// The entry as it holds: as an operator wants it, or as declared; `None` if it is deleted,
    /// declared no more, or unreadable.
    fn effective(&self, name: &str, stored: Option<&Stored>) -> Option<CronEntry> {
        match stored {
            Some(Stored { deleted_at: Some(_), .. }) => None,
            Some(Stored { definition: Some(definition), .. }) => Definition::read(definition)
                .and_then(|definition| definition.entry(name))
                .inspect_err(|error| tracing::error!(name, %error, "a schedule cannot be read"))
                .ok(),
            _ => self.declared(name).cloned(),
        }
    }

    /// The names of all entries, declared and made.
    fn names<'a>(&'a self, stored: &'a HashMap<String, Stored>) -> Vec<&'a str> {
        let declared = self.declared.iter().map(|entry| entry.name.as_str());
        let mut names: Vec<&str> = declared.chain(stored.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The duty as a child of `root/jobs`.
#[must_use]
pub fn child(queues: &Queues, crontab: Crontab) -> ChildSpec {
    duty::child("cron", EVERY, queues, move |queues, _| {
        let crontab = crontab.clone();
        async move {
            if queues.is_leader() {
                tick(&queues, &crontab).await?;
            } else {
                crontab.forget();
            }
            Ok(())
        }
    })
}

/// Enqueues the jobs of ticks that have not become any yet, and says how many.
///
/// An entry that was never seen before begins with its next tick, and so does one whose schedule
/// was changed.
///
/// # Errors
/// When Postgres refuses or cannot be reached; what was enqueued before stays so.
pub async fn tick(queues: &Queues, crontab: &Crontab) -> Result<u64, sqlx::Error> {
    let now = queues.now();
    let read_at = crontab.known().read_at;
    // A clock set back makes what is known worthless, too.
    if read_at.is_none_or(|read_at| now < read_at || now - read_at >= RELOAD_EVERY) {
        reload(queues, crontab, now).await?;
    }
    let due: Vec<CronEntry> = {
        let known = crontab.known();
        known.due.iter().filter(|due| due.at <= now).map(|due| due.entry.clone()).collect()
    };
    let mut enqueued = 0;
    for entry in due {
        let taken = take(queues, crontab, &entry.name, now).await?;
        if taken > 0 {
            queues.nudge(&entry.queue);
        }
        enqueued += taken;
        let again_at = entry.schedule.next_tick(now).unwrap_or(Timestamp::MAX_UTC);
        for due in crontab.known().due.iter_mut().filter(|due| due.entry.name == entry.name) {
            due.at = again_at;
        }
    }
    Ok(enqueued)
}

/// Reads which entries there are, and reckons when each is to be looked at.
async fn reload(queues: &Queues, crontab: &Crontab, now: Timestamp) -> Result<(), sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let stored = store::load(&mut transaction).await?;
    let is_old = |entry: &&CronEntry| {
        let noted = stored.get(&entry.name).and_then(|stored| stored.declared_at);
        noted.is_none_or(|noted| (now - noted).abs() > NOTE_EVERY)
    };
    let old: Vec<&str> =
        crontab.declared.iter().filter(is_old).map(|entry| entry.name.as_str()).collect();
    if !old.is_empty() {
        store::note_declared(&mut transaction, &old, now).await?;
    }
    transaction.commit().await?;
    let names = crontab.names(&stored);
    let due = names.into_iter().filter_map(|name| {
        let stored = stored.get(name);
        if stored.is_some_and(|stored| stored.paused_at.is_some()) {
            return None;
        }
        let entry = crontab.effective(name, stored)?;
        let at = match decide(&entry, stored, now) {
            Decision::Nothing => entry.schedule.next_tick(now).unwrap_or(Timestamp::MAX_UTC),
            Decision::Begin | Decision::Take(_) => now,
        };
        Some(Due { entry, at })
    });
    let due = due.collect();
    *crontab.known() = Known { read_at: Some(now), due };
    Ok(())
}

/// What is to be done about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    /// It is new, or recurs otherwise than before: it begins with its next tick.
    Begin,
    /// No tick has passed since the last one.
    Nothing,
    /// These ticks become jobs, perhaps none, and all up to now are done with.
    Take(Vec<Timestamp>),
}

fn decide(entry: &CronEntry, stored: Option<&Stored>, now: Timestamp) -> Decision {
    let Some(stored) = stored else { return Decision::Begin };
    let text = entry.schedule.to_string();
    if stored.schedule.as_ref().is_some_and(|before| *before != text)
        || stored.ticked_at - now > AHEAD_MAX
    {
        return Decision::Begin;
    }
    let since = stored.ticked_at;
    let Some(latest) = entry.schedule.latest_tick(now).filter(|latest| *latest > since) else {
        return Decision::Nothing;
    };
    Decision::Take(match entry.missed {
        Missed::Skip if now - latest > LATE_MAX => Vec::new(),
        Missed::Skip | Missed::Latest => vec![latest],
        Missed::All(count) => latest_ticks(&entry.schedule, latest, since, count.into()),
    })
}

/// The ticks up to `latest` and after `since`, the last `count` of them, oldest first.
fn latest_ticks(
    schedule: &Schedule,
    latest: Timestamp,
    since: Timestamp,
    count: usize,
) -> Vec<Timestamp> {
    let earlier = |tick: &Timestamp| schedule.latest_tick(*tick - TimeDelta::milliseconds(1));
    let back = std::iter::successors(Some(latest), earlier);
    let mut ticks: Vec<Timestamp> = back.take_while(|tick| *tick > since).take(count).collect();
    ticks.reverse();
    ticks
}

/// Takes the ticks of an entry that nobody has taken; how many became jobs.
async fn take(
    queues: &Queues,
    crontab: &Crontab,
    name: &str,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut transaction = database::begin(queues.pool()).await?;
    let stored = store::lock(&mut transaction, name).await?;
    let Some(entry) = crontab.effective(name, stored.as_ref()) else {
        return transaction.rollback().await.map(|()| 0);
    };
    let text = entry.schedule.to_string();
    let Some(mut stored) = stored else {
        store::begin(&mut transaction, name, &text, now).await?;
        return transaction.commit().await.map(|()| 0);
    };
    let ticks = match decide(&entry, Some(&stored), now) {
        _ if stored.paused_at.is_some() => return transaction.rollback().await.map(|()| 0),
        Decision::Nothing => return transaction.rollback().await.map(|()| 0),
        Decision::Begin => Vec::new(),
        Decision::Take(ticks) => ticks,
    };
    let jobs = enqueue_ticks(&mut transaction, &entry, &stored, &ticks, now).await?;
    let is_ahead = stored.ticked_at - now > AHEAD_MAX;
    stored.ticked_at = if is_ahead { now } else { stored.ticked_at.max(now) };
    stored.schedule = Some(text);
    stored.job_id = jobs.last().copied().or(stored.job_id);
    store::save(&mut transaction, &stored, now).await?;
    transaction.commit().await?;
    Ok(jobs.len() as u64)
}

/// The jobs that ticks became.
async fn enqueue_ticks(
    connection: &mut PgConnection,
    entry: &CronEntry,
    stored: &Stored,
    ticks: &[Timestamp],
    now: Timestamp,
) -> Result<Vec<JobId>, sqlx::Error> {
    if let (true, Some(job_id)) = (entry.is_exclusive, stored.job_id)
        && store::is_unfinished(connection, job_id).await?
    {
        tracing::info!(entry = entry.name, %job_id, "a tick is passed over: the last is not done");
        return Ok(Vec::new());
    }
    // Two that must not overlap do not begin together either.
    let ticks = if entry.is_exclusive { &ticks[ticks.len().saturating_sub(1)..] } else { ticks };
    let jobs: Vec<_> = ticks.iter().map(|tick| entry.job(*tick)).collect();
    match enqueue_all(connection, &jobs, now).await {
        Ok(enqueued) => {
            let new = enqueued.into_iter().filter_map(|enqueued| match enqueued {
                Enqueued::New(job_id) => Some(job_id),
                Enqueued::Duplicate(_) | Enqueued::Replaced(_) => None,
            });
            Ok(new.collect())
        }
        Err(EnqueueError::Database { source, .. }) => Err(source),
        Err(error) => {
            tracing::error!(entry = entry.name, %error, "a schedule has no job to enqueue");
            Ok(Vec::new())
        }
    }
}
