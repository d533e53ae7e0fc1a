//! The crontab in the database: the last tick of each entry, and what operators made of it.

use std::collections::HashMap;

use kernel::{JobId, Timestamp};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

/// What is remembered of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) name: String,
    /// Ticks up to here are taken or passed over.
    pub(super) ticked_at: Timestamp,
    /// The schedule those ticks belong to; absent in rows of an earlier version.
    pub(super) schedule: Option<String>,
    /// What an operator made of it; a later version may have written more than this one reads.
    pub(super) definition: Option<Value>,
    pub(super) paused_at: Option<Timestamp>,
    pub(super) deleted_at: Option<Timestamp>,
    pub(super) declared_at: Option<Timestamp>,
    pub(super) job_id: Option<JobId>,
}

macro_rules! columns {
    () => {
        "name, ticked_at, schedule, definition, paused_at, deleted_at, declared_at, job_id"
    };
}

impl FromRow<'_, PgRow> for Stored {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            ticked_at: row.try_get("ticked_at")?,
            schedule: row.try_get("schedule")?,
            definition: row.try_get("definition")?,
            paused_at: row.try_get("paused_at")?,
            deleted_at: row.try_get("deleted_at")?,
            declared_at: row.try_get("declared_at")?,
            job_id: row.try_get("job_id")?,
        })
    }
}

pub(super) async fn load(
    connection: &mut PgConnection,
) -> Result<HashMap<String, Stored>, sqlx::Error> {
    let rows: Vec<Stored> =
        sqlx::query_as(concat!("select ", columns!(), " from jobs.schedules order by name"))
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|stored| (stored.name.clone(), stored)).collect())
}

/// What is remembered of an entry, which nobody changes until the transaction ends.
pub(super) async fn lock(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Stored>, sqlx::Error> {
    let statement =
        concat!("select ", columns!(), " from jobs.schedules where name = $1 for update");
    sqlx::query_as(statement).bind(name).fetch_optional(connection).await
}

/// Remembers an entry that is not remembered yet; one that is stays as it is.
pub(super) async fn begin(
    connection: &mut PgConnection,
    name: &str,
    schedule: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into jobs.schedules (name, ticked_at, schedule, declared_at, updated_at)
         values ($1, $3, $2, $3, $3)
         on conflict (name) do nothing",
    )
    .bind(name)
    .bind(schedule)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes everything of an entry that is remembered already and locked.
pub(super) async fn save(
    connection: &mut PgConnection,
    stored: &Stored,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update jobs.schedules
         set ticked_at = $2, schedule = $3, definition = $4, paused_at = $5, deleted_at = $6,
             job_id = $7, updated_at = $8
         where name = $1",
    )
    .bind(&stored.name)
    .bind(stored.ticked_at)
    .bind(&stored.schedule)
    .bind(&stored.definition)
    .bind(stored.paused_at)
    .bind(stored.deleted_at)
    .bind(stored.job_id)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets an entry.
pub(super) async fn remove(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("delete from jobs.schedules where name = $1")
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that these entries are still declared, once a day.
pub(super) async fn note_declared(
    connection: &mut PgConnection,
    names: &[&str],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("update jobs.schedules set declared_at = $2 where name = any ($1)")
        .bind(names)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a job is still to be done.
pub(super) async fn is_unfinished(
    connection: &mut PgConnection,
    job_id: JobId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (
             select from jobs.jobs
             where id = $1 and state not in ('completed', 'cancelled', 'discarded')
         )",
    )
    .bind(job_id)
    .fetch_one(connection)
    .await
}
