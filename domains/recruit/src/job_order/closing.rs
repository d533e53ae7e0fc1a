//! Closing job orders: filled with people, or cancelled. Neither can be undone.

use contracts::recruit::{CandidateId, JobOrderCancelled, JobOrderFilled, JobOrderId};
use platform::{Command, Result, Spec, Tx, trimmed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::candidate;

use super::reading::find;
use super::{JobOrder, JobOrderState, Refusal, lock_open};

/// Fill a job order with candidates from its shortlist.
///
/// Name exactly as many as the client asked for. A filled order cannot be changed any more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FillJobOrder {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// The candidates placed, each once.
    #[schemars(length(min = 1, max = 500))]
    pub candidate_ids: Vec<CandidateId>,
}

impl Command for FillJobOrder {
    const SPEC: Spec = Spec::invoke("fill_job_order", "/job_orders/{job_order_id}/fill");
    type Output = JobOrder;

    async fn handle(mut self, tx: &mut Tx<'_>) -> Result<JobOrder> {
        let needed = lock_open(tx, self.job_order_id).await?;
        let given = self.candidate_ids.len();
        self.candidate_ids.sort_unstable();
        self.candidate_ids.dedup();
        if self.candidate_ids.len() != needed as usize || given != self.candidate_ids.len() {
            return Err(Refusal::WrongCount { needed, given }.into());
        }
        let shortlist = shortlist(tx, self.job_order_id).await?;
        if let Some(stranger) = self.candidate_ids.iter().find(|id| !shortlist.contains(id)) {
            let org_id = tx.org_id();
            candidate::must_be_known(tx.connection(), org_id, *stranger).await?;
            return Err(Refusal::NotShortlisted(*stranger).into());
        }
        close(tx, self.job_order_id, JobOrderState::Filled, None).await?;
        let Self { job_order_id, candidate_ids } = self;
        tx.append(&JobOrderFilled { job_order_id, candidate_ids }).await?;
        let org_id = tx.org_id();
        find(tx.connection(), org_id, job_order_id).await
    }
}

/// Cancel a job order that the client no longer needs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelJobOrder {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Why, 3 to 500 characters, without names of people: the reason is kept for ever.
    #[schemars(length(min = 3, max = 500))]
    pub reason: String,
}

impl Command for CancelJobOrder {
    const SPEC: Spec = Spec::invoke("cancel_job_order", "/job_orders/{job_order_id}/cancel");
    type Output = JobOrder;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<JobOrder> {
        let reason = trimmed("/reason", &self.reason, 3..=500)?;
        let job_order_id = self.job_order_id;
        lock_open(tx, job_order_id).await?;
        close(tx, job_order_id, JobOrderState::Cancelled, Some(&reason)).await?;
        tx.append(&JobOrderCancelled { job_order_id, reason }).await?;
        let org_id = tx.org_id();
        find(tx.connection(), org_id, job_order_id).await
    }
}

async fn shortlist(tx: &mut Tx<'_>, job_order_id: JobOrderId) -> Result<Vec<CandidateId>> {
    let org_id = tx.org_id();
    let shortlisted = sqlx::query_scalar(
        "select candidate_id
         from recruit.scores
         where org_id = $1 and job_order_id = $2 and shortlisted_at is not null",
    )
    .bind(org_id)
    .bind(job_order_id)
    .fetch_all(tx.connection())
    .await?;
    Ok(shortlisted)
}

async fn close(
    tx: &mut Tx<'_>,
    job_order_id: JobOrderId,
    state: JobOrderState,
    reason: Option<&str>,
) -> Result<()> {
    let (org_id, now) = (tx.org_id(), tx.now());
    sqlx::query(
        "update recruit.job_orders
         set state = $3, cancel_reason = $4, updated_at = $5
         where org_id = $1 and job_order_id = $2",
    )
    .bind(org_id)
    .bind(job_order_id)
    .bind(state.name())
    .bind(reason)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}
