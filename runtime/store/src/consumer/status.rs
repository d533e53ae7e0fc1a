//! What a consumer is doing, for operators.

use kernel::{EventId, Position};
use serde::Serialize;

use super::ConsumerError;

/// What a consumer is doing and how far it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConsumerStatus {
    /// Everything up to here has had its effect, is none of its business, or waits with its
    /// organisation.
    pub position: Position,
    /// How many organisations wait because of an event it cannot digest, while it goes on.
    pub parked: u32,
    /// What it is doing.
    #[serde(flatten)]
    pub state: ConsumerState,
}

/// What a consumer is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ConsumerState {
    /// It has not read anything yet.
    #[default]
    Starting,
    /// Another process works it; this one is ready to take over.
    Standby,
    /// It has more to read.
    CatchingUp,
    /// It has read everything there is.
    Live,
    /// It cannot digest an event and tries again.
    Stalled {
        /// The event's place.
        stalled_at: Position,
        /// The event.
        event_id: EventId,
        /// Why, with all causes.
        error: String,
        /// How often it has been tried.
        attempts: u32,
    },
    /// Postgres is away; it tries again.
    Unavailable {
        /// Why, with all causes.
        error: String,
    },
}

impl ConsumerState {
    /// The state after `failure`: the same event again is one more attempt.
    pub(super) fn failed(&self, failure: &ConsumerError) -> Self {
        match failure {
            ConsumerError::Unavailable(_) => Self::Unavailable { error: with_causes(failure) },
            ConsumerError::Elsewhere => Self::Standby,
            ConsumerError::Stalled { position, event_id, .. } => {
                let before = match self {
                    Self::Stalled { event_id: same, attempts, .. } if same == event_id => *attempts,
                    _ => 0,
                };
                Self::Stalled {
                    stalled_at: *position,
                    event_id: *event_id,
                    error: with_causes(failure),
                    attempts: before + 1,
                }
            }
        }
    }
}

/// An error and what caused it, from the outside in.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::ConsumeError;

    fn stalled(event_id: EventId) -> ConsumerError {
        ConsumerError::Stalled {
            position: Position(7),
            event_id,
            source: ConsumeError::Refused("no such rate".into()),
        }
    }

    #[test]
    fn attempts_at_the_same_event_are_counted() {
        let event_id = EventId::new();

        let state = ConsumerState::Live.failed(&stalled(event_id)).failed(&stalled(event_id));

        let ConsumerState::Stalled { attempts, error, .. } = state else {
            panic!("{state:?}");
        };
        assert_eq!(attempts, 2);
        assert!(error.ends_with("no such rate"), "{error}");
    }

    #[test]
    fn another_event_is_counted_anew() {
        let state =
            ConsumerState::Live.failed(&stalled(EventId::new())).failed(&stalled(EventId::new()));

        assert!(matches!(state, ConsumerState::Stalled { attempts: 1, .. }));
    }
}
