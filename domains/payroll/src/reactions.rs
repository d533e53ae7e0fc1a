//! Whenever this happens, payroll does that.

#![expect(clippy::unnecessary_wraps, reason = "a reaction may answer nothing; these never do")]

use contracts::recruit::JobOrderOpened;
use platform::Recorded;

use crate::billing_record::CreateBillingRecord;

/// Whenever a job order is opened, create its billing record.
pub(crate) fn create_billing_record(
    opened: &Recorded<JobOrderOpened>,
) -> Option<CreateBillingRecord> {
    let JobOrderOpened { job_order_id, title, client_name, headcount, .. } = opened.data.clone();
    let minutes_per_person =
        u64::from(opened.data.shift_minutes) * u64::from(opened.data.shift_days);
    Some(CreateBillingRecord {
        job_order_id,
        title,
        client_name,
        headcount,
        minutes_per_person,
        charge_rate_cents: opened.data.charge_rate_cents,
    })
}
