//! The pipeline orchestrator: goes round and drives on the documents that stand still.
//!
//! A pipeline drives itself, each stage enqueueing the next. What stands still lost its job: an
//! operator cancelled it, or it used up its attempts while a provider was away. Its check points
//! are there, so it goes on where it stopped. The number of documents in progress is shown as its
//! backlog.

use std::time::Duration;

use chrono::TimeDelta;
use contracts::onboard::{DocumentId, ONBOARD};
use platform::otp::{ChildSpec, ExitReason, PeriodicContext};
use platform::{Command, Result, Spec, System, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunStage;

/// How often it goes round.
const INTERVAL: Duration = Duration::from_secs(15);
/// A document that was not driven for this long stands still. Longer than any wait of a stage.
const STANDS_STILL_AFTER: TimeDelta = TimeDelta::minutes(3);
/// Documents driven on in one round of one organisation; the rest wait for the next.
const DOCUMENTS_MAX: i64 = 50;

/// The child of the domain's tree.
pub(crate) fn child(system: &System) -> ChildSpec {
    let tuning = system.tuning().domain(ONBOARD.as_str()).child("pipeline_orchestrator");
    let interval = tuning.interval.unwrap_or(INTERVAL);
    let system = system.clone();
    ChildSpec::periodic("pipeline_orchestrator", interval, interval / 4, None, move |context| {
        let system = system.clone();
        Box::pin(async move {
            // What does not answer now is asked again in the next round; only bugs end the process.
            if let Err(error) = go_round(&system, &context).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "documents that stand still were not driven on");
            }
            Ok::<(), ExitReason>(())
        })
    })
    .label("drives on documents that stand still")
}

async fn go_round(system: &System, context: &PeriodicContext) -> Result<()> {
    let mut in_progress_count = 0;
    for scope in system.rounds("onboard.pipeline_orchestrator").await? {
        let pipelines = system.run(&scope, ResumePipelines {}).await?;
        in_progress_count += pipelines.in_progress_count;
    }
    context.report_backlog(in_progress_count);
    Ok(())
}

/// Drives on the documents of one organisation that stand still.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ResumePipelines {}

/// What a round found in one organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Pipelines {
    pub(crate) in_progress_count: u64,
    pub(crate) resumed_count: u64,
}

impl Command for ResumePipelines {
    const SPEC: Spec = Spec::internal("resume_pipelines");
    type Output = Pipelines;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Pipelines> {
        let standing = take_standing(tx).await?;
        for document_id in &standing {
            tx.enqueue(&RunStage { document_id: *document_id }).await?;
        }
        let in_progress_count = count_in_progress(tx).await?;
        Ok(Pipelines { in_progress_count, resumed_count: standing.len() as u64 })
    }
}

/// Marks the documents as driven while it takes them, so that none is driven twice.
async fn take_standing(tx: &mut Tx<'_>) -> Result<Vec<DocumentId>> {
    let standing = sqlx::query_scalar(
        "update onboard.documents
         set driven_at = $2
         where org_id = $1 and document_id in (
             select document_id
             from onboard.documents
             where org_id = $1 and state = 'in_progress' and driven_at <= $3
             order by driven_at
             limit $4
             for update skip locked
         )
         returning document_id",
    )
    .bind(tx.org_id())
    .bind(tx.now())
    .bind(tx.now() - STANDS_STILL_AFTER)
    .bind(DOCUMENTS_MAX)
    .fetch_all(tx.connection())
    .await?;
    Ok(standing)
}

async fn count_in_progress(tx: &mut Tx<'_>) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(
        "select count(*) from onboard.documents where org_id = $1 and state = 'in_progress'",
    )
    .bind(tx.org_id())
    .fetch_one(tx.connection())
    .await?;
    Ok(count.cast_unsigned())
}
