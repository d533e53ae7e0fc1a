//! Topic filters: what a subscriber wants to hear.

use kernel::{OrgId, Topic};

/// Which events a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicFilter {
    /// Everything; for the platform itself, since it crosses tenants.
    All,
    /// Everything of one organisation.
    Organisation(OrgId),
    /// A topic: a domain of an organisation, or one aggregate of it.
    Topic(Topic),
}

impl TopicFilter {
    /// Whether an event of `topic` is wanted.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::All => true,
            Self::Organisation(org_id) => topic.org_id == *org_id,
            Self::Topic(wanted) => {
                wanted.org_id == topic.org_id
                    && wanted.domain == topic.domain
                    && (wanted.aggregate_id.is_none() || wanted.aggregate_id == topic.aggregate_id)
            }
        }
    }

    /// The only organisation whose events can match, if there is one.
    pub(crate) fn org_id(&self) -> Option<OrgId> {
        match self {
            Self::All => None,
            Self::Organisation(org_id) => Some(*org_id),
            Self::Topic(topic) => Some(topic.org_id),
        }
    }
}

impl From<Topic> for TopicFilter {
    fn from(topic: Topic) -> Self {
        Self::Topic(topic)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_filter_matches_what_lies_within_it() {
        let (acme, zen) = (OrgId::new(), OrgId::new());
        let (order, other) = (Uuid::now_v7(), Uuid::now_v7());
        let told = Topic::aggregate(acme, "recruit", order);
        let cases = [
            (TopicFilter::All, true),
            (TopicFilter::Organisation(acme), true),
            (TopicFilter::Organisation(zen), false),
            (Topic::domain(acme, "recruit").into(), true),
            (Topic::domain(acme, "payroll").into(), false),
            (Topic::domain(zen, "recruit").into(), false),
            (Topic::aggregate(acme, "recruit", order).into(), true),
            (Topic::aggregate(acme, "recruit", other).into(), false),
        ];

        for (filter, expected) in cases {
            assert_eq!(filter.matches(&told), expected, "{filter:?}");
        }
    }
}
