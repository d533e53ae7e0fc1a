//! Partitions: a month each, made a year ahead, so that an insert never waits for DDL.

use std::time::Duration;

use chrono::NaiveDate;
use otp::ChildSpec;
use sqlx::{PgConnection, Row};

use crate::log::Log;
use crate::transaction;

/// Months made ahead of the present one.
pub const MONTHS_AHEAD: i32 = 12;

/// How often the keeper looks; a year ahead leaves it plenty of tries.
const KEEPER_INTERVAL: Duration = Duration::from_hours(1);
const KEEPER_JITTER: Duration = Duration::from_mins(1);

/// Makes the partitions of the month of `first_day` and of `months_ahead` months after it, where
/// they are missing; answers how many it made.
///
/// # Errors
/// When Postgres refuses, cannot be reached, or the tables are too busy to be extended just now.
pub async fn ensure(
    connection: &mut PgConnection,
    first_day: NaiveDate,
    months_ahead: i32,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select events.ensure_partitions($1, $2)")
        .bind(first_day)
        .bind(months_ahead)
        .fetch_one(connection)
        .await
}

/// How many events lie outside every month, and the days of the first and the last of them.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn strays(connection: &mut PgConnection) -> Result<Option<Strays>, sqlx::Error> {
    let row = sqlx::query(
        "select count(*) as event_count, min(inserted_at at time zone 'UTC')::date as first_day,
             max(inserted_at at time zone 'UTC')::date as last_day
         from events.domain_events_default",
    )
    .fetch_one(connection)
    .await?;
    let days: (Option<NaiveDate>, Option<NaiveDate>) =
        (row.try_get("first_day")?, row.try_get("last_day")?);
    let (Some(first_day), Some(last_day)) = days else {
        return Ok(None);
    };
    Ok(Some(Strays { event_count: row.try_get("event_count")?, first_day, last_day }))
}

/// Events in the default partition: recorded at an instant for which no month had been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strays {
    /// How many.
    pub event_count: i64,
    /// The day of the earliest.
    pub first_day: NaiveDate,
    /// The day of the latest.
    pub last_day: NaiveDate,
}

/// Keeps a year of partitions ahead of the clock and reports what lies outside all of them.
#[must_use]
pub fn keeper(log: &Log) -> ChildSpec {
    let log = log.clone();
    ChildSpec::periodic("partition_keeper", KEEPER_INTERVAL, KEEPER_JITTER, None, move |_| {
        let log = log.clone();
        Box::pin(async move {
            // A failure is told and tried again in an hour; there is a year of time.
            if let Err(error) = keep(&log).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "could not make partitions of events ahead");
            }
            Ok(())
        })
    })
}

async fn keep(log: &Log) -> Result<(), sqlx::Error> {
    let today = log.clock().now().date_naive();
    let mut transaction = transaction::begin(log.pool()).await?;
    let made = ensure(&mut transaction, today, MONTHS_AHEAD).await?;
    transaction.commit().await?;
    if made > 0 {
        tracing::info!(made, "made partitions of events ahead");
    }
    let mut reading = transaction::begin_reading(log.pool()).await?;
    if let Some(strays) = strays(&mut reading).await? {
        tracing::warn!(
            event_count = strays.event_count,
            first_day = %strays.first_day,
            last_day = %strays.last_day,
            "events lie outside every month and cannot be archived by month"
        );
    }
    reading.rollback().await
}
