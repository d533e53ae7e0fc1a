//! How much harm is done: all of it for the report, less of it in the gate.

use std::time::Duration;

/// How many clients write at once while harm is done.
pub(crate) const WRITERS: usize = 32;

/// Whether all harm is asked for, by `FINNEST_FAULTS=full`.
pub(crate) fn is_full() -> bool {
    std::env::var("FINNEST_FAULTS").is_ok_and(|amount| amount == "full")
}

/// How often harm is done: in full, or as much as the gate has time for.
pub(crate) fn times(full: u32, less: u32) -> u32 {
    if is_full() { full } else { less }
}

/// How long harm is done: in full, or as long as the gate has time for.
pub(crate) fn seconds(full: u64, less: u64) -> Duration {
    Duration::from_secs(if is_full() { full } else { less })
}
