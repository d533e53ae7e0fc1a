//! What a message asks of an operation: its input, and what the other surfaces carry in headers.
//!
//! A payload is the operation's input. Two keys of it are ours: `_request_id` makes a command be
//! done once however often it is sent, and `_meta` says to what the request belongs. Bytes are read
//! as the JSON they hold.

use platform::json;
use platform::kernel::TraceParent;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::frame::Payload;

/// The key of a payload that makes a command be done once.
const REQUEST_ID: &str = "_request_id";
/// The key of a payload that says to what the request belongs.
const META: &str = "_meta";

/// A request as an operation takes it.
#[derive(Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) input: Value,
    /// By which the answer is remembered.
    pub(crate) request_id: Option<String>,
    /// What everything that follows from it carries.
    pub(crate) correlation_id: Uuid,
    /// Which trace it is part of.
    pub(crate) traceparent: Option<TraceParent>,
}

/// A payload cannot be asked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskedError {
    #[error("operations take JSON, and these bytes are none")]
    Bytes,
    #[error("_request_id is text")]
    RequestId,
    #[error("_meta is an object with correlation_id, a UUID, and traceparent as W3C writes it")]
    Meta,
}

impl AskedError {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Bytes => "binary_payload",
            Self::RequestId => "bad_request_id",
            Self::Meta => "bad_meta",
        }
    }
}

impl Asked {
    /// Reads a message's payload.
    pub(crate) fn from_payload(payload: &Payload) -> Result<Self, AskedError> {
        let mut input = match payload {
            Payload::Json(input) => input.clone(),
            Payload::Binary(bytes) => json::parse(bytes).map_err(|_| AskedError::Bytes)?,
        };
        let mut take = |key| input.as_object_mut().and_then(|input| input.remove(key));
        let request_id = match take(REQUEST_ID) {
            None | Some(Value::Null) => None,
            Some(Value::String(key)) => Some(key),
            Some(_) => return Err(AskedError::RequestId),
        };
        let meta = match take(META) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(meta)) => meta,
            Some(_) => return Err(AskedError::Meta),
        };
        let correlation_id = said(&meta, "correlation_id")?.unwrap_or_else(Uuid::now_v7);
        Ok(Self { input, request_id, correlation_id, traceparent: said(&meta, "traceparent")? })
    }
}

fn said<T: std::str::FromStr>(
    meta: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>, AskedError> {
    match meta.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| AskedError::Meta),
        Some(_) => Err(AskedError::Meta),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(payload: Value) -> Result<Asked, AskedError> {
        Asked::from_payload(&Payload::Json(payload))
    }

    #[test]
    fn what_is_ours_does_not_reach_the_operation() {
        let id = "0199a000-0000-7000-8000-0000000000aa";
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let meta = json!({ "correlation_id": id, "traceparent": trace });

        let asked =
            asked(json!({ "label": "a", "_request_id": "r-1", "_meta": meta })).expect("ok");

        assert_eq!(asked.input, json!({ "label": "a" }));
        assert_eq!(asked.request_id.as_deref(), Some("r-1"));
        assert_eq!(asked.correlation_id.to_string(), id);
        assert_eq!(asked.traceparent.map(|trace| trace.to_string()).as_deref(), Some(trace));
    }

    #[test]
    fn what_is_not_said_is_made_or_left_out() {
        for payload in [json!({}), json!({ "_request_id": null, "_meta": null })] {
            let asked = asked(payload).expect("nothing is wrong with it");

            assert_eq!((asked.input, asked.request_id), (json!({}), None));
            assert_eq!(asked.traceparent, None);
        }
        assert_eq!(asked(json!("text")).map(|asked| asked.input), Ok(json!("text")));
    }

    #[test]
    fn what_cannot_be_asked_with_is_refused() {
        let cases = [
            (json!({ "_request_id": 7 }), AskedError::RequestId),
            (json!({ "_meta": "x" }), AskedError::Meta),
            (json!({ "_meta": { "correlation_id": "x" } }), AskedError::Meta),
            (json!({ "_meta": { "traceparent": 7 } }), AskedError::Meta),
        ];

        for (payload, expected) in cases {
            assert_eq!(asked(payload.clone()), Err(expected), "{payload}");
        }
        let bytes = Payload::Binary(axum::body::Bytes::from_static(b"\x00\xff"));
        assert_eq!(Asked::from_payload(&bytes), Err(AskedError::Bytes));
    }

    #[test]
    fn bytes_are_read_as_the_json_they_hold() {
        let bytes = Payload::Binary(axum::body::Bytes::from_static(br#"{"label":"a"}"#));

        let input = Asked::from_payload(&bytes).map(|asked| asked.input);

        assert_eq!(input, Ok(json!({ "label": "a" })));
    }
}
