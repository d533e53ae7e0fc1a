//! Reading the pipeline: order by order, or all of it in a few numbers.

use contracts::recruit::JobOrderId;
use platform::{Cursor, Limit, Listing, Query, Result, Snapshot, Spec, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::job_order::JobOrderState;

/// How far one job order is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineOrder {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Title shown to candidates.
    pub title: String,
    /// The client's business name, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Whether people are still being looked for.
    pub state: JobOrderState,
    /// People the client asked for.
    pub headcount: u32,
    /// Candidates scored.
    pub scored: u32,
    /// Candidates who hold every required credential, valid on the first day of work.
    pub eligible: u32,
    /// Candidates on the shortlist.
    pub shortlisted: u32,
    /// Candidates who were sent a message.
    pub invited: u32,
    /// Candidates placed.
    pub placed: u32,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was filled or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
}

/// List job orders with how many people have come how far, newest first.
///
/// The numbers follow what happens within a moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPipeline {
    /// Only orders in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<JobOrderState>,
    /// Orders on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListPipeline {
    const SPEC: Spec = Spec::read("list_pipeline", "/pipeline/job_orders");
    type Output = Listing<PipelineOrder>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<PipelineOrder>> {
        let before: Option<JobOrderId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select job_order_id, title, client_name, state, headcount, scored, eligible,
                 shortlisted, invited, placed, opened_at, closed_at
             from recruit.pipeline
             where org_id = $1
                 and ($2::text is null or state = $2)
                 and ($3::uuid is null or job_order_id < $3)
             order by job_order_id desc
             limit $4",
        )
        .bind(db.org_id())
        .bind(self.state.map(JobOrderState::name))
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |order: &PipelineOrder| order.job_order_id))
    }
}

/// Show how many people have come how far, over all job orders of one state.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowPipeline {
    /// Over the orders in this state; over all unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<JobOrderState>,
}

/// How many people have come how far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineTotals {
    /// Job orders counted.
    pub job_orders: u64,
    /// People asked for.
    pub headcount: u64,
    /// Candidates scored, once for each order.
    pub scored: u64,
    /// Candidates who hold every required credential, once for each order.
    pub eligible: u64,
    /// Candidates on shortlists.
    pub shortlisted: u64,
    /// Candidates who were sent a message.
    pub invited: u64,
    /// Candidates placed.
    pub placed: u64,
}

impl Query for ShowPipeline {
    const SPEC: Spec = Spec::read("show_pipeline", "/pipeline").addressable();
    type Output = PipelineTotals;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<PipelineTotals> {
        let totals = sqlx::query_as(
            "select count(*) as job_orders, coalesce(sum(headcount), 0) as headcount,
                 coalesce(sum(scored), 0) as scored, coalesce(sum(eligible), 0) as eligible,
                 coalesce(sum(shortlisted), 0) as shortlisted, coalesce(sum(invited), 0) as invited,
                 coalesce(sum(placed), 0) as placed
             from recruit.pipeline
             where org_id = $1 and ($2::text is null or state = $2)",
        )
        .bind(db.org_id())
        .bind(self.state.map(JobOrderState::name))
        .fetch_one(db.connection())
        .await?;
        Ok(totals)
    }
}

impl FromRow<'_, PgRow> for PipelineTotals {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
        Ok(Self {
            job_orders: number("job_orders")?,
            headcount: number("headcount")?,
            scored: number("scored")?,
            eligible: number("eligible")?,
            shortlisted: number("shortlisted")?,
            invited: number("invited")?,
            placed: number("placed")?,
        })
    }
}

impl FromRow<'_, PgRow> for PipelineOrder {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let number = |column| row.try_get::<i32, _>(column).map(i32::cast_unsigned);
        let state: String = row.try_get("state")?;
        let state = JobOrderState::from_name(&state)
            .ok_or_else(|| sqlx::Error::Decode(format!("a job order is `{state}`").into()))?;
        Ok(Self {
            job_order_id: row.try_get("job_order_id")?,
            title: row.try_get("title")?,
            client_name: row.try_get("client_name")?,
            state,
            headcount: number("headcount")?,
            scored: number("scored")?,
            eligible: number("eligible")?,
            shortlisted: number("shortlisted")?,
            invited: number("invited")?,
            placed: number("placed")?,
            opened_at: row.try_get("opened_at")?,
            closed_at: row.try_get("closed_at")?,
        })
    }
}
