//! What limits the job queue of a domain over all nodes, as its table says.

use std::time::Duration;

use toml_edit::Item;

use super::problem::hint;
use super::read::{Complaint, describe, integer, milliseconds};

/// What the table of a domain may say about its queue.
pub(super) const KEYS: &[&str] = &[
    "queue_global_limit",
    "queue_partition_by",
    "queue_partition_limit",
    "queue_rate_limit",
    "queue_partition_rate_limit",
    "queue_rate_period_ms",
];
/// No limit is larger.
const LIMIT_MAX: u32 = 1_000_000;
/// No period is longer: a week.
const PERIOD_MAX_MS: u32 = 604_800_000;
/// What partitions may be told by, but for an argument.
const PARTITIONS: &[&str] = &["organisation", "name", "key"];
/// What an argument is named after.
const ARGUMENT: &str = "args.";

/// What limits the queue of a domain over all nodes. What is absent does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueTuning {
    /// Jobs of the queue that execute at once.
    pub global_limit: Option<u32>,
    /// What its jobs are told apart by: `organisation`, `name`, `key`, or `args.` and a name.
    pub partition_by: Option<String>,
    /// Jobs of one partition that execute at once.
    pub partition_limit: Option<u32>,
    /// Attempts that start within any period.
    pub rate_limit: Option<u32>,
    /// Attempts of one partition that start within any period.
    pub partition_rate_limit: Option<u32>,
    /// The length of that period.
    pub rate_period: Option<Duration>,
}

impl QueueTuning {
    pub(super) fn set(&mut self, name: &str, item: &Item) -> Result<(), Complaint> {
        match name {
            "queue_global_limit" => self.global_limit = Some(limit(name, item)?),
            "queue_partition_by" => self.partition_by = Some(partition_by(name, item)?),
            "queue_partition_limit" => self.partition_limit = Some(limit(name, item)?),
            "queue_rate_limit" => self.rate_limit = Some(limit(name, item)?),
            "queue_partition_rate_limit" => self.partition_rate_limit = Some(limit(name, item)?),
            "queue_rate_period_ms" => {
                self.rate_period = Some(milliseconds(name, item, 1..=PERIOD_MAX_MS)?);
            }
            _ => unreachable!("`{name}` is in the list of keys and has no reader"),
        }
        Ok(())
    }

    /// What is wrong with all of it together, if anything.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        let missing = |key: &str, needs: &str| {
            Some(format!("`{key}` says nothing without `{needs}`; write that too, or leave it out"))
        };
        if self.partition_by.is_none() {
            if self.partition_limit.is_some() {
                return missing("queue_partition_limit", "queue_partition_by");
            }
            if self.partition_rate_limit.is_some() {
                return missing("queue_partition_rate_limit", "queue_partition_by");
            }
        }
        let has_rate = self.rate_limit.is_some() || self.partition_rate_limit.is_some();
        if self.rate_period.is_some() && !has_rate {
            return missing("queue_rate_period_ms", "queue_rate_limit");
        }
        None
    }

    /// Every key with what it says, in the order of the keys.
    pub(super) fn values(&self) -> Vec<(&'static str, Option<String>)> {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let said = [
            number(self.global_limit),
            self.partition_by.clone(),
            number(self.partition_limit),
            number(self.rate_limit),
            number(self.partition_rate_limit),
            self.rate_period.map(|period| period.as_millis().to_string()),
        ];
        KEYS.iter().copied().zip(said).collect()
    }
}

fn limit(name: &str, item: &Item) -> Result<u32, Complaint> {
    integer(name, item, 1..=LIMIT_MAX)
}

fn partition_by(name: &str, item: &Item) -> Result<String, Complaint> {
    let Some(text) = item.as_str() else {
        let names = PARTITIONS.join("\", \"");
        let found = describe(item);
        return Err(format!(
            "`{name}` must be one of \"{names}\", or \"args.\" and a name, not {found}"
        ));
    };
    let is_argument = text
        .strip_prefix(ARGUMENT)
        .is_some_and(|path| path.split('.').all(|name| !name.is_empty()));
    if is_argument || PARTITIONS.contains(&text) {
        return Ok(text.to_owned());
    }
    let names = PARTITIONS.iter().copied().chain(["args.…"]);
    Err(format!("`{name}` cannot be `{text}`; {}", hint(text, names)))
}
