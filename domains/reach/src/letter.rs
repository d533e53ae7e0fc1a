//! Letters: messages with a link that lets their reader in. Nobody but the reader may see it.
//!
//! A letter comes sealed in an event and stays sealed until it is handed to its provider. Lists of
//! messages show that there was one, and jobs carry it sealed.

use contracts::accounts::{Letter, SEALED_LETTERS};
use contracts::reach::{Channel, MessageId, MessageQueued};
use platform::{Command, Error, Result, Spec, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::channel_name;
use crate::sending::SendMessage;

/// What the text of a letter is sealed for while it waits.
const SEALED_FOR: &str = "reach letters";
/// What lists show in place of a letter.
const SHOWN: &str = "A letter that only its recipient reads.";

/// Queues a letter to a user, once for its occasion.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct QueueLetter {
    pub(crate) user_id: UserId,
    /// Hexadecimal digits of the sealed letter.
    pub(crate) letter: String,
    pub(crate) occasion: String,
}

impl Command for QueueLetter {
    const SPEC: Spec = Spec::internal("queue_letter");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let about = self.user_id.uuid();
        let sealed = bytes(&self.letter)?;
        // A letter of another secret, as after a restore without it, cannot be sent by anybody.
        let Ok(plain) = tx.secret()?.open(SEALED_LETTERS, about.as_bytes(), &sealed) else {
            return Ok(());
        };
        let Letter { recipient, body } = serde_json::from_slice(&plain)?;
        let (message_id, channel) = (MessageId::new(), Channel::Email);
        let kept = tx.secret()?.seal(SEALED_FOR, message_id.uuid().as_bytes(), body.as_bytes());
        let (org_id, now) = (tx.org_id(), tx.now());
        let inserted = sqlx::query(
            "insert into reach.messages (org_id, message_id, channel, recipient, body, sealed_body,
                 about_id, occasion, state, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9)
             on conflict on constraint messages_once do nothing",
        )
        .bind(org_id)
        .bind(message_id)
        .bind(channel_name(channel))
        .bind(recipient)
        .bind(SHOWN)
        .bind(kept)
        .bind(about)
        .bind(&self.occasion)
        .bind(now)
        .execute(tx.connection())
        .await?;
        if inserted.rows_affected() > 0 {
            tx.append(&MessageQueued { message_id, channel, about_id: Some(about) }).await?;
            tx.enqueue(&SendMessage { message_id }).await?;
        }
        Ok(())
    }
}

/// The text of a message as its provider gets it.
pub(crate) fn open(
    tx: &Tx<'_>,
    message_id: MessageId,
    body: String,
    sealed: Option<&[u8]>,
) -> Result<String> {
    let Some(sealed) = sealed else { return Ok(body) };
    let plain = tx.secret()?.open(SEALED_FOR, message_id.uuid().as_bytes(), sealed);
    String::from_utf8(plain.map_err(Error::failure)?).map_err(Error::failure)
}

fn bytes(digits: &str) -> Result<Vec<u8>> {
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| Error::failure("a sealed letter is hexadecimal digits"))
}
