//! The rules of a new job: what is refused before it reaches its queue.
//!
//! The database would refuse most of it too, but in words about columns, and only after a round
//! trip that costs the caller's transaction.

use std::time::Duration;

use serde_json::Value;

use crate::{ARGS_BYTES_MAX, EnqueueError, NewJob};

/// What a maker may note about a job; more belongs into the arguments or a table of the domain.
pub const META_BYTES_MAX: usize = 8 * 1024;
/// A job has so many tags at most.
pub const TAGS_MAX: usize = 16;
/// A tag has so many characters at most.
pub const TAG_CHARS_MAX: usize = 64;
/// The last of the priorities, which begin with 0.
pub const PRIORITY_MAX: i16 = 9;

/// The key of a chain is no longer than this.
pub const CHAIN_KEY_BYTES_MAX: usize = 512;

/// A rule that a new job breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJob {
    /// There are ten priorities.
    #[error("its priority is {0}; priorities go from 0 (first) to {PRIORITY_MAX} (last)")]
    Priority(i16),
    /// A job that may not be attempted would wait for ever.
    #[error("it may be attempted 0 times; allow at least one attempt")]
    NoAttempts,
    /// An attempt without time could not even fail.
    #[error("an attempt may take {0:?}; allow at least a millisecond")]
    NoTime(Duration),
    /// Notes are found by their names.
    #[error("its meta is no JSON object")]
    MetaIsNoObject,
    /// Every attempt is given them, and every list shows them.
    #[error("its meta is {0} bytes long, more than {META_BYTES_MAX}")]
    MetaTooLarge(usize),
    /// Tags are for finding jobs, not for keeping data.
    #[error("it has {0} tags, more than {TAGS_MAX}")]
    TooManyTags(usize),
    /// A tag is a word.
    #[error("`{0}` is no tag: one has 1 to {TAG_CHARS_MAX} visible characters")]
    Tag(String),
    /// A chain is found by its key.
    #[error("the key of its chain is {0} bytes long, more than {CHAIN_KEY_BYTES_MAX}")]
    ChainKeyTooLong(usize),
    /// Postgres keeps the character in no text.
    #[error("the character U+0000 stands in its {0}, and Postgres cannot keep it")]
    Nul(&'static str),
}

impl NewJob {
    /// Refuses what could not be enqueued or never performed.
    ///
    /// # Errors
    /// [`EnqueueError::ArgsTooLarge`], or [`EnqueueError::Malformed`] with the first rule broken.
    pub fn check(&self) -> Result<(), EnqueueError> {
        let args = self.args.to_string();
        if args.len() > ARGS_BYTES_MAX {
            return Err(EnqueueError::ArgsTooLarge { name: self.name.clone(), bytes: args.len() });
        }
        self.first_broken(&args)
            .map_or(Ok(()), |rule| Err(EnqueueError::Malformed { name: self.name.clone(), rule }))
    }

    fn first_broken(&self, args: &str) -> Option<BadJob> {
        if !(0..=PRIORITY_MAX).contains(&self.priority) {
            return Some(BadJob::Priority(self.priority));
        }
        if self.max_attempts == 0 {
            return Some(BadJob::NoAttempts);
        }
        if self.timeout < Duration::from_millis(1) {
            return Some(BadJob::NoTime(self.timeout));
        }
        if has_nul(args, &self.args) {
            return Some(BadJob::Nul("arguments"));
        }
        let chain_key = self.chain.as_ref().map_or("", |chain| &chain.key);
        if chain_key.len() > CHAIN_KEY_BYTES_MAX {
            return Some(BadJob::ChainKeyTooLong(chain_key.len()));
        }
        if chain_key.contains('\0') {
            return Some(BadJob::Nul("chain key"));
        }
        broken_by_meta(&self.meta).or_else(|| broken_by_tags(&self.tags))
    }
}

fn broken_by_meta(meta: &Value) -> Option<BadJob> {
    match meta {
        Value::Object(notes) if notes.is_empty() => None,
        Value::Object(_) => {
            let text = meta.to_string();
            if text.len() > META_BYTES_MAX {
                return Some(BadJob::MetaTooLarge(text.len()));
            }
            has_nul(&text, meta).then_some(BadJob::Nul("meta"))
        }
        _ => Some(BadJob::MetaIsNoObject),
    }
}

fn broken_by_tags(tags: &[String]) -> Option<BadJob> {
    if tags.len() > TAGS_MAX {
        return Some(BadJob::TooManyTags(tags.len()));
    }
    tags.iter().find(|tag| !is_tag(tag)).map(|tag| {
        let quoted = tag.chars().take(TAG_CHARS_MAX).collect::<String>();
        BadJob::Tag(quoted.escape_debug().to_string())
    })
}

fn is_tag(tag: &str) -> bool {
    let is_visible = |character: char| !character.is_control() && !character.is_whitespace();
    (1..=TAG_CHARS_MAX).contains(&tag.chars().count()) && tag.chars().all(is_visible)
}

/// Looks into the value only if its text gives reason to: a backslash before `u0000` may itself be
/// escaped.
fn has_nul(text: &str, value: &Value) -> bool {
    fn look(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(look),
            Value::Object(fields) => {
                fields.iter().any(|(name, value)| name.contains('\0') || look(value))
            }
            _ => false,
        }
    }
    text.contains("\\u0000") && look(value)
}

#[cfg(test)]
mod tests {
    use kernel::{OrgId, Scope};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn refusal(change: impl FnOnce(&mut NewJob)) -> Option<String> {
        let scope = Scope::system(OrgId::new(), "test", Uuid::now_v7());
        let mut job = NewJob::new("recruit", "work", json!({"path": "a\\u0000"}), scope);
        change(&mut job);
        job.check().err().map(|error| match error {
            EnqueueError::Malformed { rule, .. } => rule.to_string(),
            other => other.to_string(),
        })
    }

    #[test]
    fn a_job_as_it_should_be_is_not_refused() {
        assert_eq!(refusal(|_| {}), None);
        assert_eq!(refusal(|job| job.priority = 9), None);
        assert_eq!(refusal(|job| job.tags = vec!["über-eilig".into()]), None);
        assert_eq!(refusal(|job| job.meta = json!({"from": "a test"})), None);
    }

    #[test]
    fn a_refusal_names_the_rule_and_the_value() {
        let priority = "its priority is 10; priorities go from 0 (first) to 9 (last)";
        assert_eq!(refusal(|job| job.priority = 10).as_deref(), Some(priority));
        let attempts = "it may be attempted 0 times; allow at least one attempt";
        assert_eq!(refusal(|job| job.max_attempts = 0).as_deref(), Some(attempts));
        let time = "an attempt may take 0ns; allow at least a millisecond";
        assert_eq!(refusal(|job| job.timeout = Duration::ZERO).as_deref(), Some(time));
        let meta = "its meta is no JSON object";
        assert_eq!(refusal(|job| job.meta = json!([])).as_deref(), Some(meta));
        let large = json!({"note": "a".repeat(META_BYTES_MAX)});
        let meta = "its meta is 8203 bytes long, more than 8192";
        assert_eq!(refusal(|job| job.meta = large).as_deref(), Some(meta));
        let tag = "`two words` is no tag: one has 1 to 64 visible characters";
        assert_eq!(refusal(|job| job.tags = vec!["two words".into()]).as_deref(), Some(tag));
        let tags = "it has 17 tags, more than 16";
        assert_eq!(refusal(|job| job.tags = vec!["tag".into(); 17]).as_deref(), Some(tags));
        let nul = "the character U+0000 stands in its arguments, and Postgres cannot keep it";
        assert_eq!(refusal(|job| job.args = json!({"a": ["\0"]})).as_deref(), Some(nul));
    }
}
