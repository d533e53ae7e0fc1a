//! Exporting checkpoints: to places that the owner of the database cannot write to at will.
//!
//! A place is a port with adapters: a [directory](super::Directory) here, a store with object lock
//! in the program. How far each place has been given them is noted in `events.checkpoint_exports`,
//! so that operators see it on every node and a new leader goes on where the last one stopped.

use std::error::Error;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kernel::Timestamp;
use sqlx::{PgConnection, Row};

use super::{Checkpoint, table};
use crate::log::Log;
use crate::transaction;

/// A place outside the database that keeps checkpoints and never gives one up.
pub trait CheckpointStore: Send + Sync {
    /// What to call this place: `directory /mnt/worm`, without any secret.
    fn name(&self) -> String;

    /// Keeps `bytes` as `file` for good. Keeping the same bytes again changes nothing.
    fn keep(&self, file: String, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), ExportError>>;
}

/// A place did not take a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The place holds something else under this name, and it must not be overwritten.
    #[error("{file} is there already and holds something else; look who wrote it")]
    Taken {
        /// The name of the file.
        file: String,
    },
    /// The place refused or could not be reached.
    #[error("{file} could not be kept")]
    Refused {
        /// The name of the file.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The log could not be read, or the progress not be noted.
    #[error("could not read the checkpoints to export")]
    Database(#[from] sqlx::Error),
}

/// How far one place has been given the checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What the place is called.
    pub place: String,
    /// The last checkpoint it keeps; it keeps all before, too.
    pub number: i64,
    /// How often in a row it has not taken the next one.
    pub failures: i32,
    /// Why not, the last time.
    pub last_error: Option<String>,
    /// When it was last tried.
    pub updated_at: Timestamp,
}

/// How far each place has been given the checkpoints.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn exported(connection: &mut PgConnection) -> Result<Vec<Exported>, sqlx::Error> {
    let rows = sqlx::query(
        "select place, exported_number, failures, last_error, updated_at
         from events.checkpoint_exports order by place",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Exported {
                place: row.try_get("place")?,
                number: row.try_get("exported_number")?,
                failures: row.try_get("failures")?,
                last_error: row.try_get("last_error")?,
                updated_at: row.try_get("updated_at")?,
            })
        })
        .collect()
}

/// Gives `place` every checkpoint it does not keep yet, in order; answers how many those were.
///
/// # Errors
/// [`ExportError`], which is noted for operators, too.
pub async fn export(log: &Log, place: &Arc<dyn CheckpointStore>) -> Result<u64, ExportError> {
    let name = place.name();
    let mut count = 0;
    loop {
        let mut transaction = transaction::begin(log.pool()).await?;
        let kept: Option<i64> = sqlx::query_scalar(
            "select exported_number from events.checkpoint_exports where place = $1",
        )
        .bind(&name)
        .fetch_optional(&mut *transaction)
        .await?;
        let number = kept.unwrap_or_default() + 1;
        let next = table::file(&mut transaction, number).await?;
        // Given back before the place is asked, which may take its time.
        transaction.rollback().await?;
        let Some(checkpoint) = next else { return Ok(count) };
        let kept = place.keep(Checkpoint::file_name(number), checkpoint.to_bytes()).await;
        note(log, &name, number, kept.as_ref().err()).await?;
        kept?;
        count += 1;
    }
}

async fn note(
    log: &Log,
    place: &str,
    number: i64,
    error: Option<&ExportError>,
) -> Result<(), sqlx::Error> {
    let mut transaction = transaction::begin(log.pool()).await?;
    sqlx::query(
        "insert into events.checkpoint_exports as known
             (place, exported_number, failures, last_error, updated_at)
         values ($1, case when $3::text is null then $2 else 0 end,
             case when $3::text is null then 0 else 1 end, $3, $4)
         on conflict (place) do update
         set exported_number = greatest(known.exported_number, excluded.exported_number),
             failures = case when $3::text is null then 0 else known.failures + 1 end,
             last_error = $3, updated_at = $4",
    )
    .bind(place)
    .bind(number)
    .bind(error.map(chain_of))
    .bind(log.clock().now())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// The error with everything that led to it.
fn chain_of(error: &ExportError) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}
