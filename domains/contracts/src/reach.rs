//! What reach tells: messages were queued and handed over.

use kernel::{DomainName, Event, EventType, Id};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The domain that talks to people.
pub const REACH: DomainName = DomainName::new("reach");

/// What a [`MessageId`] identifies.
#[derive(Debug)]
pub enum MessageMarker {}

/// One message to one recipient.
pub type MessageId = Id<MessageMarker>;

/// The way a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Channel {
    /// A text message to a mobile phone.
    Sms,
    /// An e-mail.
    Email,
    /// A notice shown to a member inside the platform.
    Notice,
}

/// A message waits to be sent. Its text and recipient stay with reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageQueued {
    /// The message.
    pub message_id: MessageId,
    /// The way it will travel.
    pub channel: Channel,
    /// What it is about, for example the id of a job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about_id: Option<Uuid>,
}

/// A message was handed to the provider of its channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageSent {
    /// The message.
    pub message_id: MessageId,
    /// The way it travelled.
    pub channel: Channel,
    /// The provider's own reference for the message.
    pub provider_reference: String,
}

impl Event for MessageQueued {
    const TYPE: EventType = REACH.event("message_queued", 1);
    fn aggregate_id(&self) -> Uuid {
        self.message_id.uuid()
    }
}
impl Event for MessageSent {
    const TYPE: EventType = REACH.event("message_sent", 1);
    fn aggregate_id(&self) -> Uuid {
        self.message_id.uuid()
    }
}
