//! What an operator does to a whole workflow.

use kernel::JobId;
use uuid::Uuid;

use crate::admin::{AdminError, Change, change_all, tell};
use crate::{Queues, database, sweeper};

/// Cancels every step of a workflow that has not ended, and says how many those were.
///
/// # Errors
/// [`AdminError::Database`].
pub async fn cancel_workflow(queues: &Queues, workflow_id: Uuid) -> Result<usize, AdminError> {
    change(queues, Change::Cancel, workflow_id).await
}

/// Retries every step of a workflow that was cancelled or discarded, and says how many those were.
/// Each waits again for what it depends on.
///
/// # Errors
/// [`AdminError::Database`].
pub async fn retry_workflow(queues: &Queues, workflow_id: Uuid) -> Result<usize, AdminError> {
    // What is still to be cancelled because of the others is to be retried as well.
    sweeper::sweep(queues).await?;
    change(queues, Change::Retry, workflow_id).await
}

async fn change(queues: &Queues, change: Change, workflow_id: Uuid) -> Result<usize, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let steps = "select id from jobs.every_job where workflow_id = $1
         and ($2 or state in ('cancelled', 'discarded')) order by id";
    let steps: Vec<JobId> = sqlx::query_scalar(steps)
        .bind(workflow_id)
        .bind(change == Change::Cancel)
        .fetch_all(&mut *transaction)
        .await?;
    let done = change_all(&mut transaction, change, &steps, queues.now()).await?;
    transaction.commit().await?;
    tell(queues, change, &done.changed);
    Ok(done.changed.len())
}
