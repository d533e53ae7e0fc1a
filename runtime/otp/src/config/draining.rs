//! How lasting connections are told to go when the server stops, as the table of the edge says.

use std::time::Duration;

use toml_edit::Item;

use super::read::{Complaint, integer, milliseconds};

/// What the table of the edge may say about it.
pub(super) const KEYS: &[&str] = &["drain_batch", "drain_interval_ms"];

/// How lasting connections are told to go when the server stops: in batches, since clients that all
/// come back at one instant would be an attack on whoever is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTuning {
    /// How many are told at once; 100 to 20,000.
    pub batch: u32,
    /// Between two batches; at most 3 seconds, so that the smallest batches of the most connections
    /// a server has take no more than ten minutes.
    pub interval: Duration,
}

impl Default for DrainTuning {
    fn default() -> Self {
        Self { batch: 10_000, interval: Duration::from_secs(2) }
    }
}

impl DrainTuning {
    pub(super) fn set(&mut self, name: &str, item: &Item) -> Result<(), Complaint> {
        match name {
            "drain_batch" => self.batch = integer(name, item, 100..=20_000)?,
            "drain_interval_ms" => self.interval = milliseconds(name, item, 0..=3_000)?,
            _ => unreachable!("`{name}` is in the list of keys and has no reader"),
        }
        Ok(())
    }

    /// Every key with what it says, in the order of the keys.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let said = [self.batch.to_string(), self.interval.as_millis().to_string()];
        KEYS.iter().copied().zip(said).collect()
    }
}
