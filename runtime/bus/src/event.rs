//! An event on its way to subscribers, with its wire form made once.

use std::any::Any;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use kernel::{EventId, Position, Timestamp, Topic};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

/// A sealed event as the bus carries it.
#[derive(Debug)]
pub struct BusEvent {
    /// Its place in the order of everything.
    pub position: Position,
    /// Organisation, domain and aggregate.
    pub topic: Topic,
    /// Its identity.
    pub event_id: EventId,
    /// Its persistent name.
    pub event_type: String,
    /// The version of its payload's shape.
    pub version: u16,
    /// The request it follows from.
    pub correlation_id: Uuid,
    /// The event that caused it, if one did.
    pub causation_id: Option<EventId>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The fact: JSON text, exactly as it was sealed.
    pub payload: Arc<str>,
    body: OnceLock<Arc<str>>,
    /// What is made of it for all who listen to its domain, and for all who listen to its
    /// aggregate.
    made: [OnceLock<Arc<dyn Any + Send + Sync>>; 2],
}

/// Who is told of an event the same, to the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody who listens to its domain.
    Domain,
    /// Everybody who listens to its aggregate only.
    Aggregate,
}

/// The parts of a [`BusEvent`] that name it; the rest is the payload.
#[derive(Debug, Clone)]
pub struct Heading {
    /// Its place in the order of everything.
    pub position: Position,
    /// Organisation, domain and aggregate.
    pub topic: Topic,
    /// Its identity.
    pub event_id: EventId,
    /// Its persistent name.
    pub event_type: String,
    /// The version of its payload's shape.
    pub version: u16,
    /// The request it follows from.
    pub correlation_id: Uuid,
    /// The event that caused it, if one did.
    pub causation_id: Option<EventId>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// The wire form of everything but the payload; fields in the order in which people read them.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    position: Position,
    event_id: EventId,
    event_type: Cow<'a, str>,
    version: u16,
    org_id: kernel::OrgId,
    domain: Cow<'a, str>,
    aggregate_id: Option<Uuid>,
    correlation_id: Uuid,
    causation_id: Option<EventId>,
    recorded_at: Timestamp,
}

impl BusEvent {
    /// An event with its payload, which is JSON text.
    #[must_use]
    pub fn new(heading: Heading, payload: impl Into<Arc<str>>) -> Self {
        Self {
            position: heading.position,
            topic: heading.topic,
            event_id: heading.event_id,
            event_type: heading.event_type,
            version: heading.version,
            correlation_id: heading.correlation_id,
            causation_id: heading.causation_id,
            recorded_at: heading.recorded_at,
            payload: payload.into(),
            body: OnceLock::new(),
            made: [const { OnceLock::new() }; 2],
        }
    }

    /// The whole event as one JSON object, its payload under `data`; encoded at the first call.
    #[must_use]
    pub fn body(&self) -> Arc<str> {
        self.body.get_or_init(|| self.encode()).clone()
    }

    /// What `make` makes of this event for an audience, made by whoever of it asks first. All of an
    /// audience ask for the same type; what another one asks for is made for it alone.
    pub fn made<T: Clone + Send + Sync + 'static>(
        &self,
        audience: Audience,
        make: impl Fn() -> T,
    ) -> T {
        let place = match audience {
            Audience::Domain => &self.made[0],
            Audience::Aggregate => &self.made[1],
        };
        let kept = place.get_or_init(|| Arc::new(make()));
        kept.downcast_ref().cloned().unwrap_or_else(make)
    }

    /// An event from its [body](BusEvent::body); the payload is what it was, to the byte.
    ///
    /// # Errors
    /// When the text is no such object.
    pub fn from_body(body: &str) -> Result<Self, serde_json::Error> {
        /// The part of a body that the envelope leaves out.
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            data: &'a RawValue,
        }
        let envelope: Envelope<'_> = serde_json::from_str(body)?;
        let Data { data } = serde_json::from_str(body)?;
        let heading = Heading {
            position: envelope.position,
            topic: Topic {
                org_id: envelope.org_id,
                domain: envelope.domain.into_owned(),
                aggregate_id: envelope.aggregate_id,
            },
            event_id: envelope.event_id,
            event_type: envelope.event_type.into_owned(),
            version: envelope.version,
            correlation_id: envelope.correlation_id,
            causation_id: envelope.causation_id,
            recorded_at: envelope.recorded_at,
        };
        Ok(Self::new(heading, data.get()))
    }

    fn encode(&self) -> Arc<str> {
        let envelope = Envelope {
            position: self.position,
            event_id: self.event_id,
            event_type: Cow::Borrowed(&self.event_type),
            version: self.version,
            org_id: self.topic.org_id,
            domain: Cow::Borrowed(&self.topic.domain),
            aggregate_id: self.topic.aggregate_id,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            recorded_at: self.recorded_at,
        };
        let mut text = serde_json::to_string(&envelope)
            .unwrap_or_else(|_| json!({ "position": self.position }).to_string());
        // The payload is JSON text already: it is put in as it is and not parsed again.
        text.truncate(text.len() - 1);
        text.push_str(",\"data\":");
        text.push_str(&self.payload);
        text.push('}');
        text.into()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use kernel::OrgId;
    use serde_json::Value;

    use super::*;

    /// An event of `topic` at `position`.
    pub(crate) fn event(topic: Topic, position: i64) -> Arc<BusEvent> {
        event_of(topic, position, r#"{"headcount":3}"#.into())
    }

    /// An event with this payload.
    pub(crate) fn event_of(topic: Topic, position: i64, payload: Arc<str>) -> Arc<BusEvent> {
        let heading = Heading {
            position: Position(position),
            topic,
            event_id: EventId::new(),
            event_type: "job_order_opened".into(),
            version: 1,
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            recorded_at: Timestamp::UNIX_EPOCH,
        };
        Arc::new(BusEvent::new(heading, payload))
    }

    #[test]
    fn the_body_is_one_object_with_the_payload_under_data() {
        let event = event(Topic::domain(OrgId::new(), "recruit"), 7);

        let body: Value = serde_json::from_str(&event.body()).expect("the body is JSON");

        assert_eq!(body["position"], 7);
        assert_eq!(body["domain"], "recruit");
        assert_eq!(body["data"]["headcount"], 3);
    }

    #[test]
    fn what_an_audience_is_told_is_made_once() {
        let event = event(Topic::domain(OrgId::new(), "recruit"), 7);
        let count = std::cell::Cell::new(0);
        let make = || {
            count.set(count.get() + 1);
            Arc::<str>::from(format!("made {}", count.get()))
        };

        let told = [(); 3].map(|()| event.made(Audience::Domain, make));
        let others = event.made(Audience::Aggregate, make);
        let another = event.made(Audience::Domain, || 7);

        assert_eq!(told.map(|told| told.to_string()), ["made 1", "made 1", "made 1"]);
        assert_eq!((&*others, another), ("made 2", 7));
    }

    #[test]
    fn an_event_is_read_back_from_its_body_to_the_byte() {
        let topic = Topic::aggregate(OrgId::new(), "recruit", Uuid::now_v7());
        let event = event_of(topic.clone(), 7, r#"{"b":1.50, "a":"\u00e4"}"#.into());

        let read = BusEvent::from_body(&event.body()).expect("a body is an event");

        assert_eq!(
            (read.position, &read.topic, read.event_id),
            (event.position, &topic, event.event_id)
        );
        assert_eq!(read.payload, event.payload);
        assert_eq!(read.body(), event.body());
    }

    #[test]
    fn the_body_is_encoded_once() {
        let event = event(Topic::domain(OrgId::new(), "recruit"), 7);

        assert!(Arc::ptr_eq(&event.body(), &event.body()));
    }
}
