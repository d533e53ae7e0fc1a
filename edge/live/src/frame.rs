//! The five-field frame of Phoenix Channels V2: `[join_ref, ref, topic, event, payload]`.
//!
//! The socket surface has one too; surfaces must not import each other, and this page-sized part
//! of the protocol needs neither binary frames nor presence.

use serde::Deserialize;
use serde_json::{Value, json};

/// One message of the socket, in either direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The reference of the join that this message belongs to.
    pub join_ref: Option<String>,
    /// The reference that a reply must repeat; absent on pushes of the server.
    pub reference: Option<String>,
    /// The topic, `lv:<element id>` or `phoenix`.
    pub topic: String,
    /// What the message is: `phx_join`, `event`, `diff` …
    pub event: String,
    /// The content.
    pub payload: Value,
}

/// Why a text message is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The text is not the JSON array of five fields that the protocol demands.
    #[error("the message is not a frame of five fields")]
    Malformed(#[from] serde_json::Error),
}

/// Elements beyond the fifth are ignored, as Phoenix does.
#[derive(Deserialize)]
struct Fields(Option<String>, Option<String>, String, String, #[serde(default)] Value);

impl Frame {
    /// Reads a text message.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let mut elements: Vec<Value> = serde_json::from_str(text)?;
        elements.truncate(5);
        let Fields(join_ref, reference, topic, event, payload) =
            serde_json::from_value(Value::Array(elements))?;

        Ok(Self { join_ref, reference, topic, event, payload })
    }

    /// A push of the server on the topic of `join`.
    #[must_use]
    pub fn push(join_ref: &str, topic: &str, event: &str, payload: Value) -> Self {
        Self {
            join_ref: Some(join_ref.to_owned()),
            reference: None,
            topic: topic.to_owned(),
            event: event.to_owned(),
            payload,
        }
    }

    /// The reply to this frame; `status` is `ok` or `error`.
    #[must_use]
    pub fn reply(&self, status: &str, response: &Value) -> Self {
        Self {
            join_ref: self.join_ref.clone(),
            reference: self.reference.clone(),
            topic: self.topic.clone(),
            event: "phx_reply".to_owned(),
            payload: json!({ "status": status, "response": response }),
        }
    }

    /// The text message: compact, since some clients split it at commas.
    #[must_use]
    pub fn encode(&self) -> String {
        json!([self.join_ref, self.reference, self.topic, self.event, self.payload]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_round_trip() {
        let text = r#"["4","7","lv:phx-console","event",{"type":"click"}]"#;

        let frame = Frame::parse(text).unwrap();

        assert_eq!(frame.encode(), text);
    }

    #[test]
    fn elements_beyond_the_fifth_are_ignored() {
        let frame = Frame::parse(r#"[null,"1","phoenix","heartbeat",{},"extra"]"#).unwrap();

        assert_eq!(frame.event, "heartbeat");
    }

    #[test]
    fn what_is_no_array_of_five_is_refused() {
        for text in ["", "{}", "[]", r#"["1","2","t"]"#, r#"[1,"2","t","e",{}]"#] {
            assert!(Frame::parse(text).is_err(), "{text} was accepted");
        }
    }
}
