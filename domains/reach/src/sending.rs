//! Sending: the job that takes a queued message out of the database and to its channel.

use contracts::reach::{MessageId, MessageSent};
use platform::{Attempt, Command, Job, Outcome, Result, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::letter;
use crate::message::channel_from_name;
use crate::outbox::{Letter, hand_over};

/// Hands one message to the provider of its channel.
///
/// The message's id is the provider's idempotency key, so an attempt that is made again after a
/// crash does not send a second message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SendMessage {
    pub(crate) message_id: MessageId,
}

impl Job for SendMessage {
    const NAME: &'static str = "send_message";

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        let message_id = self.message_id;
        if let Some(letter) = attempt.run(TakeMessage { message_id }).await? {
            let provider_reference = hand_over(attempt, letter).await?;
            attempt.complete_with(RecordMessageSent { message_id, provider_reference }).await?;
        }
        Ok(Outcome::Complete)
    }
}

/// Takes a message to send; nothing when it was sent already.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TakeMessage {
    message_id: MessageId,
}

impl Command for TakeMessage {
    const SPEC: Spec = Spec::internal("take_message");
    type Output = Option<Letter>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Letter>> {
        let queued: Option<(String, String, String, Option<Vec<u8>>)> = sqlx::query_as(
            "select channel, recipient, body, sealed_body
             from reach.messages
             where org_id = $1 and message_id = $2 and state = 'queued'",
        )
        .bind(tx.org_id())
        .bind(self.message_id)
        .fetch_optional(tx.connection())
        .await?;
        let Some((channel, recipient, body, sealed)) = queued else {
            return Ok(None);
        };
        let channel = channel_from_name(&channel)?;
        let body = letter::open(tx, self.message_id, body, sealed.as_deref())?;
        Ok(Some(Letter { message_id: self.message_id, channel, recipient, body }))
    }
}

/// Records that the provider took a message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RecordMessageSent {
    message_id: MessageId,
    provider_reference: String,
}

impl Command for RecordMessageSent {
    const SPEC: Spec = Spec::internal("record_message_sent");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Self { message_id, provider_reference } = self;
        let channel: Option<String> = sqlx::query_scalar(
            "update reach.messages
             set state = 'sent', provider_reference = $3, sent_at = $4, sealed_body = null
             where org_id = $1 and message_id = $2 and state = 'queued'
             returning channel",
        )
        .bind(tx.org_id())
        .bind(message_id)
        .bind(&provider_reference)
        .bind(tx.now())
        .fetch_optional(tx.connection())
        .await?;
        let Some(channel) = channel else {
            return Ok(());
        };
        let channel = channel_from_name(&channel)?;
        tx.append(&MessageSent { message_id, channel, provider_reference }).await?;
        Ok(())
    }
}
