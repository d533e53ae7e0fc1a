//! Partitions: a month each, made a year ahead, so that an insert never waits for DDL.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{Datelike, Days, Months, NaiveDate, NaiveTime};
use kernel::Timestamp;
use otp::ChildSpec;
use sqlx::{PgConnection, Row};
use tokio::runtime::Handle;

use crate::archive;
use crate::log::Log;
use crate::transaction;

/// Months made ahead of the present one.
pub const MONTHS_AHEAD: i32 = 12;

/// How often the keeper looks; a year ahead leaves it plenty of tries.
const KEEPER_INTERVAL: Duration = Duration::from_hours(1);
const KEEPER_JITTER: Duration = Duration::from_mins(1);

/// A calendar month in UTC: what one partition holds. Printed and read as `2019-03`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(NaiveDate);

impl Month {
    /// The month of this instant.
    #[must_use]
    pub fn of(instant: Timestamp) -> Self {
        Self::holding(instant.date_naive())
    }

    /// The month of this day.
    #[must_use]
    pub fn holding(day: NaiveDate) -> Self {
        Self(day - Days::new(u64::from(day.day0())))
    }

    /// Its first day.
    #[must_use]
    pub const fn first_day(self) -> NaiveDate {
        self.0
    }

    /// The month so many months later.
    #[must_use]
    pub fn later_by(self, months: u32) -> Self {
        Self(self.0 + Months::new(months))
    }

    /// Its first instant.
    #[must_use]
    pub fn begin(self) -> Timestamp {
        self.0.and_time(NaiveTime::MIN).and_utc()
    }

    /// The first instant after it.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.later_by(1).begin()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.format("%Y-%m"))
    }
}

/// Text is no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no month: year and month are expected, as in 2019-03")]
pub struct ParseMonthError(String);

impl FromStr for Month {
    type Err = ParseMonthError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d")
            .ok()
            .map(Self)
            .filter(|month| month.to_string() == text)
            .ok_or_else(|| ParseMonthError(text.to_owned()))
    }
}

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

/// Keeps a year of partitions ahead of the clock, reports what lies outside all of them, and lets
/// old months leave for the log's [shelf](Log::keep_months_on).
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
    reading.rollback().await?;
    aside(log).await
}

/// Files are written on a thread that may block, so that nobody waits for a disk meanwhile.
async fn aside(log: &Log) -> Result<(), sqlx::Error> {
    let (log, runtime) = (log.clone(), Handle::current());
    let done = tokio::task::spawn_blocking(move || runtime.block_on(archive::put_away(&log)));
    done.await.map_err(|error| sqlx::Error::Io(error.into()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_read_as_it_is_printed_and_nothing_else_is_one() {
        let month: Month = "2019-12".parse().expect("it is a month");

        assert_eq!(
            (month.to_string(), month.later_by(1).to_string()),
            ("2019-12".into(), "2020-01".into())
        );
        assert_eq!(month.end().to_rfc3339(), "2020-01-01T00:00:00+00:00");
        for text in ["2019-13", "2019-3", "2019", "2019-03-01", "", "march"] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }
}
