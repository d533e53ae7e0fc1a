//! Delivery: what a client that reads too slowly would rather lose.
//!
//! | `delivery` of a join | who is too slow |
//! |---|---|
//! | `durable`, or nothing | is cut off with 4008, comes back and resumes |
//! | `latest` | skips what is out of date: of each aggregate it gets the newest event |
//! | `lossy` | loses the oldest, and is told how many those were |
//!
//! The supervision tree and presence are pictures, so what was missed of them is made up for by a
//! new one.

use platform::bus::Subscription;
use platform::{System, Topic};
use serde_json::Value;

use crate::frame::Payload;

/// What may be lost of the events of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Nothing: who cannot keep up has to come back.
    Durable,
    /// What is out of date.
    Latest,
    /// The oldest.
    Lossy,
}

impl Delivery {
    /// Reads `delivery` of a join's parameters; `None` for a word that is none.
    pub(crate) fn from_params(payload: &Payload) -> Option<Self> {
        let given = match payload {
            Payload::Json(params) => params.get("delivery").filter(|given| !given.is_null()),
            Payload::Binary(_) => None,
        };
        match given.map(Value::as_str) {
            None | Some(Some("durable")) => Some(Self::Durable),
            Some(Some("latest")) => Some(Self::Latest),
            Some(Some("lossy")) => Some(Self::Lossy),
            Some(_) => None,
        }
    }

    /// Listens to a topic.
    pub(crate) fn subscribe(self, system: &System, topic: Topic) -> Subscription {
        match self {
            // Whoever is durable reads the log when it comes back, so the mailbox may lose.
            Self::Durable | Self::Lossy => system.bus().subscribe(topic),
            Self::Latest => system.bus().subscribe_latest(topic),
        }
    }
}
