//! The wire: how an event is named on the stream and read back from it.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use bus::{BusEvent, TopicFilter};
use kernel::Position;

/// The stream of all events.
pub(crate) const STREAM: &str = "FINNEST";

/// The header with an event's place in the order of everything.
const POSITION: &str = "Finnest-Position";

/// Stands where an event has no aggregate.
const NO_AGGREGATE: &str = "-";

/// All subjects of the stream.
pub(crate) const SUBJECTS: &str = "finnest.>";

/// The subject an event is published under.
pub(crate) fn subject_of(event: &BusEvent) -> String {
    let topic = &event.topic;
    let aggregate = topic.aggregate_id.map_or(NO_AGGREGATE.to_owned(), |id| id.to_string());
    format!("finnest.{}.{}.{aggregate}.{}", topic.org_id, topic.domain, event.event_type)
}

/// The subjects of what a filter matches.
pub(crate) fn subjects_of(filter: &TopicFilter) -> String {
    match filter {
        TopicFilter::All => SUBJECTS.to_owned(),
        TopicFilter::Domain(domain) => format!("finnest.*.{domain}.>"),
        TopicFilter::Organisation(org_id) => format!("finnest.{org_id}.>"),
        TopicFilter::Topic(topic) => match topic.aggregate_id {
            None => format!("finnest.{}.{}.>", topic.org_id, topic.domain),
            Some(id) => format!("finnest.{}.{}.{id}.>", topic.org_id, topic.domain),
        },
    }
}

/// An event as a message that is accepted only right after the message `last`.
pub(crate) fn message_of(event: &BusEvent, last: u64) -> PublishMessage {
    PublishMessage::build()
        .message_id(event.event_id.to_string())
        .expected_last_sequence(last)
        .header(POSITION, event.position.0.to_string().as_str())
        .payload(event.body().as_bytes().to_vec().into())
}

/// The place of the event that these headers belong to.
pub(crate) fn position_of(headers: &HeaderMap) -> Option<Position> {
    headers.get(POSITION)?.as_str().parse().ok().map(Position)
}

/// The event in a message.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn event_of(payload: &[u8]) -> Result<Arc<BusEvent>, String> {
    let body = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    BusEvent::from_body(body).map(Arc::new).map_err(|error| error.to_string())
}
