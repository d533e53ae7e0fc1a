//! Payroll: pays people and bills clients, in integer cents.
//!
//! Whenever a job order is opened it creates the billing record that the client's invoice will be
//! made from. Amounts are estimates until time sheets exist; they are absent as long as no rate is
//! agreed.

mod amounts;
mod billing_record;
mod reactions;
mod reading;

use contracts::payroll::{BillingRateSet, BillingRecordCreated, PAYROLL};
use platform::{Domain, Page};

pub use amounts::Amounts;
pub use billing_record::{BillingRecord, BillingState, CreateBillingRecord, SetBillingRate};
pub use reading::{GetBillingRecord, ListBillingRecords};

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(PAYROLL)
        .about("Pays people and bills clients, in integer cents: billing records and their rates.")
        .command::<CreateBillingRecord>()
        .command::<SetBillingRate>()
        .query::<GetBillingRecord>()
        .query::<ListBillingRecords>()
        .emits::<BillingRecordCreated>()
        .emits::<BillingRateSet>()
        .on("create_billing_record", reactions::create_billing_record)
        .page(Page::new("Billing records").table::<ListBillingRecords>().form::<SetBillingRate>())
}
