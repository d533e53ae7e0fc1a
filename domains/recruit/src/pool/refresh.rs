//! The pool refresh: goes round the organisations and has pools scored again that may be out of
//! date.
//!
//! A pool is due when its order was never scored, when a candidate came or changed since, and after
//! ten minutes in any case. It only asks; the scoring itself is a job per order, like any other.

use std::time::Duration;

use chrono::TimeDelta;
use contracts::recruit::{JobOrderId, RECRUIT};
use platform::otp::{ChildSpec, ExitReason};
use platform::{Command, Result, Spec, System, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ScorePool;

/// How often it goes round.
const INTERVAL: Duration = Duration::from_secs(15);
/// How old scores may become although nothing changed; rules of a new release reach them so.
const SCORES_AGE_MAX: TimeDelta = TimeDelta::minutes(10);
/// Orders asked for in one round of one organisation; the rest wait for the next.
const ORDERS_MAX: i64 = 50;

/// The child of the domain's tree.
pub(crate) fn child(system: &System) -> ChildSpec {
    let interval = system.tuning().domain(RECRUIT.as_str()).child("pool_refresh").interval;
    let interval = interval.unwrap_or(INTERVAL);
    let system = system.clone();
    ChildSpec::periodic("pool_refresh", interval, interval / 4, None, move |_| {
        let system = system.clone();
        Box::pin(async move {
            // What does not answer now is asked again in the next round; only bugs end the process.
            if let Err(error) = go_round(&system).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "pools were not refreshed"
                );
            }
            Ok::<(), ExitReason>(())
        })
    })
    .label("has the pools of open orders scored again")
}

async fn go_round(system: &System) -> Result<()> {
    for scope in system.rounds("recruit.pool_refresh").await? {
        system.run(&scope, RefreshPools {}).await?;
    }
    Ok(())
}

/// Has the pools of one organisation scored that are due.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RefreshPools {}

impl Command for RefreshPools {
    const SPEC: Spec = Spec::internal("refresh_pools");
    type Output = usize;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<usize> {
        let due = take_due(tx).await?;
        for job_order_id in &due {
            tx.enqueue(&ScorePool { job_order_id: *job_order_id }).await?;
        }
        Ok(due.len())
    }
}

/// Marks the orders as asked for while it takes them, so that no order is asked for twice.
async fn take_due(tx: &mut Tx<'_>) -> Result<Vec<JobOrderId>> {
    let due = sqlx::query_scalar(
        "update recruit.job_orders
         set scoring_requested_at = $2
         where org_id = $1 and job_order_id in (
             select job_order_id
             from recruit.job_orders
             where org_id = $1
                 and state = 'open'
                 and (
                     scoring_requested_at is null
                     or scoring_requested_at <= $3
                     or scoring_requested_at < (
                         select max(updated_at) from recruit.candidates where org_id = $1
                     )
                 )
             order by scoring_requested_at nulls first
             limit $4
             for update skip locked
         )
         returning job_order_id",
    )
    .bind(tx.org_id())
    .bind(tx.now())
    .bind(tx.now() - SCORES_AGE_MAX)
    .bind(ORDERS_MAX)
    .fetch_all(tx.connection())
    .await?;
    Ok(due)
}
