//! What limits a queue over all nodes, and what an operator changed about it.
//!
//! A node declares the limits on its page; an operator overrides them at run time. Both are stored
//! with the queue, and what follows from them is what every claim of every node keeps to. How
//! claims do that is told in `limited.rs`, how nodes come to know of a change in `settings.rs`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The period of a rate unless told: a minute.
pub const RATE_PERIOD_MS: u32 = 60_000;

/// What a job counts under, where a queue limits its jobs by partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PartitionBy {
    /// The organisation it is for.
    Organisation,
    /// Its name.
    Name,
    /// The key its maker gave it, [`crate::NewJob::partition_key`].
    Key,
    /// What its arguments have at this path of names, with dots between.
    Argument(String),
}

/// No way to tell the partition of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` tells no partition; it is \"organisation\", \"name\", \"key\", or \"args.\" and the \
     name of an argument"
)]
pub struct NoPartition(pub String);

impl FromStr for PartitionBy {
    type Err = NoPartition;

    fn from_str(text: &str) -> Result<Self, NoPartition> {
        match text {
            "organisation" => Ok(Self::Organisation),
            "name" => Ok(Self::Name),
            "key" => Ok(Self::Key),
            _ => match text.strip_prefix("args.") {
                Some(path) if path.split('.').all(|name| !name.is_empty()) => {
                    Ok(Self::Argument(path.to_owned()))
                }
                _ => Err(NoPartition(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation => formatter.write_str("organisation"),
            Self::Name => formatter.write_str("name"),
            Self::Key => formatter.write_str("key"),
            Self::Argument(path) => write!(formatter, "args.{path}"),
        }
    }
}

impl TryFrom<String> for PartitionBy {
    type Error = NoPartition;

    fn try_from(text: String) -> Result<Self, NoPartition> {
        text.parse()
    }
}

impl From<PartitionBy> for String {
    fn from(partition_by: PartitionBy) -> Self {
        partition_by.to_string()
    }
}

/// What limits a queue over all nodes. What is absent does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// So many of its jobs execute at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_limit: Option<u32>,
    /// What its jobs are told apart by. Partitions take turns, however many jobs one of them has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<PartitionBy>,
    /// So many jobs of one partition execute at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_limit: Option<u32>,
    /// So many attempts of its jobs start within any period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// So many attempts of the jobs of one partition start within any period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_rate_limit: Option<u32>,
    /// The length of that period in milliseconds; [`RATE_PERIOD_MS`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_period_ms: Option<u32>,
}

/// What an operator says in place of what is declared. What is absent stays as declared; 0, or the
/// empty text, lifts the limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// So many attempts run at once on each node. It cannot be lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// In place of [`Limits::global_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_limit: Option<u32>,
    /// In place of [`Limits::partition_by`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<String>,
    /// In place of [`Limits::partition_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_limit: Option<u32>,
    /// In place of [`Limits::rate_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// In place of [`Limits::partition_rate_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_rate_limit: Option<u32>,
    /// In place of [`Limits::rate_period_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_period_ms: Option<u32>,
}

/// Why limits cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Nothing tells the partition.
    #[error(transparent)]
    NoPartition(#[from] NoPartition),
    /// Partitions are limited, and nothing says what they are.
    #[error("`{0}` limits each partition, so `partition_by` has to say what a partition is")]
    NothingToDivideBy(&'static str),
    /// A number is larger than a limit may be.
    #[error("`{0}` must be an integer from {1} to {2}")]
    OutOfRange(&'static str, u32, u32),
}

/// No limit is larger.
const LIMIT_MAX: u32 = 1_000_000;
/// No node runs more attempts of one queue at once.
const LOCAL_LIMIT_MAX: u32 = 1_000;
/// No period is longer: a week.
const PERIOD_MAX_MS: u32 = 7 * 86_400_000;

impl Limits {
    /// Whether anything limits the queue beyond what each node does by itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What holds once an operator has said something else.
    ///
    /// # Errors
    /// [`Contradiction`] of what would hold.
    pub fn overridden(&self, overrides: &Overrides) -> Result<Self, Contradiction> {
        let or = |said: Option<u32>, declared| match said {
            Some(0) => None,
            said => said.or(declared),
        };
        let partition_by = match overrides.partition_by.as_deref() {
            None => self.partition_by.clone(),
            Some("") => None,
            Some(text) => Some(text.parse()?),
        };
        let limits = Self {
            global_limit: or(overrides.global_limit, self.global_limit),
            partition_by,
            partition_limit: or(overrides.partition_limit, self.partition_limit),
            rate_limit: or(overrides.rate_limit, self.rate_limit),
            partition_rate_limit: or(overrides.partition_rate_limit, self.partition_rate_limit),
            rate_period_ms: or(overrides.rate_period_ms, self.rate_period_ms),
        };
        if overrides.limit.is_some_and(|limit| !(1..=LOCAL_LIMIT_MAX).contains(&limit)) {
            return Err(Contradiction::OutOfRange("limit", 1, LOCAL_LIMIT_MAX));
        }
        limits.check()?;
        Ok(limits)
    }

    /// Refuses what cannot hold.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn check(&self) -> Result<(), Contradiction> {
        let named = [
            ("global_limit", self.global_limit, LIMIT_MAX),
            ("partition_limit", self.partition_limit, LIMIT_MAX),
            ("rate_limit", self.rate_limit, LIMIT_MAX),
            ("partition_rate_limit", self.partition_rate_limit, LIMIT_MAX),
            ("rate_period_ms", self.rate_period_ms, PERIOD_MAX_MS),
        ];
        for (name, value, most) in named {
            if value.is_some_and(|value| !(1..=most).contains(&value)) {
                return Err(Contradiction::OutOfRange(name, 1, most));
            }
        }
        let divided = [
            ("partition_limit", self.partition_limit),
            ("partition_rate_limit", self.partition_rate_limit),
        ];
        let undivided = divided.into_iter().find(|(_, limit)| limit.is_some());
        match undivided.filter(|_| self.partition_by.is_none()) {
            Some((name, _)) => Err(Contradiction::NothingToDivideBy(name)),
            None => Ok(()),
        }
    }
}

impl Overrides {
    /// What was said before, with what is said now in its place.
    #[must_use]
    pub fn and_then(self, later: Self) -> Self {
        Self {
            limit: later.limit.or(self.limit),
            global_limit: later.global_limit.or(self.global_limit),
            partition_by: later.partition_by.or(self.partition_by),
            partition_limit: later.partition_limit.or(self.partition_limit),
            rate_limit: later.rate_limit.or(self.rate_limit),
            partition_rate_limit: later.partition_rate_limit.or(self.partition_rate_limit),
            rate_period_ms: later.rate_period_ms.or(self.rate_period_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_a_partition_is_read_as_it_is_written() {
        for text in ["organisation", "name", "key", "args.client_id", "args.client.id"] {
            assert_eq!(text.parse::<PartitionBy>().map(|by| by.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "org", "args", "args.", "args..id", "args.id."] {
            assert!(text.parse::<PartitionBy>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_operator_replaces_lifts_and_keeps() {
        let declared = Limits {
            global_limit: Some(3),
            rate_limit: Some(100),
            rate_period_ms: Some(1_000),
            ..Limits::default()
        };
        let said = Overrides { global_limit: Some(5), rate_limit: Some(0), ..Overrides::default() };

        let holds = declared.overridden(&said);

        let expected = Limits {
            global_limit: Some(5),
            rate_limit: None,
            rate_period_ms: Some(1_000),
            ..Limits::default()
        };
        assert_eq!(holds, Ok(expected));
    }

    #[test]
    fn partitions_cannot_be_limited_without_saying_what_they_are() {
        let said = Overrides { partition_limit: Some(2), ..Overrides::default() };

        let refused = Limits::default().overridden(&said);

        assert_eq!(refused, Err(Contradiction::NothingToDivideBy("partition_limit")));
    }
}
