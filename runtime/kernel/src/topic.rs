//! Topics: what one can listen to. `org:<org_id>:<domain>`, or `…:<aggregate_id>` for one
//! aggregate.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::OrgId;

/// A subject of live events: everything a domain of an organisation tells, or one aggregate's part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The organisation.
    pub org_id: OrgId,
    /// The domain.
    pub domain: String,
    /// One aggregate only.
    pub aggregate_id: Option<Uuid>,
}

impl Topic {
    /// Everything `domain` tells within an organisation.
    #[must_use]
    pub fn domain(org_id: OrgId, domain: impl Into<String>) -> Self {
        Self { org_id, domain: domain.into(), aggregate_id: None }
    }

    /// What `domain` tells of one aggregate.
    #[must_use]
    pub fn aggregate(org_id: OrgId, domain: impl Into<String>, aggregate_id: Uuid) -> Self {
        Self { org_id, domain: domain.into(), aggregate_id: Some(aggregate_id) }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "org:{}:{}", self.org_id, self.domain)?;
        self.aggregate_id.map_or(Ok(()), |id| write!(f, ":{id}"))
    }
}

/// Text is not a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a topic: expected org:<org id>:<domain> or org:<org id>:<domain>:<aggregate id>"
)]
pub struct ParseTopicError(String);

impl FromStr for Topic {
    type Err = ParseTopicError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseTopicError(text.to_owned());
        let mut parts = text.split(':');
        let (Some("org"), Some(org), Some(domain)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        let org_id = org.parse().map_err(|_| refuse())?;
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if domain.is_empty() || !domain.bytes().all(valid) {
            return Err(refuse());
        }
        let aggregate_id = parts.next().map(Uuid::from_str).transpose().map_err(|_| refuse())?;
        if parts.next().is_some() {
            return Err(refuse());
        }
        Ok(Self { org_id, domain: domain.to_owned(), aggregate_id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_a_topic_is_refused() {
        let id = OrgId::new();
        let texts = ["", "org", "org::recruit", "room:lobby"].map(String::from);
        let more =
            [format!("org:{id}:"), format!("org:{id}:Recruit"), format!("org:{id}:recruit:x")];

        for text in texts.iter().chain(&more) {
            assert!(text.parse::<Topic>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_prints_and_parses_back(
            org: u128,
            domain in "[a-z][a-z0-9_]{0,20}",
            aggregate: Option<u128>,
        ) {
            let topic = Topic {
                org_id: OrgId::from_uuid(Uuid::from_u128(org)),
                domain,
                aggregate_id: aggregate.map(Uuid::from_u128),
            };

            prop_assert_eq!(topic.to_string().parse(), Ok(topic));
        }
    }
}
