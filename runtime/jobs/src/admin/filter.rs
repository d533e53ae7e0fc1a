//! A filter: which jobs are meant, as an operator types it.
//!
//! `queue:recruit state:discarded tag:eu args.candidate.id:4711 error:"timed out"`: a job fits if
//! it fits every qualifier; where a qualifier takes several values, with commas between them, one
//! of them is enough.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use kernel::{JobId, OrgId, Timestamp};
use uuid::Uuid;

use crate::JobState;

/// Which jobs. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only these; all if empty.
    pub job_ids: Vec<JobId>,
    /// Only those of these queues; of all if empty.
    pub queues: Vec<String>,
    /// Only those in these states; in any if empty.
    pub states: Vec<JobState>,
    /// Only those of these names; of any if empty.
    pub names: Vec<String>,
    /// Only those that have each of these tags.
    pub tags: Vec<String>,
    /// Only those that work for these organisations; for any if empty.
    pub org_ids: Vec<OrgId>,
    /// Only those of these priorities; of any if empty.
    pub priorities: Vec<i16>,
    /// Only those whose last attempt ran on these nodes, each a name or a whole identity.
    pub nodes: Vec<String>,
    /// Only the steps of these workflows.
    pub workflow_ids: Vec<Uuid>,
    /// Only the members of these batches.
    pub batch_ids: Vec<Uuid>,
    /// Only those of these chains.
    pub chains: Vec<String>,
    /// Only those that the limits of their queue count under these keys.
    pub partitions: Vec<String>,
    /// Only those whose arguments or meta have these values.
    pub values: Vec<ValueAt>,
    /// Only those of these times.
    pub times: Vec<TimeLimit>,
    /// Only those with an error that contains each of these texts, in whatever case.
    pub errors: Vec<String>,
}

/// A value that a job has in its arguments or its meta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueAt {
    /// Where to look.
    pub document: Document,
    /// The names of the fields that lead to it; a number leads into a list, from 0.
    pub path: Vec<String>,
    /// The value, as text; `true` and `"true"` are alike here, and so are `7` and `"7"`.
    pub value: String,
}

/// What of a job has fields of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// The arguments.
    Args,
    /// The meta.
    Meta,
}

/// A time of a job that lies before or after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit {
    /// Which time of the job.
    pub moment: Moment,
    /// On which side.
    pub side: Side,
    /// Of what; a job of exactly this time is after it.
    pub at: Timestamp,
}

/// A time in the life of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// When it was enqueued.
    Inserted,
    /// When it is or was due.
    Scheduled,
    /// When its last attempt began.
    Attempted,
    /// When it was completed, cancelled or discarded.
    Finished,
}

/// Which side of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Earlier.
    Before,
    /// Later, or exactly then.
    After,
}

/// What is wrong with a filter, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A word without a qualifier.
    #[error("`{0}` has no qualifier; to find jobs of that name, write `name:{0}`")]
    Bare(String),
    /// There is no such qualifier.
    #[error("`{given}` is no qualifier; {hint}")]
    Unknown {
        /// What was written.
        given: String,
        /// What may have been meant.
        hint: String,
    },
    /// A qualifier without a value.
    #[error("`{0}:` needs a value")]
    Empty(String),
    /// A value that the qualifier does not know.
    #[error("`{qualifier}:` cannot be `{value}`; {hint}")]
    Value {
        /// The qualifier.
        qualifier: String,
        /// Its value.
        value: String,
        /// What would be right.
        hint: String,
    },
    /// A quotation without an end.
    #[error("a `\"` has no second one to end it")]
    Unquoted,
}

/// Every qualifier, but for `args.…` and `meta.…`.
const QUALIFIERS: [&str; 21] = [
    "attempted_after",
    "attempted_before",
    "batch",
    "chain",
    "error",
    "finished_after",
    "finished_before",
    "id",
    "inserted_after",
    "inserted_before",
    "name",
    "node",
    "org",
    "partition",
    "priority",
    "queue",
    "scheduled_after",
    "scheduled_before",
    "state",
    "tag",
    "workflow",
];

impl JobFilter {
    /// Reads a filter as it is typed. A time like `2h` is so long before `now`.
    ///
    /// # Errors
    /// [`FilterError`], which names the first qualifier that is wrong and what is near to it.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for word in words(text)? {
            let Some((qualifier, value)) = word.split_once(':') else {
                return Err(FilterError::Bare(word));
            };
            if value.is_empty() {
                return Err(FilterError::Empty(qualifier.to_owned()));
            }
            filter.add(qualifier, value, now)?;
        }
        Ok(filter)
    }

    /// Whether it means every job there is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, qualifier: &str, value: &str, now: Timestamp) -> Result<(), FilterError> {
        let texts = || value.split(',').map(str::to_owned);
        match qualifier {
            "id" => read_all(&mut self.job_ids, qualifier, value, "an id is a UUID")?,
            "queue" => self.queues.extend(texts()),
            "state" => self.add_states(value)?,
            "name" => self.names.extend(texts()),
            "tag" => self.tags.push(value.to_owned()),
            "org" => read_all(&mut self.org_ids, qualifier, value, "an organisation is a UUID")?,
            "priority" => {
                let hint = "a priority is a number from 0, the first, to 9, the last";
                read_all(&mut self.priorities, qualifier, value, hint)?;
            }
            "node" => self.nodes.extend(texts()),
            "workflow" => {
                read_all(&mut self.workflow_ids, qualifier, value, "a workflow is a UUID")?;
            }
            "batch" => read_all(&mut self.batch_ids, qualifier, value, "a batch is a UUID")?,
            "chain" => self.chains.push(value.to_owned()),
            "partition" => self.partitions.push(value.to_owned()),
            "error" => self.errors.push(value.to_owned()),
            _ => match (moment(qualifier), document(qualifier)) {
                (Some((moment, side)), _) => {
                    let at = time(qualifier, value, now)?;
                    self.times.push(TimeLimit { moment, side, at });
                }
                (_, Some((document, path))) => {
                    self.values.push(ValueAt { document, path, value: value.to_owned() });
                }
                (None, None) => return Err(unknown(qualifier)),
            },
        }
        Ok(())
    }

    fn add_states(&mut self, value: &str) -> Result<(), FilterError> {
        for name in value.split(',') {
            let state = JobState::from_name(name).ok_or_else(|| FilterError::Value {
                qualifier: "state".to_owned(),
                value: name.to_owned(),
                hint: hint(name, &JobState::ALL.map(JobState::name)),
            })?;
            self.states.push(state);
        }
        Ok(())
    }
}

/// The words of a filter; what stands between two `"` is one word, or a part of one.
fn words(text: &str) -> Result<Vec<String>, FilterError> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut has_begun) = (false, false);
    for character in text.chars() {
        match character {
            '"' => {
                is_quoted = !is_quoted;
                has_begun = true;
            }
            blank if blank.is_whitespace() && !is_quoted => {
                if std::mem::take(&mut has_begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => {
                word.push(other);
                has_begun = true;
            }
        }
    }
    if has_begun {
        words.push(word);
    }
    if is_quoted { Err(FilterError::Unquoted) } else { Ok(words) }
}

/// Adds each of the values between the commas.
fn read_all<T: FromStr>(
    into: &mut Vec<T>,
    qualifier: &str,
    values: &str,
    hint: &str,
) -> Result<(), FilterError> {
    for value in values.split(',') {
        let read = value.parse().map_err(|_| FilterError::Value {
            qualifier: qualifier.to_owned(),
            value: value.to_owned(),
            hint: hint.to_owned(),
        })?;
        into.push(read);
    }
    Ok(())
}

fn moment(qualifier: &str) -> Option<(Moment, Side)> {
    let (moment, side) = qualifier.split_once('_')?;
    let moment = match moment {
        "inserted" => Moment::Inserted,
        "scheduled" => Moment::Scheduled,
        "attempted" => Moment::Attempted,
        "finished" => Moment::Finished,
        _ => return None,
    };
    let side = match side {
        "before" => Side::Before,
        "after" => Side::After,
        _ => return None,
    };
    Some((moment, side))
}

fn document(qualifier: &str) -> Option<(Document, Vec<String>)> {
    let (document, path) = qualifier.split_once('.')?;
    let document = match document {
        "args" => Document::Args,
        "meta" => Document::Meta,
        _ => return None,
    };
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    path.iter().all(|name| !name.is_empty()).then_some((document, path))
}

/// An instant, a day at its beginning, or a time so long before now.
fn time(qualifier: &str, value: &str, now: Timestamp) -> Result<Timestamp, FilterError> {
    let instant = || value.parse::<Timestamp>().ok();
    let day = || Some(value.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
    let found = instant().or_else(day).or_else(|| now.checked_sub_signed(span(value)?));
    found.ok_or_else(|| FilterError::Value {
        qualifier: qualifier.to_owned(),
        value: value.to_owned(),
        hint: "a time is `2026-03-04T05:06:07Z`, a day `2026-03-04`, and `90s`, `30m`, `2h` and \
               `7d` are so long ago"
            .to_owned(),
    })
}

fn span(value: &str) -> Option<TimeDelta> {
    let unit = value.chars().last()?;
    let count: i64 = value.strip_suffix(unit)?.parse().ok().filter(|count| *count >= 0)?;
    match unit {
        's' => TimeDelta::try_seconds(count),
        'm' => TimeDelta::try_minutes(count),
        'h' => TimeDelta::try_hours(count),
        'd' => TimeDelta::try_days(count),
        _ => None,
    }
}

fn unknown(qualifier: &str) -> FilterError {
    let hint = match qualifier {
        "args" | "meta" => format!("write `{qualifier}.field:value`"),
        _ => hint(qualifier, &QUALIFIERS),
    };
    FilterError::Unknown { given: qualifier.to_owned(), hint }
}

/// Half a sentence that leads to the right word: the nearest one, or all when none is near.
fn hint(wrong: &str, names: &[&str]) -> String {
    let distance = |name: &str| strsim::damerau_levenshtein(wrong, name);
    let nearest = names.iter().min_by_key(|name| distance(name));
    match nearest {
        Some(name) if distance(name) <= wrong.len().max(name.len()) / 2 => {
            format!("did you mean `{name}`?")
        }
        _ => format!("expected one of `{}`", names.join("`, `")),
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inserted => "inserted",
            Self::Scheduled => "scheduled",
            Self::Attempted => "attempted",
            Self::Finished => "finished",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-04T05:06:07Z".parse().expect("the time is well-formed")
    }

    #[test]
    fn a_filter_is_read_as_it_is_typed() {
        let text = r#"queue:recruit,payroll state:discarded tag:eu tag:night priority:0,1
            args.candidate.id:4711 meta.source:import error:"timed out" inserted_after:2h
            finished_before:2026-03-01"#;

        let filter = JobFilter::parse(text, now()).expect("the filter is well-formed");

        let expected = JobFilter {
            queues: vec!["recruit".into(), "payroll".into()],
            states: vec![JobState::Discarded],
            tags: vec!["eu".into(), "night".into()],
            priorities: vec![0, 1],
            values: vec![
                ValueAt {
                    document: Document::Args,
                    path: vec!["candidate".into(), "id".into()],
                    value: "4711".into(),
                },
                ValueAt {
                    document: Document::Meta,
                    path: vec!["source".into()],
                    value: "import".into(),
                },
            ],
            errors: vec!["timed out".into()],
            times: vec![
                TimeLimit {
                    moment: Moment::Inserted,
                    side: Side::After,
                    at: now() - TimeDelta::hours(2),
                },
                TimeLimit {
                    moment: Moment::Finished,
                    side: Side::Before,
                    at: "2026-03-01T00:00:00Z".parse().expect("the time is well-formed"),
                },
            ],
            ..JobFilter::default()
        };
        assert_eq!(filter, expected);
        assert!(JobFilter::parse("  ", now()).is_ok_and(|filter| filter.is_empty()));
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_told_with_what_is_near_to_it() {
        let cases = [
            ("stat:discarded", "`stat` is no qualifier; did you mean `state`?"),
            ("inserted_afer:2h", "`inserted_afer` is no qualifier; did you mean `inserted_after`?"),
            ("args:7", "`args` is no qualifier; write `args.field:value`"),
            ("state:discared", "`state:` cannot be `discared`; did you mean `discarded`?"),
            ("state:", "`state:` needs a value"),
            ("priority:first", "`priority:` cannot be `first`; a priority is a number from 0"),
            ("org:acme", "`org:` cannot be `acme`; an organisation is a UUID"),
            ("inserted_after:noon", "`inserted_after:` cannot be `noon`; a time is"),
            ("send_outreach", "to find jobs of that name, write `name:send_outreach`"),
            ("error:\"timed out", "has no second one to end it"),
            ("xyzzyplugh:1", "expected one of `attempted_after`"),
        ];

        for (text, expected) in cases {
            let error = JobFilter::parse(text, now()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_qualifier_that_is_suggested_is_understood() {
        for qualifier in QUALIFIERS {
            let value = match qualifier {
                "state" => "available",
                "priority" => "3",
                "id" | "org" | "batch" | "workflow" => "01a1fc4e-1976-7176-8cc4-cb83d9fe2a30",
                _ if moment(qualifier).is_some() => "90s",
                _ => "x",
            };

            let read = JobFilter::parse(&format!("{qualifier}:{value}"), now());

            assert!(read.is_ok_and(|filter| !filter.is_empty()), "{qualifier}");
        }
    }
}
