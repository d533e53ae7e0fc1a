//! The published language: the events domains tell each other, and the ids those events carry.
//!
//! One file per domain; together they can be read in an hour. A domain never sees another's tables,
//! only what stands here. Payloads are integers, text and dates: money is in cents, time worked in
//! minutes. Nothing here names a person: names, numbers and addresses stay in the table of the
//! domain that needs them, because what is recorded can never be removed.

pub mod accounts;
pub mod onboard;
pub mod payroll;
pub mod pulse;
pub mod reach;
pub mod recruit;
