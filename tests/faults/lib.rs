//! The faults that the event log and the queue survive; see `main.rs`. Here is what the workers of
//! the queue and those who judge them must agree on.

pub mod order;
pub mod perform;
pub mod work;
