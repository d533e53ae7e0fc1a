//! How a process of the operating system ended: with a status of its own, or by a signal.
//!
//! An abort, a stack overflow, memory that ran out and a kill from outside are all signals here, so
//! the signal's name is what an operator wants to read first.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::str::FromStr;

use rustix::process::Signal;

/// The names of the signals that end processes, with the numbers they have here.
const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", Signal::HUP.as_raw()),
    ("SIGINT", Signal::INT.as_raw()),
    ("SIGQUIT", Signal::QUIT.as_raw()),
    ("SIGILL", Signal::ILL.as_raw()),
    ("SIGTRAP", Signal::TRAP.as_raw()),
    ("SIGABRT", Signal::ABORT.as_raw()),
    ("SIGBUS", Signal::BUS.as_raw()),
    ("SIGFPE", Signal::FPE.as_raw()),
    ("SIGKILL", Signal::KILL.as_raw()),
    ("SIGUSR1", Signal::USR1.as_raw()),
    ("SIGSEGV", Signal::SEGV.as_raw()),
    ("SIGUSR2", Signal::USR2.as_raw()),
    ("SIGPIPE", Signal::PIPE.as_raw()),
    ("SIGALRM", Signal::ALARM.as_raw()),
    ("SIGTERM", Signal::TERM.as_raw()),
    ("SIGXCPU", Signal::XCPU.as_raw()),
    ("SIGXFSZ", Signal::XFSZ.as_raw()),
    ("SIGSYS", Signal::SYS.as_raw()),
];

/// How a process of the operating system ended, unless it was with status 0.
///
/// Written as `exit:3` or `signal:SIGSEGV`; a signal without a name is written as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OsExit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal, whoever sent it: the kernel, itself as it aborted, or a stranger.
    Signal(i32),
}

impl OsExit {
    /// The name of the signal, if it was one that has a name.
    #[must_use]
    pub fn signal_name(self) -> Option<&'static str> {
        let Self::Signal(number) = self else { return None };
        SIGNALS.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
    }

    /// The end that `status` tells; `None` for one without fault.
    pub(crate) fn of(status: ExitStatus) -> Option<Self> {
        match (status.code(), status.signal()) {
            (Some(0), _) => None,
            (Some(code), _) => Some(Self::Status(code)),
            (None, Some(signal)) => Some(Self::Signal(signal)),
            // Only a process that was stopped or continued has neither, and nobody waits for that.
            (None, None) => Some(Self::Status(-1)),
        }
    }
}

impl fmt::Display for OsExit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.signal_name()) {
            (_, Some(name)) => write!(formatter, "signal:{name}"),
            (Self::Signal(number), None) => write!(formatter, "signal:{number}"),
            (Self::Status(code), None) => write!(formatter, "exit:{code}"),
        }
    }
}

impl FromStr for OsExit {
    type Err = UnknownEnd;

    fn from_str(text: &str) -> Result<Self, UnknownEnd> {
        let unknown = || UnknownEnd(text.to_owned());
        match text.split_once(':').ok_or_else(unknown)? {
            ("exit", code) => code.parse().map(Self::Status).map_err(|_| unknown()),
            ("signal", signal) => {
                let named = SIGNALS.iter().find(|(name, _)| *name == signal);
                let number = named.map_or_else(|| signal.parse().ok(), |(_, number)| Some(*number));
                number.map(Self::Signal).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }
}

/// A text that tells no end of a process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither exit:<status> nor signal:<name>")]
pub struct UnknownEnd(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reads_back_as_it_was_written() {
        let ends = [
            (OsExit::Status(3), "exit:3"),
            (OsExit::Signal(9), "signal:SIGKILL"),
            (OsExit::Signal(40), "signal:40"),
        ];

        for (end, text) in ends {
            assert_eq!(end.to_string(), text);
            assert_eq!(text.parse(), Ok(end));
        }
    }

    #[test]
    fn what_is_no_end_is_refused_with_its_text() {
        for text in ["killed", "exit:many", "signal:SIGNAL"] {
            assert_eq!(text.parse::<OsExit>(), Err(UnknownEnd(text.to_owned())));
        }
    }
}
