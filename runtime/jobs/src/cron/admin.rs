//! What an operator does with schedules: look, change, pause, delete, run now.
//!
//! Changes are kept in the database and hold on every node, from the leader's next look on. They
//! win over what the code declares until they are reset, also over what a later version declares.

use kernel::{JobId, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;

use super::store::{self, Stored};
use super::{CronEntry, Crontab, Definition, EntryError};
use crate::{EnqueueError, Queues, database, enqueue};

/// A preview lists at most so many ticks.
pub const PREVIEW_MAX: usize = 100;

/// An entry, as an operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// As it holds; absent if it is deleted or cannot be read.
    pub entry: Option<CronEntry>,
    /// As this node declares it.
    pub declared: Option<CronEntry>,
    /// Since when it does not tick.
    pub paused_at: Option<Timestamp>,
    /// Since when it is deleted, though it is declared.
    pub deleted_at: Option<Timestamp>,
    /// Up to when ticks are taken or passed over; absent before its first look.
    pub ticked_at: Option<Timestamp>,
    /// The job of the last tick that became one.
    pub job_id: Option<JobId>,
    /// Its next tick; absent while it does not tick.
    pub next_tick: Option<Timestamp>,
    /// Why it cannot be read, if it cannot.
    pub problem: Option<String>,
}

/// Where an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The code, unchanged.
    Declared,
    /// The code, changed or deleted by an operator.
    Changed,
    /// An operator.
    Made,
    /// The code of an earlier version, or of another node: this one does not declare it.
    Abandoned,
}

/// An operator's wish about a schedule that cannot be granted, or a fault.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// There is no such entry.
    #[error("there is no schedule `{0}`")]
    NoSuchEntry(String),
    /// The entry cannot be like that.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Nobody declares it, so there is nothing to go back to.
    #[error(
        "schedule `{0}` is not declared, so there is nothing to reset it to; delete it instead"
    )]
    NotDeclared(String),
    /// Its job was not enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database failed.
    #[error("could not reach the queue tables")]
    Database(#[from] sqlx::Error),
}

/// All entries, by name: declared, changed, made, and those that are remembered only.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(queues: &Queues, crontab: &Crontab) -> Result<Vec<ScheduleInfo>, WishError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let stored = store::load(&mut transaction).await?;
    transaction.commit().await?;
    let names = crontab.names(&stored);
    let now = queues.now();
    Ok(names.into_iter().map(|name| info(crontab, name, stored.get(name), now)).collect())
}

/// One entry.
///
/// # Errors
/// [`WishError`].
pub async fn get(
    queues: &Queues,
    crontab: &Crontab,
    name: &str,
) -> Result<ScheduleInfo, WishError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let mut stored = store::load(&mut transaction).await?;
    transaction.commit().await?;
    let stored = stored.remove(name);
    if stored.is_none() && crontab.declared(name).is_none() {
        return Err(WishError::NoSuchEntry(name.to_owned()));
    }
    Ok(info(crontab, name, stored.as_ref(), queues.now()))
}

/// Makes an entry, or changes one, declared or not. It is not paused by that, nor resumed; one that
/// was deleted is back.
///
/// # Errors
/// [`WishError`].
pub async fn put(
    queues: &Queues,
    crontab: &Crontab,
    entry: &CronEntry,
) -> Result<ScheduleInfo, WishError> {
    entry.check()?;
    let definition = serde_json::to_value(Definition::from(entry));
    let definition = definition
        .map_err(|error| EntryError { field: "definition", problem: error.to_string() })?;
    let text = entry.schedule.to_string();
    change(queues, crontab, &entry.name, Some(&text), |stored, now| {
        // What recurs otherwise begins with its next tick.
        if stored.schedule.as_ref() != Some(&text) {
            stored.ticked_at = stored.ticked_at.max(now);
            stored.schedule = Some(text.clone());
        }
        stored.definition = Some(definition.clone());
        stored.deleted_at = None;
        Ok(())
    })
    .await
}

/// Lets an entry tick no more until it is resumed, on any node.
///
/// # Errors
/// [`WishError`].
pub async fn pause(
    queues: &Queues,
    crontab: &Crontab,
    name: &str,
) -> Result<ScheduleInfo, WishError> {
    change(queues, crontab, name, None, |stored, now| {
        stored.paused_at = stored.paused_at.or(Some(now));
        Ok(())
    })
    .await
}

/// Lets a paused entry tick again, from its next tick on: what it was paused for was not missed.
///
/// # Errors
/// [`WishError`].
pub async fn resume(
    queues: &Queues,
    crontab: &Crontab,
    name: &str,
) -> Result<ScheduleInfo, WishError> {
    change(queues, crontab, name, None, |stored, now| {
        if stored.paused_at.take().is_some() {
            stored.ticked_at = stored.ticked_at.max(now);
        }
        Ok(())
    })
    .await
}

/// Deletes an entry. A declared one stays deleted until it is reset or put again; of one that an
/// operator made nothing is left.
///
/// # Errors
/// [`WishError`].
pub async fn delete(queues: &Queues, crontab: &Crontab, name: &str) -> Result<(), WishError> {
    if crontab.declared(name).is_some() {
        let deleted = change(queues, crontab, name, None, |stored, now| {
            stored.definition = None;
            stored.deleted_at = stored.deleted_at.or(Some(now));
            Ok(())
        });
        return deleted.await.map(drop);
    }
    let mut transaction = database::begin(queues.pool()).await?;
    if store::lock(&mut transaction, name).await?.is_none() {
        return Err(WishError::NoSuchEntry(name.to_owned()));
    }
    store::remove(&mut transaction, name).await?;
    transaction.commit().await?;
    crontab.forget();
    Ok(())
}

/// Takes back what operators did to a declared entry: changes, a pause, a deletion.
///
/// # Errors
/// [`WishError`].
pub async fn reset(
    queues: &Queues,
    crontab: &Crontab,
    name: &str,
) -> Result<ScheduleInfo, WishError> {
    let is_declared = crontab.declared(name).is_some();
    change(queues, crontab, name, None, |stored, now| {
        if !is_declared {
            return Err(WishError::NotDeclared(name.to_owned()));
        }
        if stored.paused_at.is_some() || stored.deleted_at.is_some() {
            stored.ticked_at = stored.ticked_at.max(now);
        }
        (stored.definition, stored.paused_at, stored.deleted_at) = (None, None, None);
        Ok(())
    })
    .await
}

/// Enqueues the job of an entry now, whether it is paused or not. Its ticks go on as ever.
///
/// # Errors
/// [`WishError`].
pub async fn run_now(queues: &Queues, crontab: &Crontab, name: &str) -> Result<JobId, WishError> {
    let info = get(queues, crontab, name).await?;
    let entry = info.entry.ok_or_else(|| WishError::NoSuchEntry(name.to_owned()))?;
    let mut transaction = database::begin(queues.pool()).await?;
    let enqueued = enqueue(&mut transaction, &entry.job_at_will(), queues.now()).await?;
    transaction.commit().await?;
    queues.nudge(&entry.queue);
    Ok(enqueued.job_id())
}

/// Changes what is remembered of an entry. One that is not is begun if it is declared, or if its
/// `new` schedule is given.
async fn change(
    queues: &Queues,
    crontab: &Crontab,
    name: &str,
    new: Option<&str>,
    change: impl Fn(&mut Stored, Timestamp) -> Result<(), WishError>,
) -> Result<ScheduleInfo, WishError> {
    let now = queues.now();
    let mut transaction = database::begin(queues.pool()).await?;
    let mut stored = lock_or_begin(&mut transaction, crontab, name, new, now).await?;
    change(&mut stored, now)?;
    store::save(&mut transaction, &stored, now).await?;
    transaction.commit().await?;
    crontab.forget();
    Ok(info(crontab, name, Some(&stored), now))
}

async fn lock_or_begin(
    connection: &mut PgConnection,
    crontab: &Crontab,
    name: &str,
    new: Option<&str>,
    now: Timestamp,
) -> Result<Stored, WishError> {
    let unknown = || WishError::NoSuchEntry(name.to_owned());
    if let Some(stored) = store::lock(connection, name).await? {
        return Ok(stored);
    }
    let declared = || crontab.declared(name).map(|entry| entry.schedule.to_string());
    let text = new.map(str::to_owned).or_else(declared).ok_or_else(unknown)?;
    store::begin(connection, name, &text, now).await?;
    store::lock(connection, name).await?.ok_or_else(unknown)
}

fn info(crontab: &Crontab, name: &str, stored: Option<&Stored>, now: Timestamp) -> ScheduleInfo {
    let declared = crontab.declared(name).cloned();
    let definition = stored.and_then(|stored| stored.definition.as_ref());
    let deleted_at = stored.and_then(|stored| stored.deleted_at);
    let paused_at = stored.and_then(|stored| stored.paused_at);
    let read = definition.map(|definition| read(definition, name)).transpose();
    let problem = read.as_ref().err().map(ToString::to_string);
    let entry = match read {
        _ if deleted_at.is_some() => None,
        Ok(changed) => changed.or_else(|| declared.clone()),
        Err(_) => None,
    };
    let is_changed = definition.is_some() || deleted_at.is_some();
    let ticking = entry.as_ref().filter(|_| paused_at.is_none());
    ScheduleInfo {
        name: name.to_owned(),
        source: match (declared.is_some(), is_changed) {
            (true, false) => Source::Declared,
            (true, true) => Source::Changed,
            (false, true) => Source::Made,
            (false, false) => Source::Abandoned,
        },
        next_tick: ticking.and_then(|entry| entry.schedule.next_tick(now)),
        entry,
        declared,
        paused_at,
        deleted_at,
        ticked_at: stored.map(|stored| stored.ticked_at),
        job_id: stored.and_then(|stored| stored.job_id),
        problem,
    }
}

fn read(definition: &Value, name: &str) -> Result<CronEntry, EntryError> {
    Definition::read(definition)?.entry(name)
}
