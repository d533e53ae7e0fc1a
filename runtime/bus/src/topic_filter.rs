//! Topic filters: what a subscriber wants to hear.
//!
//! | text | wanted |
//! |---|---|
//! | `org:<org id>:<domain>:<aggregate id>` | one aggregate |
//! | `org:<org id>:<domain>` | a domain of an organisation |
//! | `org:<org id>:*` | everything of an organisation |
//! | `org:*:<domain>` | a domain of all organisations |
//! | `org:*:*` | everything |
//!
//! The last two cross tenants. Whoever reads a filter from a tenant's text has to look at its
//! [organisation](TopicFilter::org_id).

use std::fmt;
use std::str::FromStr;

use kernel::{OrgId, Topic};
use uuid::Uuid;

/// Which events a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicFilter {
    /// Everything; for the platform itself, since it crosses tenants.
    All,
    /// One domain of all organisations; for the platform itself as well.
    Domain(String),
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
            Self::Domain(domain) => topic.domain == *domain,
            Self::Organisation(org_id) => topic.org_id == *org_id,
            Self::Topic(wanted) => {
                wanted.org_id == topic.org_id
                    && wanted.domain == topic.domain
                    && (wanted.aggregate_id.is_none() || wanted.aggregate_id == topic.aggregate_id)
            }
        }
    }

    /// The only organisation whose events can match, if there is one.
    #[must_use]
    pub fn org_id(&self) -> Option<OrgId> {
        match self {
            Self::All | Self::Domain(_) => None,
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

impl fmt::Display for TopicFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("org:*:*"),
            Self::Domain(domain) => write!(formatter, "org:*:{domain}"),
            Self::Organisation(org_id) => write!(formatter, "org:{org_id}:*"),
            Self::Topic(topic) => topic.fmt(formatter),
        }
    }
}

/// Text is not a topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFilterError {
    /// It has too few or too many parts, or does not begin with `org`.
    #[error(
        "`{0}` is no topic filter: expected org:<org id>:<domain> or \
         org:<org id>:<domain>:<aggregate id>, with * for all organisations or all domains"
    )]
    Shape(String),
    /// The organisation is neither an id nor `*`.
    #[error("`{0}` is neither an organisation's id nor *")]
    Organisation(String),
    /// The domain is neither a name nor `*`.
    #[error("`{0}` is neither a domain's name (a-z, 0-9 and _) nor *")]
    Domain(String),
    /// The aggregate is no id.
    #[error("`{0}` is not an aggregate's id")]
    Aggregate(String),
    /// An aggregate is named, and not whose it is.
    #[error("`{0}` names an aggregate, so it must name its organisation and its domain too")]
    TooWide(String),
}

impl FromStr for TopicFilter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let (org, domain, aggregate) = match parts[..] {
            ["org", org, domain] => (org, domain, None),
            ["org", org, domain, aggregate] => (org, domain, Some(aggregate)),
            _ => return Err(ParseFilterError::Shape(text.to_owned())),
        };
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if domain != "*" && (domain.is_empty() || !domain.bytes().all(of_name)) {
            return Err(ParseFilterError::Domain(domain.to_owned()));
        }
        let org_id: Option<OrgId> = match org {
            "*" => None,
            _ => Some(org.parse().map_err(|_| ParseFilterError::Organisation(org.to_owned()))?),
        };
        let aggregate_id = aggregate
            .map(Uuid::from_str)
            .transpose()
            .map_err(|_| ParseFilterError::Aggregate(aggregate.unwrap_or_default().to_owned()))?;
        match (org_id, domain, aggregate_id) {
            (None, "*", None) => Ok(Self::All),
            (None, domain, None) => Ok(Self::Domain(domain.to_owned())),
            (Some(org_id), "*", None) => Ok(Self::Organisation(org_id)),
            (None, _, Some(_)) | (_, "*", Some(_)) => {
                Err(ParseFilterError::TooWide(text.to_owned()))
            }
            (Some(org_id), domain, aggregate_id) => {
                Ok(Self::Topic(Topic { org_id, domain: domain.to_owned(), aggregate_id }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_what_lies_within_it() {
        let (acme, zen) = (OrgId::new(), OrgId::new());
        let (order, other) = (Uuid::now_v7(), Uuid::now_v7());
        let told = Topic::aggregate(acme, "recruit", order);
        let cases = [
            (TopicFilter::All, true),
            (TopicFilter::Domain("recruit".into()), true),
            (TopicFilter::Domain("payroll".into()), false),
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

    #[test]
    fn a_filter_prints_and_parses_back() {
        let org_id = OrgId::new();
        let filters = [
            TopicFilter::All,
            TopicFilter::Domain("recruit".into()),
            TopicFilter::Organisation(org_id),
            Topic::domain(org_id, "recruit").into(),
            Topic::aggregate(org_id, "recruit", Uuid::now_v7()).into(),
        ];

        for filter in filters {
            assert_eq!(filter.to_string().parse(), Ok(filter));
        }
    }

    #[test]
    fn a_caller_learns_which_part_of_a_filter_is_wrong() {
        let (org_id, order) = (OrgId::new(), Uuid::now_v7());
        let cases = [
            ("recruit".to_owned(), "is no topic filter"),
            (format!("org:{org_id}"), "is no topic filter"),
            (format!("org:{org_id}:recruit:{order}:x"), "is no topic filter"),
            ("org:acme:recruit".to_owned(), "`acme` is neither an organisation's id nor *"),
            (format!("org:{org_id}:Recruit"), "`Recruit` is neither a domain's name"),
            (format!("org:{org_id}:"), "`` is neither a domain's name"),
            (format!("org:{org_id}:recruit:7"), "`7` is not an aggregate's id"),
            (format!("org:{org_id}:*:{order}"), "names an aggregate"),
            (format!("org:*:recruit:{order}"), "names an aggregate"),
        ];

        for (text, expected) in cases {
            let error = text.parse::<TopicFilter>().expect_err("it is no filter").to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
