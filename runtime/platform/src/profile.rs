//! Profiles: the commercial and the government (IRAP) deployment of the same binary.

use std::time::Duration;

/// Which rules of security hold. One variable decides: `FINNEST_ENV`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Sessions of an hour, a second factor for whoever wants one.
    #[default]
    Commercial,
    /// Sessions of 15 minutes, a second factor for everybody, and for everything destructive.
    Irap,
}

impl Profile {
    /// The name used in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commercial => "commercial",
            Self::Irap => "irap",
        }
    }

    /// How long a session lasts without a request.
    #[must_use]
    pub const fn session_idle(self) -> Duration {
        match self {
            Self::Commercial => Duration::from_hours(1),
            Self::Irap => Duration::from_mins(15),
        }
    }

    /// How long a session lasts at most.
    #[must_use]
    pub const fn session_absolute(self) -> Duration {
        match self {
            Self::Commercial => Duration::from_hours(24),
            Self::Irap => Duration::from_hours(8),
        }
    }

    /// Whether nobody may act without a second factor.
    #[must_use]
    pub const fn demands_second_factor(self) -> bool {
        matches!(self, Self::Irap)
    }
}
