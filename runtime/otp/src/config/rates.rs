//! How often callers may ask, as the table of the edge says.

use toml_edit::Item;

use super::read::{Complaint, integer};

/// What the table of the edge may say about it.
pub(super) const KEYS: &[&str] = &[
    "credential_per_second",
    "credential_burst",
    "organisation_per_second",
    "organisation_burst",
    "address_per_second",
    "address_burst",
];
/// No rate is larger.
const RATE_MAX: u32 = 1_000_000;

/// One limit: so many requests a second, and so many at once by whoever has not asked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second that may go on for ever; at least 1.
    pub per_second: u32,
    /// Requests at once after a silence; at least 1.
    pub burst: u32,
}

/// How often callers may ask, on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateTuning {
    /// Whoever shows one credential.
    pub credential: Rate,
    /// All credentials of one organisation together.
    pub organisation: Rate,
    /// Whoever shows none, from one address.
    pub address: Rate,
}

impl Default for RateTuning {
    fn default() -> Self {
        Self {
            credential: Rate { per_second: 600, burst: 1_200 },
            organisation: Rate { per_second: 3_000, burst: 6_000 },
            address: Rate { per_second: 10, burst: 30 },
        }
    }
}

impl RateTuning {
    pub(super) fn set(&mut self, name: &str, item: &Item) -> Result<(), Complaint> {
        let count = integer(name, item, 1..=RATE_MAX)?;
        let place = match name {
            "credential_per_second" => &mut self.credential.per_second,
            "credential_burst" => &mut self.credential.burst,
            "organisation_per_second" => &mut self.organisation.per_second,
            "organisation_burst" => &mut self.organisation.burst,
            "address_per_second" => &mut self.address.per_second,
            "address_burst" => &mut self.address.burst,
            _ => unreachable!("`{name}` is in the list of keys and has no reader"),
        };
        *place = count;
        Ok(())
    }

    /// Every key with what it says, in the order of the keys.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let said = [self.credential, self.organisation, self.address]
            .into_iter()
            .flat_map(|rate| [rate.per_second, rate.burst])
            .map(|count| count.to_string());
        KEYS.iter().copied().zip(said).collect()
    }
}
