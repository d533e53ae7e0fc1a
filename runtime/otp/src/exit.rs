//! Exit reasons: why a process ended, and why one did not start.
//!
//! ractor tells the end of an actor as optional text; a supervisor needs to know whether an end
//! was mild, a kill or a failure. So every process of ours records its reason as a value before
//! it is gone, and nobody ever parses text.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use futures_util::{FutureExt, TryFutureExt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::process::OsExit;
use crate::specification::SpecError;

/// Why a process ended.
///
/// Written as `normal`, `shutdown`, `shutdown:X`, `killed`, `error:X`, `exit:3` or
/// `signal:SIGKILL`, in JSON too.
///
/// # Examples
///
/// ```
/// use otp::ExitReason;
///
/// assert_eq!(ExitReason::failed("no luck").to_string(), "error:no luck");
/// assert_eq!("shutdown:upgrade".parse(), Ok(ExitReason::ShutdownWith("upgrade".to_owned())));
/// assert!(!ExitReason::Killed.is_mild());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// The process finished its work.
    Normal,
    /// Its supervisor told it to stop, or a supervisor gave up in good order.
    Shutdown,
    /// Like [`ExitReason::Shutdown`], with a word about why.
    ShutdownWith(String),
    /// It was killed; nothing of its own code ran after that.
    Killed,
    /// It returned an error or panicked; the text is the error or the message of the panic.
    Failed(String),
    /// The process of the operating system that it stood for ended in this way.
    Os(OsExit),
}

impl ExitReason {
    /// A failure with `cause` as its text.
    pub fn failed(cause: impl fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }

    /// Whether a transient child that ends so is left alone.
    #[must_use]
    pub const fn is_mild(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => formatter.write_str("normal"),
            Self::Shutdown => formatter.write_str("shutdown"),
            Self::ShutdownWith(word) => write!(formatter, "shutdown:{word}"),
            Self::Killed => formatter.write_str("killed"),
            Self::Failed(cause) => write!(formatter, "error:{cause}"),
            Self::Os(end) => end.fmt(formatter),
        }
    }
}

impl FromStr for ExitReason {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "normal" => Self::Normal,
            "shutdown" => Self::Shutdown,
            "killed" => Self::Killed,
            _ => match text.split_once(':') {
                Some(("shutdown", word)) => Self::ShutdownWith(word.to_owned()),
                Some(("error", cause)) => Self::Failed(cause.to_owned()),
                _ => text.parse().map_or_else(|_| Self::Failed(text.to_owned()), Self::Os),
            },
        })
    }
}

impl Serialize for ExitReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExitReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Ok(reason) = text.parse();
        Ok(reason)
    }
}

/// Why a start gave no process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Not a fault: the process says that it is not needed here. It is not started again.
    #[error("not wanted")]
    Ignore,
    /// The process cannot work, for this reason.
    #[error("{0}")]
    Failed(String),
    /// Its construction or initialisation panicked, with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// Its initialisation took longer than its specification allows.
    #[error("not up within {milliseconds} ms")]
    TimedOut {
        /// What the specification allows.
        milliseconds: u64,
    },
    /// A supervisor whose child did not start; the children before it have been stopped again.
    #[error("child {id:?} failed to start: {error}")]
    ChildFailed {
        /// The child.
        id: String,
        /// What it said.
        error: Box<StartError>,
    },
    /// A supervisor whose specification contradicts itself.
    #[error(transparent)]
    Refused(#[from] SpecError),
}

impl StartError {
    /// A failure with `cause` as its text.
    pub fn failed(cause: impl fmt::Display) -> Self {
        Self::Failed(cause.to_string())
    }
}

impl Serialize for StartError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Runs `future` and turns a panic into its message.
///
/// The state a panic leaves behind is never used again except to drop it, hence the assertion.
///
/// Every process holds such a future, so this is no `async fn`, which would keep room for it twice.
pub(crate) fn caught<F: Future>(future: F) -> impl Future<Output = Result<F::Output, String>> {
    AssertUnwindSafe(future).catch_unwind().map_err(|payload| panic_message(payload.as_ref()))
}

/// Calls what belongs to a user and turns a panic into its message; see [`caught`].
pub(crate) fn called<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| panic_message(payload.as_ref()))
}

pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_back_as_it_was_written() {
        let reasons = [
            ExitReason::Normal,
            ExitReason::Shutdown,
            ExitReason::ShutdownWith("x:y".to_owned()),
            ExitReason::Killed,
            ExitReason::Failed("no: really".to_owned()),
            ExitReason::Os(OsExit::Status(3)),
            ExitReason::Os(OsExit::Signal(9)),
        ];

        for reason in reasons {
            let json = serde_json::to_string(&reason).unwrap();

            assert_eq!(serde_json::from_str::<ExitReason>(&json).unwrap(), reason, "{json}");
        }
    }

    #[test]
    fn only_normal_and_the_two_shutdowns_are_mild() {
        let mild = [ExitReason::Normal, ExitReason::Shutdown, ExitReason::ShutdownWith("x".into())];
        let abnormal = [ExitReason::Killed, ExitReason::Failed("x".into())];

        assert!(mild.iter().all(ExitReason::is_mild));
        assert!(!abnormal.iter().any(ExitReason::is_mild));
    }
}
