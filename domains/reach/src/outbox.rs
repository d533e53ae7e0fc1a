//! The outbox: the development adapter of all channels, which sends messages into a table.
//!
//! A provider is asked to send a message under a key and sends it once, however often it is asked;
//! the table does the same. Adapters for real providers take the place of [`hand_over`], channel by
//! channel.

use contracts::reach::{Channel, MessageId};
use platform::{Attempt, Command, Result, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::channel_name;

/// A message as a provider sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Letter {
    /// The provider's idempotency key.
    pub(crate) message_id: MessageId,
    pub(crate) channel: Channel,
    pub(crate) recipient: String,
    pub(crate) body: String,
}

/// Hands a message to its provider and answers the provider's reference for it.
pub(crate) async fn hand_over(attempt: &Attempt, letter: Letter) -> Result<String> {
    let reference = format!("outbox-{}", letter.message_id);
    attempt.run(WriteToOutbox { letter }).await?;
    Ok(reference)
}

/// Puts a message into the outbox, once for its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WriteToOutbox {
    letter: Letter,
}

impl Command for WriteToOutbox {
    const SPEC: Spec = Spec::internal("write_to_outbox");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Letter { message_id, channel, recipient, body } = self.letter;
        sqlx::query(
            "insert into reach.outbox (
                 org_id, idempotency_key, channel, recipient, body, created_at
             ) values ($1, $2, $3, $4, $5, $6)
             on conflict (org_id, idempotency_key) do nothing",
        )
        .bind(tx.org_id())
        .bind(message_id)
        .bind(channel_name(channel))
        .bind(recipient)
        .bind(body)
        .bind(tx.now())
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}
