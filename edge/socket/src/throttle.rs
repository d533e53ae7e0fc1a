//! Throttle: keeps one connection to its limits.

use serde_json::json;
use tokio::time::Instant;

use crate::channels::Join;
use crate::frame::{Incoming, JOIN, Outgoing, Status};
use crate::limits::{Bucket, Limits};

/// What is left of the limits of one connection.
pub(crate) struct Throttle {
    messages: Bucket,
    joins: Bucket,
    /// Until when nothing more is read.
    slow_until: Option<Instant>,
}

impl Throttle {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        let (messages, joins) = (Bucket::new(limits.messages, now), Bucket::new(limits.joins, now));
        Self { messages, joins, slow_until: None }
    }

    /// Counts a message; beyond the limit the next one has to wait.
    pub(crate) fn count(&mut self, now: Instant) {
        if let Err(wait) = self.messages.take(now) {
            self.slow_until = Some(now + wait);
        }
    }

    /// The refusal of a join beyond the limit; nothing for anything else.
    pub(crate) fn refused(&mut self, frame: &Incoming, now: Instant) -> Option<Outgoing> {
        if frame.event != JOIN {
            return None;
        }
        let wait = self.joins.take(now).err()?;
        let join = Join {
            topic: frame.topic.clone(),
            join_ref: frame.join_ref.clone().or_else(|| frame.reference.clone()),
            reference: frame.reference.clone(),
            payload: frame.payload.clone(),
        };
        let refused = json!({
            "reason": "limited",
            "code": "too_many_joins",
            "message": "this connection joins too often",
            "retry_after_ms": u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        });
        Some(join.reply(Status::Error, refused))
    }

    /// Whether nothing is read just now.
    pub(crate) const fn is_slow(&self) -> bool {
        self.slow_until.is_some()
    }

    /// Waits until it may be read again.
    pub(crate) async fn passes(&mut self) {
        if let Some(until) = self.slow_until {
            tokio::time::sleep_until(until).await;
        }
        self.slow_until = None;
    }
}
