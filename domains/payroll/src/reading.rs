//! Reading billing records: one, or a page of them.

use contracts::payroll::BillingRecordId;
use contracts::recruit::JobOrderId;
use platform::{Cursor, Limit, Listing, OrgId, Query, Result, Snapshot, Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use crate::amounts::Amounts;
use crate::billing_record::{BillingRecord, BillingState, Refusal};

/// Get one billing record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetBillingRecord {
    /// The billing record.
    pub billing_record_id: BillingRecordId,
}

impl Query for GetBillingRecord {
    const SPEC: Spec =
        Spec::read("get_billing_record", "/billing_records/{billing_record_id}").addressable();
    type Output = BillingRecord;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<BillingRecord> {
        let org_id = db.org_id();
        find(db.connection(), org_id, self.billing_record_id).await
    }
}

/// List billing records, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBillingRecords {
    /// Only the record of this job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_order_id: Option<JobOrderId>,
    /// Only records in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<BillingState>,
    /// Records on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListBillingRecords {
    const SPEC: Spec = Spec::read("list_billing_records", "/billing_records");
    type Output = Listing<BillingRecord>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<BillingRecord>> {
        let before: Option<BillingRecordId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select billing_record_id, job_order_id, title, client_name, headcount,
                 minutes_per_person, charge_rate_cents, subtotal_cents, gst_cents, total_cents,
                 state, created_at, version
             from payroll.billing_records
             where org_id = $1
                 and ($2::uuid is null or job_order_id = $2)
                 and ($3::text is null or state = $3)
                 and ($4::uuid is null or billing_record_id < $4)
             order by billing_record_id desc
             limit $5",
        )
        .bind(db.org_id())
        .bind(self.job_order_id)
        .bind(self.state.map(BillingState::name))
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |record: &BillingRecord| record.billing_record_id))
    }
}

pub(crate) async fn find(
    connection: &mut PgConnection,
    org_id: OrgId,
    billing_record_id: BillingRecordId,
) -> Result<BillingRecord> {
    let found = sqlx::query_as(
        "select billing_record_id, job_order_id, title, client_name, headcount,
             minutes_per_person, charge_rate_cents, subtotal_cents, gst_cents, total_cents, state,
             created_at, version
         from payroll.billing_records
         where org_id = $1 and billing_record_id = $2",
    )
    .bind(org_id)
    .bind(billing_record_id)
    .fetch_optional(connection)
    .await?;
    Ok(found.ok_or(Refusal::NotFound(billing_record_id))?)
}

pub(crate) async fn find_by_job_order(
    connection: &mut PgConnection,
    org_id: OrgId,
    job_order_id: JobOrderId,
) -> Result<BillingRecord> {
    let billing_record_id = sqlx::query_scalar(
        "select billing_record_id
         from payroll.billing_records
         where org_id = $1 and job_order_id = $2",
    )
    .bind(org_id)
    .bind(job_order_id)
    .fetch_one(&mut *connection)
    .await?;
    find(connection, org_id, billing_record_id).await
}

impl FromRow<'_, PgRow> for BillingRecord {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let state: String = row.try_get("state")?;
        let cents =
            |column| row.try_get::<Option<i64>, _>(column).map(|c| c.map(i64::cast_unsigned));
        let amounts = match (cents("subtotal_cents")?, cents("gst_cents")?, cents("total_cents")?) {
            (Some(subtotal_cents), Some(gst_cents), Some(total_cents)) => {
                Some(Amounts { subtotal_cents, gst_cents, total_cents })
            }
            _ => None,
        };
        Ok(Self {
            billing_record_id: row.try_get("billing_record_id")?,
            job_order_id: row.try_get("job_order_id")?,
            title: row.try_get("title")?,
            client_name: row.try_get("client_name")?,
            headcount: row.try_get::<i32, _>("headcount")?.cast_unsigned(),
            minutes_per_person: row.try_get::<i64, _>("minutes_per_person")?.cast_unsigned(),
            charge_rate_cents: row
                .try_get::<Option<i32>, _>("charge_rate_cents")?
                .map(i32::cast_unsigned),
            amounts,
            state: BillingState::from_name(&state)
                .ok_or_else(|| sqlx::Error::Decode(format!("a record is `{state}`").into()))?,
            created_at: row.try_get("created_at")?,
            version: row.try_get("version")?,
        })
    }
}
