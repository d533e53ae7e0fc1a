//! Months: what the database knows of each.

use std::collections::BTreeSet;

use kernel::{Position, Timestamp};
use sqlx::{PgConnection, Row};

use super::{ArchiveError, Known};
use crate::partition::Month;
use crate::sealed::digest;

/// What a month is to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonthState {
    /// Made for events that are yet to come.
    Ahead,
    /// The present one.
    Current,
    /// Kept at hand for as long as events are.
    Kept,
    /// Old enough to leave.
    Archivable,
    /// It has left; its events are in a file.
    Archived,
    /// It had left and is at hand again.
    Attached,
}

/// A month of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthInfo {
    /// The month.
    pub month: Month,
    /// What it is.
    pub state: MonthState,
    /// About how many events it has at hand, as last estimated; exact if they are in a file.
    pub events: i64,
    /// The size of its table with all indexes; 0 if it has left.
    pub bytes: i64,
    /// The file its events were written to, if they were.
    pub file: Option<String>,
}

/// All months that have a partition or a file, in order.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn list(
    connection: &mut PgConnection,
    now: Timestamp,
    retention_months: u32,
) -> Result<Vec<MonthInfo>, sqlx::Error> {
    let rows = sqlx::query(
        "with partition as (
             select to_date(substring(child.relname from 'domain_events_(\\d{4}_\\d{2})$'),
                     'YYYY_MM') as month,
                 greatest(child.reltuples, 0)::bigint as events,
                 pg_total_relation_size(child.oid) as bytes
             from pg_inherits
             join pg_class as child on child.oid = pg_inherits.inhrelid
             where pg_inherits.inhparent = 'events.domain_events'::regclass
                 and child.relname ~ '^domain_events_\\d{4}_\\d{2}$'
         )
         select coalesce(partition.month, archive.month) as month,
             case when archive.detached_at is null then coalesce(partition.events, 0)
                 else archive.event_count end as events,
             coalesce(partition.bytes, 0) as bytes,
             archive.file, partition.month is not null as is_at_hand
         from partition
         full join events.archives as archive on archive.month = partition.month
         order by 1",
    )
    .fetch_all(connection)
    .await?;
    let current = Month::of(now);
    rows.iter()
        .map(|row| {
            let month = Month::holding(row.try_get("month")?);
            let file: Option<String> = row.try_get("file")?;
            let is_at_hand: bool = row.try_get("is_at_hand")?;
            let state = match &file {
                Some(_) if is_at_hand => MonthState::Attached,
                Some(_) => MonthState::Archived,
                None if month > current => MonthState::Ahead,
                None if month == current => MonthState::Current,
                None if month.later_by(retention_months + 1) <= current => MonthState::Archivable,
                None => MonthState::Kept,
            };
            let (events, bytes) = (row.try_get("events")?, row.try_get("bytes")?);
            Ok(MonthInfo { month, state, events, bytes, file })
        })
        .collect()
}

/// The months whose events are in files and nowhere else.
pub(crate) async fn months_in_files(
    connection: &mut PgConnection,
) -> Result<BTreeSet<Month>, sqlx::Error> {
    let months: Vec<chrono::NaiveDate> =
        sqlx::query_scalar("select month from events.archives where detached_at is not null")
            .fetch_all(connection)
            .await?;
    Ok(months.into_iter().map(Month::holding).collect())
}

/// A month that may leave.
pub(super) struct Survey {
    pub(super) event_count: i64,
    pub(super) first: Position,
    pub(super) last: Position,
}

/// Counts the events of a month, or says why it may not leave.
pub(super) async fn survey(
    connection: &mut PgConnection,
    month: Month,
) -> Result<Survey, ArchiveError> {
    let known = archive_of(connection, month).await?;
    if let Some(Known { file, has_left: true, .. }) = known {
        return Err(ArchiveError::HasLeft { month, file });
    }
    let partition = format!("events.domain_events_{}", month.first_day().format("%Y_%m"));
    let query = sqlx::query("select to_regclass($1) is not null").bind(partition);
    if !super::exists(connection, query).await? {
        return Err(ArchiveError::NoPartition(month));
    }
    let row = sqlx::query(
        "select count(*) as event_count, count(*) - count(seal.position) as unsealed,
             min(seal.position) as first, max(seal.position) as last
         from events.domain_events as event
         left join events.seals as seal
             on seal.event_id = event.id and seal.arrival = event.arrival
         where event.inserted_at >= $1 and event.inserted_at < $2",
    )
    .bind(month.begin())
    .bind(month.end())
    .fetch_one(&mut *connection)
    .await?;
    let unsealed: i64 = row.try_get("unsealed")?;
    if unsealed > 0 {
        return Err(ArchiveError::Unsealed { month, count: unsealed });
    }
    let (first, last): (Option<i64>, Option<i64>) = (row.try_get("first")?, row.try_get("last")?);
    let (Some(first), Some(last)) = (first, last) else {
        return Err(ArchiveError::Empty(month));
    };
    refuse_unread(connection, month, Position(last)).await?;
    let event_count = row.try_get("event_count")?;
    Ok(Survey { event_count, first: Position(first), last: Position(last) })
}

/// The file of the month, if it was written to one.
pub(super) async fn archive_of(
    connection: &mut PgConnection,
    month: Month,
) -> Result<Option<Known>, sqlx::Error> {
    let row = sqlx::query(
        "select file, sha256, event_count, detached_at is not null as has_left
         from events.archives where month = $1",
    )
    .bind(month.first_day())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Known {
            file: row.try_get("file")?,
            sha256: digest(&row, "sha256")?,
            event_count: row.try_get("event_count")?,
            has_left: row.try_get("has_left")?,
        })
    })
    .transpose()
}

async fn refuse_unread(
    connection: &mut PgConnection,
    month: Month,
    last: Position,
) -> Result<(), ArchiveError> {
    // A consumer that left an organisation out for a while has that organisation's events to read.
    let unread = sqlx::query(
        "select name, position from events.cursors where position < $1
         union all
         select consumer, settled_position from events.stalls where settled_position < $1
         order by position limit 1",
    )
    .bind(last.0)
    .fetch_optional(connection)
    .await?;
    let Some(row) = unread else { return Ok(()) };
    let (reader, position) = (row.try_get("name")?, Position(row.try_get("position")?));
    Err(ArchiveError::Unread { month, last, reader, position })
}

/// How many events of a month that has left lie in the default partition.
pub(super) async fn strays_of(
    connection: &mut PgConnection,
    month: Month,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from events.domain_events_default
         where inserted_at >= $1 and inserted_at < $2",
    )
    .bind(month.begin())
    .bind(month.end())
    .fetch_one(connection)
    .await
}
