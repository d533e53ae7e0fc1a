//! What payroll tells: a job order has a billing record, and what it will cost the client.

use kernel::{DomainName, Event, EventType, Id};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::recruit::JobOrderId;

/// The domain that pays people and bills clients.
pub const PAYROLL: DomainName = DomainName::new("payroll");

/// What a [`BillingRecordId`] identifies.
#[derive(Debug)]
pub enum BillingRecordMarker {}

/// What a client will be billed for one job order.
pub type BillingRecordId = Id<BillingRecordMarker>;

/// The billing record of a job order was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BillingRecordCreated {
    /// The billing record.
    pub billing_record_id: BillingRecordId,
    /// The job order it is for.
    pub job_order_id: JobOrderId,
    /// Estimated amount including GST, in cents; absent while no rate is agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_cents: Option<u64>,
}

/// The rate of a billing record was agreed, so its amounts are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BillingRateSet {
    /// The billing record.
    pub billing_record_id: BillingRecordId,
    /// What the client pays per person and hour, in cents.
    pub charge_rate_cents: u32,
    /// Estimated amount including GST, in cents.
    pub total_cents: u64,
}

impl Event for BillingRecordCreated {
    const TYPE: EventType = PAYROLL.event("billing_record_created", 1);
    fn aggregate_id(&self) -> Uuid {
        self.billing_record_id.uuid()
    }
}
impl Event for BillingRateSet {
    const TYPE: EventType = PAYROLL.event("billing_rate_set", 1);
    fn aggregate_id(&self) -> Uuid {
        self.billing_record_id.uuid()
    }
}
