//! Messages: what is said, to whom, through which channel.
//!
//! A message may name its occasion, and the same occasion never makes a second message; that is
//! what keeps a reaction or an impatient caller from writing to somebody twice.

use contracts::reach::{Channel, MessageId, MessageQueued};
use platform::{
    Command, Cursor, Limit, Listing, OrgId, Query, Reason, Result, Snapshot, Spec, Timestamp, Tx,
    trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use crate::sending::SendMessage;

/// One message to one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The message.
    pub message_id: MessageId,
    /// The way it travels.
    pub channel: Channel,
    /// Whom it is for: a mobile number, an e-mail address, or a member of the organisation.
    pub recipient: String,
    /// What it says.
    pub body: String,
    /// What it is about, for example the id of a job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about_id: Option<Uuid>,
    /// How far it is.
    pub state: MessageState,
    /// The provider's own reference, once sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_reference: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When the provider took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MessageState {
    /// It waits to be sent.
    Queued,
    /// The provider took it.
    Sent,
}

impl MessageState {
    const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Queued, Self::Sent].into_iter().find(|state| state.name() == name)
    }
}

/// The name a channel has in storage.
pub(crate) const fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Sms => "sms",
        Channel::Email => "email",
        Channel::Notice => "notice",
    }
}

pub(crate) fn channel_from_name(name: &str) -> Result<Channel, sqlx::Error> {
    [Channel::Sms, Channel::Email, Channel::Notice]
        .into_iter()
        .find(|channel| channel_name(*channel) == name)
        .ok_or_else(|| sqlx::Error::Decode(format!("a message travels by `{name}`").into()))
}

/// Refuses a recipient that the channel cannot find.
fn check_recipient(channel: Channel, recipient: &str) -> Result<(), Refusal> {
    let is_reachable = match channel {
        Channel::Sms => recipient
            .strip_prefix("+614")
            .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_digit())),
        Channel::Email => recipient.split_once('@').is_some_and(|(name, host)| {
            let is_plain = !recipient.contains(char::is_whitespace) && !host.contains('@');
            is_plain
                && !name.is_empty()
                && host.split('.').count() > 1
                && host.split('.').all(|label| !label.is_empty())
        }),
        Channel::Notice => recipient
            .split_once(':')
            .is_some_and(|(kind, whom)| matches!(kind, "member" | "duty") && !whom.is_empty()),
    };
    let recipient = recipient.to_owned();
    if is_reachable { Ok(()) } else { Err(Refusal::Recipient { channel, recipient }) }
}

/// What the rules of messages say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "`{recipient}` cannot be reached by {by}: {expected}",
        by = channel_name(*.channel),
        expected = expected(*.channel)
    )]
    Recipient { channel: Channel, recipient: String },
    #[error("a text message has at most {SMS_LENGTH_MAX} characters, not {0}")]
    SmsTooLong(usize),
    #[error("there is no message {0}")]
    NotFound(MessageId),
}

const fn expected(channel: Channel) -> &'static str {
    match channel {
        Channel::Sms => "an Australian mobile number is expected, as in +61491570006",
        Channel::Email => "an address is expected, as in mia@example.com",
        Channel::Notice => "a member is expected, as in member: and the member's id",
    }
}

/// The longest text message, three parts of 160 characters.
const SMS_LENGTH_MAX: usize = 480;

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Recipient { .. } => Reason::invalid("unreachable_recipient").at("/recipient"),
            Self::SmsTooLong(_) => Reason::invalid("sms_too_long").at("/body"),
            Self::NotFound(_) => Reason::not_found("message_not_found").at("/message_id"),
        }
    }
}

/// Queue a message to one recipient.
///
/// It is sent within seconds. A message with an occasion is queued once for that occasion; queueing
/// it again answers the first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueMessage {
    /// The way it travels.
    pub channel: Channel,
    /// Whom it is for: a mobile number as `+61491570006`, an e-mail address, or `member:` and an
    /// id.
    #[schemars(length(min = 3, max = 254))]
    pub recipient: String,
    /// What it says, at most 2000 characters; 480 for a text message.
    #[schemars(length(min = 1, max = 2000))]
    pub body: String,
    /// What it is about, for example the id of a job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about_id: Option<Uuid>,
    /// What it answers to, at most 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120))]
    pub occasion: Option<String>,
}

impl Command for QueueMessage {
    const SPEC: Spec = Spec::create("queue_message", "/messages");
    type Output = Message;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Message> {
        let occasion = self.occasion.clone();
        let message = Message::queue(self, tx.now())?;
        let Message { message_id, channel, about_id, .. } = message;
        if insert(tx, &message, occasion.as_deref()).await? {
            tx.append(&MessageQueued { message_id, channel, about_id }).await?;
            tx.enqueue(&SendMessage { message_id }).await?;
            return Ok(message);
        }
        let occasion = occasion.expect("only messages with an occasion meet one queued before");
        queued_before(tx, &occasion).await
    }
}

impl Message {
    fn queue(command: QueueMessage, now: Timestamp) -> Result<Self> {
        let QueueMessage { channel, recipient, body, about_id, occasion: _ } = command;
        let recipient = trimmed("/recipient", &recipient, 3..=254)?;
        check_recipient(channel, &recipient)?;
        let body = trimmed("/body", &body, 1..=2000)?;
        let length = body.chars().count();
        if channel == Channel::Sms && length > SMS_LENGTH_MAX {
            return Err(Refusal::SmsTooLong(length).into());
        }
        Ok(Self {
            message_id: MessageId::new(),
            channel,
            recipient,
            body,
            about_id,
            state: MessageState::Queued,
            provider_reference: None,
            created_at: now,
            sent_at: None,
        })
    }
}

/// Get one message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetMessage {
    /// The message.
    pub message_id: MessageId,
}

impl Query for GetMessage {
    const SPEC: Spec = Spec::read("get_message", "/messages/{message_id}");
    type Output = Message;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Message> {
        let org_id = db.org_id();
        find(db.connection(), org_id, self.message_id).await
    }
}

/// List messages, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMessages {
    /// Only messages about this, for example the id of a job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about_id: Option<Uuid>,
    /// Only messages that are this far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<MessageState>,
    /// Messages on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListMessages {
    const SPEC: Spec = Spec::read("list_messages", "/messages");
    type Output = Listing<Message>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<Message>> {
        let before: Option<MessageId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select message_id, channel, recipient, body, about_id, state, provider_reference,
                 created_at, sent_at
             from reach.messages
             where org_id = $1
                 and ($2::uuid is null or about_id = $2)
                 and ($3::text is null or state = $3)
                 and ($4::uuid is null or message_id < $4)
             order by message_id desc
             limit $5",
        )
        .bind(db.org_id())
        .bind(self.about_id)
        .bind(self.state.map(MessageState::name))
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |message: &Message| message.message_id))
    }
}

/// Whether the message is new, as opposed to the second for its occasion.
async fn insert(tx: &mut Tx<'_>, message: &Message, occasion: Option<&str>) -> Result<bool> {
    let inserted = sqlx::query(
        "insert into reach.messages (
             org_id, message_id, channel, recipient, body, about_id, occasion, state, created_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict on constraint messages_once do nothing",
    )
    .bind(tx.org_id())
    .bind(message.message_id)
    .bind(channel_name(message.channel))
    .bind(&message.recipient)
    .bind(&message.body)
    .bind(message.about_id)
    .bind(occasion)
    .bind(message.state.name())
    .bind(message.created_at)
    .execute(tx.connection())
    .await?;
    Ok(inserted.rows_affected() > 0)
}

async fn queued_before(tx: &mut Tx<'_>, occasion: &str) -> Result<Message> {
    let org_id = tx.org_id();
    let message_id = sqlx::query_scalar(
        "select message_id from reach.messages where org_id = $1 and occasion = $2",
    )
    .bind(org_id)
    .bind(occasion)
    .fetch_one(tx.connection())
    .await?;
    find(tx.connection(), org_id, message_id).await
}

async fn find(
    connection: &mut PgConnection,
    org_id: OrgId,
    message_id: MessageId,
) -> Result<Message> {
    let found = sqlx::query_as(
        "select message_id, channel, recipient, body, about_id, state, provider_reference,
             created_at, sent_at
         from reach.messages
         where org_id = $1 and message_id = $2",
    )
    .bind(org_id)
    .bind(message_id)
    .fetch_optional(connection)
    .await?;
    Ok(found.ok_or(Refusal::NotFound(message_id))?)
}

impl FromRow<'_, PgRow> for Message {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let state: String = row.try_get("state")?;
        Ok(Self {
            message_id: row.try_get("message_id")?,
            channel: channel_from_name(row.try_get("channel")?)?,
            recipient: row.try_get("recipient")?,
            body: row.try_get("body")?,
            about_id: row.try_get("about_id")?,
            state: MessageState::from_name(&state)
                .ok_or_else(|| sqlx::Error::Decode(format!("a message is `{state}`").into()))?,
            provider_reference: row.try_get("provider_reference")?,
            created_at: row.try_get("created_at")?,
            sent_at: row.try_get("sent_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_must_be_one_the_channel_can_find() {
        let cases = [
            (Channel::Sms, "+61491570006", true),
            (Channel::Sms, "0491570006", false),
            (Channel::Sms, "+6149157000", false),
            (Channel::Email, "mia@example.com", true),
            (Channel::Email, "mia@example", false),
            (Channel::Email, "mia example.com", false),
            (Channel::Email, "mia@ex@ample.com", false),
            (Channel::Notice, "member:0192", true),
            (Channel::Notice, "member:", false),
            (Channel::Notice, "mia", false),
        ];

        for (channel, recipient, is_reachable) in cases {
            assert_eq!(check_recipient(channel, recipient).is_ok(), is_reachable, "{recipient}");
        }
    }

    #[test]
    fn a_text_message_is_shorter_than_others() {
        let message = |channel, recipient: &str| QueueMessage {
            channel,
            recipient: recipient.to_owned(),
            body: "x".repeat(481),
            about_id: None,
            occasion: None,
        };

        let sms = Message::queue(message(Channel::Sms, "+61491570006"), Timestamp::default());
        let email =
            Message::queue(message(Channel::Email, "mia@example.com"), Timestamp::default());

        assert_eq!(sms.expect_err("it is too long").code(), "sms_too_long");
        assert!(email.is_ok());
    }
}
