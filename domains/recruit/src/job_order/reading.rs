//! Reading job orders: one, or a page of them.

use contracts::recruit::JobOrderId;
use platform::{Cursor, Limit, Listing, OrgId, Query, Result, Snapshot, Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use super::{JobOrder, JobOrderState, Refusal};

/// Get one job order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetJobOrder {
    /// The job order.
    pub job_order_id: JobOrderId,
}

impl Query for GetJobOrder {
    const SPEC: Spec = Spec::read("get_job_order", "/job_orders/{job_order_id}").addressable();
    type Output = JobOrder;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<JobOrder> {
        let org_id = db.org_id();
        find(db.connection(), org_id, self.job_order_id).await
    }
}

/// List job orders, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListJobOrders {
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

impl Query for ListJobOrders {
    const SPEC: Spec = Spec::read("list_job_orders", "/job_orders");
    type Output = Listing<JobOrder>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<JobOrder>> {
        let before: Option<JobOrderId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let org_id = db.org_id();
        let rows = sqlx::query_as(
            "select job_order_id, title, client_name, headcount, suburb, postcode, skills,
                 credentials_required, starts_on, shift_starts_minute, shift_minutes, shift_days,
                 charge_rate_cents, state, cancel_reason, created_at
             from recruit.job_orders
             where org_id = $1
                 and ($2::text is null or state = $2)
                 and ($3::uuid is null or job_order_id < $3)
             order by job_order_id desc
             limit $4",
        )
        .bind(org_id)
        .bind(self.state.map(JobOrderState::name))
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |order: &JobOrder| order.job_order_id))
    }
}

pub(super) async fn find(
    connection: &mut PgConnection,
    org_id: OrgId,
    job_order_id: JobOrderId,
) -> Result<JobOrder> {
    let found = sqlx::query_as(
        "select job_order_id, title, client_name, headcount, suburb, postcode, skills,
             credentials_required, starts_on, shift_starts_minute, shift_minutes, shift_days,
             charge_rate_cents, state, cancel_reason, created_at
         from recruit.job_orders
         where org_id = $1 and job_order_id = $2",
    )
    .bind(org_id)
    .bind(job_order_id)
    .fetch_optional(connection)
    .await?;
    Ok(found.ok_or(Refusal::NotFound(job_order_id))?)
}

/// Refuses job orders that this organisation has not.
pub(crate) async fn must_be_known(
    connection: &mut PgConnection,
    org_id: OrgId,
    job_order_id: JobOrderId,
) -> Result<()> {
    let known: bool = sqlx::query_scalar(
        "select exists (
             select from recruit.job_orders where org_id = $1 and job_order_id = $2
         )",
    )
    .bind(org_id)
    .bind(job_order_id)
    .fetch_one(connection)
    .await?;
    if known { Ok(()) } else { Err(Refusal::NotFound(job_order_id).into()) }
}

impl FromRow<'_, PgRow> for JobOrder {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let state: String = row.try_get("state")?;
        let state = JobOrderState::from_name(&state)
            .ok_or_else(|| sqlx::Error::Decode(format!("a job order is `{state}`").into()))?;
        Ok(Self {
            job_order_id: row.try_get("job_order_id")?,
            title: row.try_get("title")?,
            client_name: row.try_get("client_name")?,
            headcount: row.try_get::<i32, _>("headcount")?.cast_unsigned(),
            suburb: row.try_get("suburb")?,
            postcode: row.try_get("postcode")?,
            skills: row.try_get("skills")?,
            credentials_required: row.try_get("credentials_required")?,
            starts_on: row.try_get("starts_on")?,
            shift_starts_minute: row.try_get::<i16, _>("shift_starts_minute")?.cast_unsigned(),
            shift_minutes: row.try_get::<i16, _>("shift_minutes")?.cast_unsigned(),
            shift_days: row.try_get::<i16, _>("shift_days")?.cast_unsigned(),
            charge_rate_cents: row
                .try_get::<Option<i32>, _>("charge_rate_cents")?
                .map(i32::cast_unsigned),
            state,
            cancel_reason: row.try_get("cancel_reason")?,
            created_at: row.try_get("created_at")?,
        })
    }
}
