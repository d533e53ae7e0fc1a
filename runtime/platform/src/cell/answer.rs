//! Answers on the wire: what came of a call, such that a caller cannot tell where it was answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dispatch::Answer;
use crate::refusal::{Error, FieldError, Kind, Reason, Result};

/// What came of a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answered {
    Value {
        value: Value,
        is_replayed: bool,
    },
    Refused {
        kind: Kind,
        code: String,
        message: String,
        fields: Vec<FieldError>,
    },
    Limited {
        message: String,
        retry_after: Duration,
    },
    Unavailable {
        message: String,
        retry_after: Duration,
    },
    /// The cause, for the log of the platform.
    Failure(String),
}

impl From<Result<Answer>> for Answered {
    fn from(result: Result<Answer>) -> Self {
        match result {
            Ok(Answer { value, is_replayed }) => Self::Value { value, is_replayed },
            Err(Error::Refused { reason, message, fields }) => {
                Self::Refused { kind: reason.kind(), code: reason.code().into(), message, fields }
            }
            Err(Error::Limited { message, retry_after }) => Self::Limited { message, retry_after },
            Err(Error::Unavailable { message, retry_after }) => {
                Self::Unavailable { message, retry_after }
            }
            Err(Error::Failure(cause)) => Self::Failure(whole(&*cause)),
        }
    }
}

/// A cause with all that caused it; the value itself stays behind.
fn whole(cause: &(dyn std::error::Error + 'static)) -> String {
    let mut text = cause.to_string();
    let mut below = cause.source();
    while let Some(source) = below {
        text = format!("{text}: {source}");
        below = source.source();
    }
    text
}

impl From<Answered> for Result<Answer> {
    fn from(answered: Answered) -> Self {
        match answered {
            Answered::Value { value, is_replayed } => Ok(Answer { value, is_replayed }),
            Answered::Refused { kind, code, message, fields } => {
                Err(Error::Refused { reason: Reason::relayed(kind, code), message, fields })
            }
            Answered::Limited { message, retry_after } => {
                Err(Error::Limited { message, retry_after })
            }
            Answered::Unavailable { message, retry_after } => {
                Err(Error::Unavailable { message, retry_after })
            }
            Answered::Failure(cause) => Err(Error::failure(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(error: Error) -> Error {
        let written = serde_json::to_string(&Answered::from(Err(error))).expect("it is written");
        let read: Answered = serde_json::from_str(&written).expect("it is read");
        Result::from(read).expect_err("an error stays one")
    }

    fn told(error: &Error) -> (Kind, String, String, Vec<FieldError>, Option<Duration>) {
        let (code, message) = (error.code().to_owned(), error.message().to_owned());
        (error.kind(), code, message, error.fields().to_vec(), error.retry_after())
    }

    #[test]
    fn an_error_tells_a_caller_the_same_after_its_way() {
        let errors = || {
            [
                Error::refused(Reason::conflict("taken").at("/title"), "`A` is taken"),
                Error::malformed(vec![
                    FieldError { pointer: "/a".to_owned(), message: "is missing".to_owned() },
                    FieldError { pointer: "/b".to_owned(), message: "is no number".to_owned() },
                ]),
                Error::limited("too often", Duration::from_millis(700)),
                Error::unavailable("full", Duration::from_millis(1_500)),
                Error::failure("a secret cause"),
            ]
        };

        for (here, there) in errors().into_iter().zip(errors().map(relayed)) {
            assert_eq!(told(&here), told(&there));
            assert_eq!(here.to_string(), there.to_string(), "and the log the same too");
        }
    }
}
