//! Billing records: what a client will be billed for one job order.
//!
//! A record begins with the order. Until a rate is agreed it has no amounts, and its state says so.

use contracts::payroll::{BillingRateSet, BillingRecordCreated, BillingRecordId};
use contracts::recruit::JobOrderId;
use platform::{Command, Reason, Result, Spec, Timestamp, Tx, must_be_version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amounts::{Amounts, estimate};
use crate::reading::{find, find_by_job_order};

/// What a client will be billed for one job order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BillingRecord {
    /// The billing record.
    pub billing_record_id: BillingRecordId,
    /// The job order it is for.
    pub job_order_id: JobOrderId,
    /// The title of the job order.
    pub title: String,
    /// The client's business name, if already known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// People the client asked for.
    pub headcount: u32,
    /// Time each person will work, in minutes.
    pub minutes_per_person: u64,
    /// What the client pays per person and hour, in cents, once agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge_rate_cents: Option<u32>,
    /// The estimate, once a rate is agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amounts: Option<Amounts>,
    /// What is to be done with it next.
    pub state: BillingState,
    /// When it was created.
    pub created_at: Timestamp,
    /// Which version of it this is: one more with each change.
    pub version: i64,
}

/// What is to be done with a billing record next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum BillingState {
    /// A rate must be agreed with the client.
    RateNeeded,
    /// The estimate stands; the work is still to be done.
    Draft,
}

impl BillingState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RateNeeded => "rate_needed",
            Self::Draft => "draft",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::RateNeeded, Self::Draft].into_iter().find(|state| state.name() == name)
    }
}

impl BillingRecord {
    fn create(command: CreateBillingRecord, now: Timestamp) -> Self {
        let CreateBillingRecord { job_order_id, headcount, minutes_per_person, .. } = command;
        let rate_cents = command.charge_rate_cents;
        Self {
            billing_record_id: BillingRecordId::new(),
            job_order_id,
            title: command.title,
            client_name: command.client_name,
            headcount,
            minutes_per_person,
            charge_rate_cents: rate_cents,
            amounts: rate_cents.map(|rate| estimate(headcount, minutes_per_person, rate)),
            state: match rate_cents {
                Some(_) => BillingState::Draft,
                None => BillingState::RateNeeded,
            },
            created_at: now,
            version: 1,
        }
    }

    fn created(&self) -> BillingRecordCreated {
        BillingRecordCreated {
            billing_record_id: self.billing_record_id,
            job_order_id: self.job_order_id,
            total_cents: self.amounts.map(|amounts| amounts.total_cents),
        }
    }
}

/// What the rules of billing records say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no billing record {0}")]
    NotFound(BillingRecordId),
    #[error("a rate is 1 to 100000 cents per hour, not {0}")]
    Rate(u32),
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => {
                Reason::not_found("billing_record_not_found").at("/billing_record_id")
            }
            Self::Rate(_) => Reason::invalid("rate").at("/charge_rate_cents"),
        }
    }
}

/// Creates the billing record of a job order; a second time answers the first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateBillingRecord {
    /// The job order it is for.
    pub job_order_id: JobOrderId,
    /// The title of the job order.
    pub title: String,
    /// The client's business name, if already known.
    #[serde(default)]
    pub client_name: Option<String>,
    /// People the client asked for.
    pub headcount: u32,
    /// Time each person will work, in minutes.
    pub minutes_per_person: u64,
    /// What the client pays per person and hour, in cents, if already agreed.
    #[serde(default)]
    pub charge_rate_cents: Option<u32>,
}

impl Command for CreateBillingRecord {
    const SPEC: Spec = Spec::internal("create_billing_record");
    type Output = BillingRecord;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<BillingRecord> {
        let record = BillingRecord::create(self, tx.now());
        if insert(tx, &record).await? {
            tx.append(&record.created()).await?;
            return Ok(record);
        }
        let org_id = tx.org_id();
        find_by_job_order(tx.connection(), org_id, record.job_order_id).await
    }
}

/// Agree the rate of a billing record with the client.
///
/// The amounts follow from it. Setting another rate later replaces both. Whoever has not seen the
/// latest version of the record is refused, as somebody else may have agreed on another rate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBillingRate {
    /// The billing record.
    pub billing_record_id: BillingRecordId,
    /// What the client pays per person and hour, in cents: 1 to 100000.
    #[schemars(range(min = 1, max = 100_000))]
    pub charge_rate_cents: u32,
    /// The version of the record that is changed.
    pub expected_version: i64,
}

impl Command for SetBillingRate {
    const SPEC: Spec =
        Spec::replace("set_billing_rate", "/billing_records/{billing_record_id}/rate");
    type Output = BillingRecord;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<BillingRecord> {
        let Self { billing_record_id, charge_rate_cents, expected_version } = self;
        if !(1..=100_000).contains(&charge_rate_cents) {
            return Err(Refusal::Rate(charge_rate_cents).into());
        }
        let org_id = tx.org_id();
        lock(tx, billing_record_id).await?;
        let mut record = find(tx.connection(), org_id, billing_record_id).await?;
        must_be_version(expected_version, record.version)?;
        if record.charge_rate_cents == Some(charge_rate_cents) {
            return Ok(record);
        }
        let amounts = estimate(record.headcount, record.minutes_per_person, charge_rate_cents);
        record.charge_rate_cents = Some(charge_rate_cents);
        record.amounts = Some(amounts);
        record.state = BillingState::Draft;
        record.version += 1;
        update(tx, &record).await?;
        let total_cents = amounts.total_cents;
        tx.append(&BillingRateSet { billing_record_id, charge_rate_cents, total_cents }).await?;
        Ok(record)
    }
}

/// Whether the record is new, as opposed to the second for its job order.
async fn insert(tx: &mut Tx<'_>, record: &BillingRecord) -> Result<bool> {
    let inserted = sqlx::query(
        "insert into payroll.billing_records (
             org_id, billing_record_id, job_order_id, title, client_name, headcount,
             minutes_per_person, charge_rate_cents, subtotal_cents, gst_cents, total_cents, state,
             created_at, updated_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)
         on conflict on constraint billing_records_once do nothing",
    )
    .bind(tx.org_id())
    .bind(record.billing_record_id)
    .bind(record.job_order_id)
    .bind(&record.title)
    .bind(&record.client_name)
    .bind(record.headcount.cast_signed())
    .bind(record.minutes_per_person.cast_signed())
    .bind(record.charge_rate_cents.map(u32::cast_signed))
    .bind(record.amounts.map(|amounts| amounts.subtotal_cents.cast_signed()))
    .bind(record.amounts.map(|amounts| amounts.gst_cents.cast_signed()))
    .bind(record.amounts.map(|amounts| amounts.total_cents.cast_signed()))
    .bind(record.state.name())
    .bind(record.created_at)
    .execute(tx.connection())
    .await?;
    Ok(inserted.rows_affected() > 0)
}

async fn lock(tx: &mut Tx<'_>, billing_record_id: BillingRecordId) -> Result<()> {
    sqlx::query(
        "select from payroll.billing_records
         where org_id = $1 and billing_record_id = $2
         for update",
    )
    .bind(tx.org_id())
    .bind(billing_record_id)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn update(tx: &mut Tx<'_>, record: &BillingRecord) -> Result<()> {
    sqlx::query(
        "update payroll.billing_records
         set charge_rate_cents = $3, subtotal_cents = $4, gst_cents = $5, total_cents = $6,
             state = $7, updated_at = $8, version = $9
         where org_id = $1 and billing_record_id = $2",
    )
    .bind(tx.org_id())
    .bind(record.billing_record_id)
    .bind(record.charge_rate_cents.map(u32::cast_signed))
    .bind(record.amounts.map(|amounts| amounts.subtotal_cents.cast_signed()))
    .bind(record.amounts.map(|amounts| amounts.gst_cents.cast_signed()))
    .bind(record.amounts.map(|amounts| amounts.total_cents.cast_signed()))
    .bind(record.state.name())
    .bind(tx.now())
    .bind(record.version)
    .execute(tx.connection())
    .await?;
    Ok(())
}
