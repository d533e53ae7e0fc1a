//! Reach: talks to people, through whichever channel finds them.
//!
//! A message is queued in one transaction with whatever caused it, and sent by a job that hands it
//! to the provider of its channel. Text and recipient stay in this domain; events carry ids only.

mod letter;
mod message;
mod outbox;
mod reactions;
mod sending;

use contracts::reach::{MessageQueued, MessageSent, REACH};
use platform::{Domain, Page};

pub use message::{GetMessage, ListMessages, Message, MessageState, QueueMessage};

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(REACH)
        .about(
            "Talks to people, through whichever channel finds them: messages and what became \
             of them.",
        )
        .command::<QueueMessage>()
        .query::<GetMessage>()
        .query::<ListMessages>()
        .command::<sending::TakeMessage>()
        .command::<sending::RecordMessageSent>()
        .command::<outbox::WriteToOutbox>()
        .emits::<MessageQueued>()
        .emits::<MessageSent>()
        .command::<letter::QueueLetter>()
        .on("queue_confirmation", reactions::queue_confirmation)
        .on("queue_invitation", reactions::queue_invitation)
        .on("queue_password_reset", reactions::queue_password_reset)
        .job::<sending::SendMessage>()
        .page(Page::new("Messages").table::<ListMessages>().form::<QueueMessage>())
}
