//! How a command ends: the one table from what the platform answered to an exit code.

use hyper::StatusCode;

/// How a command ended, for the shell that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The platform is down or failed, or the chain is broken. Trying again later may help.
    Failed,
    /// Asked wrongly: the command line or the input breaks a rule.
    Refused,
    /// Nobody is known by the token, or there is none.
    Unauthenticated,
    /// The token may not do this.
    Forbidden,
    /// There is no such thing, or not for this organisation.
    NotFound,
    /// The state of things does not allow it now.
    Conflict,
    /// The thing has changed since it was read.
    Stale,
    /// Asked more often than allowed.
    Limited,
    /// The part of the platform that was asked for is down or full.
    Unavailable,
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Unauthenticated => 3,
            Self::Forbidden => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Stale => 7,
            Self::Limited => 8,
            Self::Unavailable => 9,
        }
    }

    /// How a command ends whose request was answered with `status`.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status {
            status if status.is_success() => Self::Done,
            // Too slow is about now, not about what was asked.
            StatusCode::REQUEST_TIMEOUT => Self::Failed,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED => Self::Stale,
            StatusCode::TOO_MANY_REQUESTS => Self::Limited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// Whether asking the same again later may end otherwise.
    pub(crate) const fn is_passing(self) -> bool {
        matches!(self, Self::Failed | Self::Limited | Self::Unavailable)
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
    fn each_kind_of_refusal_has_a_code_of_its_own() {
        let cases = [
            (200, 0),
            (201, 0),
            (204, 0),
            (400, 2),
            (401, 3),
            (403, 4),
            (404, 5),
            (405, 2),
            (409, 6),
            (412, 7),
            (428, 7),
            (413, 2),
            (422, 2),
            (408, 1),
            (429, 8),
            (500, 1),
            (502, 1),
            (503, 9),
            (302, 1),
        ];

        for (status, code) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(Exit::of(status).code(), code, "{status}");
        }
    }
}
