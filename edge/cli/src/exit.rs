//! How a command ends: the one table from what the platform answered to an exit code.

use hyper::StatusCode;

/// How a command ended, for the shell that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The platform is down or failed, or the chain is broken. Trying again later may help.
    Failed,
    /// Asked wrongly or refused. Asking the same again will not help.
    Refused,
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
        }
    }

    /// How a command ends whose request was answered with `status`.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status {
            status if status.is_success() => Self::Done,
            // Too slow and too many are about now, not about what was asked.
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Self::Failed,
            status if status.is_client_error() => Self::Refused,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_and_a_failure_are_told_apart() {
        let cases = [
            (200, 0),
            (201, 0),
            (204, 0),
            (400, 2),
            (401, 2),
            (403, 2),
            (404, 2),
            (409, 2),
            (422, 2),
            (408, 1),
            (429, 1),
            (500, 1),
            (502, 1),
            (503, 1),
            (302, 1),
        ];

        for (status, code) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(Exit::of(status).code(), code, "{status}");
        }
    }
}
