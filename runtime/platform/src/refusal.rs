//! Refusal and failure: the two ways a call does not succeed.
//!
//! A refusal is an answer: the caller asked for something the rules do not allow, and asking again
//! will not help. A failure is a fault of ours: it is logged, retried and supervised. The [`Kind`]
//! decides everything later, and every surface has one table from kind to its own words.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The answer of everything a caller can ask for.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of answer an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The input breaks a rule; the caller must change it.
    Invalid,
    /// Nobody is known by the credentials given.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// There is no such thing, or not for this organisation.
    NotFound,
    /// The state of things does not allow it now.
    Conflict,
    /// The thing has changed since the caller read it; reading it again helps.
    Stale,
    /// The caller asks more often than it may; asking again later helps.
    Limited,
    /// The part of the platform asked for is down or full; asking again later helps.
    Unavailable,
    /// A fault of ours.
    Failure,
}

impl Kind {
    /// The name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::Limited => "limited",
            Self::Unavailable => "unavailable",
            Self::Failure => "failure",
        }
    }
}

/// Why something was refused: a kind for machines to act on, a stable code to tell rules apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    kind: Kind,
    code: Cow<'static, str>,
    field: Option<&'static str>,
}

impl Reason {
    const fn new(kind: Kind, code: &'static str) -> Self {
        Self { kind, code: Cow::Borrowed(code), field: None }
    }
    /// The input breaks a rule.
    #[must_use]
    pub const fn invalid(code: &'static str) -> Self {
        Self::new(Kind::Invalid, code)
    }
    /// There is no such thing, or not for this organisation.
    #[must_use]
    pub const fn not_found(code: &'static str) -> Self {
        Self::new(Kind::NotFound, code)
    }
    /// The state of things does not allow it now.
    #[must_use]
    pub const fn conflict(code: &'static str) -> Self {
        Self::new(Kind::Conflict, code)
    }
    /// The thing has changed since the caller read it.
    #[must_use]
    pub const fn stale(code: &'static str) -> Self {
        Self::new(Kind::Stale, code)
    }
    /// The caller may not do this.
    #[must_use]
    pub const fn forbidden(code: &'static str) -> Self {
        Self::new(Kind::Forbidden, code)
    }
    /// Nobody is known by the credentials given.
    #[must_use]
    pub const fn unauthenticated(code: &'static str) -> Self {
        Self::new(Kind::Unauthenticated, code)
    }
    /// A reason that was given in another process of ours.
    pub(crate) const fn relayed(kind: Kind, code: String) -> Self {
        Self { kind, code: Cow::Owned(code), field: None }
    }
    /// Names the offending field by its JSON Pointer, for example `/headcount`.
    #[must_use]
    pub const fn at(mut self, pointer: &'static str) -> Self {
        self.field = Some(pointer);
        self
    }
    /// What kind of answer this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
    /// The stable code of the rule.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}

/// A business rule that said no. Each variant's message is a sentence to the user, with the
/// offending value, in lower case and without a full stop.
pub trait Refusal: std::error::Error + Send + Sync + 'static {
    /// Kind and stable code of the rule.
    fn reason(&self) -> Reason;
}

/// One field of the input and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldError {
    /// JSON Pointer to the field; empty for the input as a whole.
    pub pointer: String,
    /// What is wrong, as a sentence.
    pub message: String,
}

/// Why a call did not succeed.
#[derive(Debug)]
pub enum Error {
    /// A rule said no.
    Refused {
        /// Kind and code.
        reason: Reason,
        /// A sentence to the user.
        message: String,
        /// The offending fields, if fields are to blame.
        fields: Vec<FieldError>,
    },
    /// The caller asks more often than it may.
    Limited {
        /// Which limit, as a sentence.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// A part of the platform is down, full or starting; asking again later helps.
    Unavailable {
        /// What is missing, as a sentence.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// A fault of ours; the caller learns only that it happened.
    Failure(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A refusal of the platform itself.
    pub(crate) fn refused(reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        let fields = reason
            .field
            .map(|pointer| FieldError { pointer: pointer.to_owned(), message: message.clone() })
            .into_iter()
            .collect();
        Self::Refused { reason, message, fields }
    }

    /// The input does not have the right form; every offending field is named.
    pub(crate) fn malformed(fields: Vec<FieldError>) -> Self {
        let message = match fields.as_slice() {
            [only] if only.pointer.is_empty() => only.message.clone(),
            [only] => format!("{}: {}", only.pointer, only.message),
            many => format!("{} fields are not as they should be", many.len()),
        };
        Self::Refused { reason: Reason::invalid("malformed_input"), message, fields }
    }

    /// A fault of ours with its cause.
    pub fn failure(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failure(cause.into())
    }

    /// A part of the platform that will be back.
    pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::Unavailable { message: message.into(), retry_after }
    }

    /// A limit that gives way with time.
    pub fn limited(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::Limited { message: message.into(), retry_after }
    }

    /// What kind of answer this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Refused { reason, .. } => reason.kind,
            Self::Limited { .. } => Kind::Limited,
            Self::Unavailable { .. } => Kind::Unavailable,
            Self::Failure(_) => Kind::Failure,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { reason, .. } => &reason.code,
            Self::Limited { .. } => "limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Failure(_) => "failure",
        }
    }

    /// The sentence a caller may see. A failure's cause stays in the log.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. }
            | Self::Limited { message, .. }
            | Self::Unavailable { message, .. } => message,
            Self::Failure(_) => {
                "something went wrong on our side; the request id finds it in the log"
            }
        }
    }

    /// The offending fields, if fields are to blame.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        match self {
            Self::Refused { fields, .. } => fields,
            _ => &[],
        }
    }

    /// When to ask again, for what is unavailable or limited.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::Limited { retry_after, .. } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { message, .. }
            | Self::Limited { message, .. }
            | Self::Unavailable { message, .. } => f.write_str(message),
            Self::Failure(cause) => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failure(cause) => cause.source(),
            _ => None,
        }
    }
}

impl<R: Refusal> From<R> for Error {
    fn from(refusal: R) -> Self {
        Self::refused(refusal.reason(), refusal.to_string())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if kernel::is_outage(&error) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database does not answer"
            );
            return Self::unavailable(
                "the database does not answer just now",
                Duration::from_secs(1),
            );
        }
        Self::failure(error)
    }
}

impl From<store::ReadError> for Error {
    fn from(error: store::ReadError) -> Self {
        match error {
            store::ReadError::Database(error) => error.into(),
            other => Self::failure(other),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::failure(error)
    }
}

impl From<kernel::TooManyHops> for Error {
    fn from(error: kernel::TooManyHops) -> Self {
        Self::refused(Reason::conflict("too_many_hops"), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a job order needs at least one person, not {0}")]
    struct NoHeadcount(u32);
    impl Refusal for NoHeadcount {
        fn reason(&self) -> Reason {
            Reason::invalid("no_headcount").at("/headcount")
        }
    }

    #[test]
    fn a_refusal_names_its_field_and_keeps_its_sentence() {
        let error = Error::from(NoHeadcount(0));

        assert_eq!((error.kind(), error.code()), (Kind::Invalid, "no_headcount"));
        assert_eq!(error.message(), "a job order needs at least one person, not 0");
        assert_eq!(error.fields()[0].pointer, "/headcount");
    }

    #[test]
    fn a_failure_keeps_its_cause_from_the_caller() {
        let error = Error::failure("password of the database is hunter2");

        assert!(!error.message().contains("hunter2"));
    }
}
