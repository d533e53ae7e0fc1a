//! Frames: the five fields of a Phoenix Channels V2 message, as text and as bytes.
//!
//! What the server writes is stricter than JSON asks for, because four client libraries decode it
//! and each trips over something else: no blanks between elements (one splits the raw text at
//! commas), references are strings or null and never numbers, a payload is always an object, and
//! only a reply has a key `response`.

use std::borrow::Cow;
use std::fmt;

use axum::body::Bytes;
use axum::extract::ws::{Message, Utf8Bytes};
use platform::json::Strict;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Value, json};

/// The event with which a client enters a topic.
pub const JOIN: &str = "phx_join";
/// The event with which a client leaves a topic.
pub const LEAVE: &str = "phx_leave";
/// The event of an answer.
pub const REPLY: &str = "phx_reply";
/// The event that ends a channel for good.
pub const CLOSE: &str = "phx_close";
/// The event that ends a channel which the client shall join again.
pub const ERROR: &str = "phx_error";
/// The topic of the connection itself.
pub const CONNECTION: &str = "phoenix";
/// The event with which a client shows that it lives.
pub const HEARTBEAT: &str = "heartbeat";

/// What a client sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The join this message belongs to.
    pub join_ref: Option<String>,
    /// What an answer must repeat.
    pub reference: Option<String>,
    /// The topic.
    pub topic: String,
    /// The event.
    pub event: String,
    /// What it says.
    pub payload: Payload,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// JSON, from a text frame.
    Json(Value),
    /// Raw bytes, from a binary frame.
    Binary(Bytes),
}

/// A message is not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Text that is not the expected array, or a payload with a key that stands twice.
    #[error("a text frame is [join_ref, ref, topic, event, payload], and no key stands twice")]
    Text,
    /// Bytes that end before the fields their header announces.
    #[error("a binary frame ends before its fields do")]
    Truncated,
    /// Bytes that begin with an unknown kind.
    #[error("binary frames from a client are of kind 0, not {0}")]
    Kind(u8),
    /// A field of a binary frame that is not UTF-8.
    #[error("a field of a binary frame is not UTF-8")]
    Utf8,
    /// A field too long for the single byte that tells its length.
    #[error("a field of a binary frame is longer than 255 bytes")]
    TooLong,
}

impl Incoming {
    /// Reads a text frame; elements after the fifth are ignored.
    pub fn parse_text(text: &str) -> Result<Self, FrameError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let frame = deserializer.deserialize_seq(TextFrame).map_err(|_| FrameError::Text)?;
        deserializer.end().map_err(|_| FrameError::Text)?;
        Ok(frame)
    }

    /// Reads a binary push: kind 0, four lengths, four fields, data. An empty reference means none.
    pub fn parse_binary(bytes: &Bytes) -> Result<Self, FrameError> {
        let &[kind, ref rest @ ..] = bytes.as_ref() else {
            return Err(FrameError::Truncated);
        };
        if kind != 0 {
            return Err(FrameError::Kind(kind));
        }
        let lengths: [u8; 4] =
            rest.get(..4).and_then(|head| head.try_into().ok()).ok_or(FrameError::Truncated)?;
        let mut start = 5;
        let mut field = |length: u8| {
            let end = start + usize::from(length);
            let text = bytes.get(start..end).ok_or(FrameError::Truncated)?;
            start = end;
            std::str::from_utf8(text).map(str::to_owned).map_err(|_| FrameError::Utf8)
        };
        let [join_ref, reference, topic, event] = lengths;
        let join_ref = Some(field(join_ref)?).filter(|text| !text.is_empty());
        let reference = Some(field(reference)?).filter(|text| !text.is_empty());
        let (topic, event) = (field(topic)?, field(event)?);
        Ok(Self {
            join_ref,
            reference,
            topic,
            event,
            payload: Payload::Binary(bytes.slice(start..)),
        })
    }
}

/// Reads the array without first making a tree of all of it.
struct TextFrame;

impl<'de> Visitor<'de> for TextFrame {
    type Value = Incoming;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[join_ref, ref, topic, event, payload]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Incoming, A::Error> {
        let missing = || serde::de::Error::custom("fewer than five elements");
        let join_ref = reference(seq.next_element()?.ok_or_else(missing)?)?;
        let reference = reference(seq.next_element()?.ok_or_else(missing)?)?;
        let topic = seq.next_element::<String>()?.ok_or_else(missing)?;
        let event = seq.next_element::<String>()?.ok_or_else(missing)?;
        let Strict(payload) = seq.next_element()?.ok_or_else(missing)?;
        let payload = Payload::Json(payload);
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Incoming { join_ref, reference, topic, event, payload })
    }
}

/// Clients send references as strings; a number is taken for the string it prints as.
fn reference<E: serde::de::Error>(value: Value) -> Result<Option<String>, E> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(E::custom("a reference is a string or null")),
    }
}

/// Whether a request was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was.
    Ok,
    /// It was not.
    Error,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    /// The answer to one message.
    Reply {
        /// The join the message belonged to.
        join_ref: Option<String>,
        /// The message's own reference.
        reference: Option<String>,
        /// Its topic.
        topic: String,
        /// Whether it was granted.
        status: Status,
        /// An object.
        response: Value,
        /// Whether the client asked with bytes, and so can take them.
        is_binary: bool,
    },
    /// Something that happened, told to one channel.
    Push {
        /// The join of that channel.
        join_ref: Option<String>,
        /// Its topic.
        topic: String,
        /// What happened.
        event: Cow<'static, str>,
        /// The text of a JSON object.
        payload: Cow<'static, str>,
        /// Whether the client asked for bytes.
        is_binary: bool,
    },
    /// The end of a channel: [`CLOSE`] or [`ERROR`], with the join as both references.
    End {
        /// The join of that channel.
        join_ref: Option<String>,
        /// Its topic.
        topic: String,
        /// How it ends.
        event: &'static str,
        /// An object.
        payload: Value,
    },
}

impl Outgoing {
    /// The text frame of a push to everybody on a topic, who all get the same bytes.
    #[must_use]
    pub fn broadcast(topic: &str, event: &str, payload: &str) -> Utf8Bytes {
        line(None, None, topic, event, payload).into()
    }

    /// The text frame.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Reply { join_ref, reference, topic, status, response, .. } => {
                let payload = json!({ "status": status.as_str(), "response": response });
                line(join_ref.as_deref(), reference.as_deref(), topic, REPLY, &payload.to_string())
            }
            Self::Push { join_ref, topic, event, payload, .. } => {
                line(join_ref.as_deref(), None, topic, event, payload)
            }
            Self::End { join_ref, topic, event, payload } => {
                let join_ref = join_ref.as_deref();
                line(join_ref, join_ref, topic, event, &payload.to_string())
            }
        }
    }

    /// The message to put on the wire: bytes where the client wants them and they have a form,
    /// which topics and references of more than 255 bytes have not.
    #[must_use]
    pub fn message(&self) -> Message {
        match self.bytes() {
            Some(bytes) => Message::Binary(bytes.into()),
            None => Message::Text(self.text().into()),
        }
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Reply { join_ref, reference, topic, status, response, is_binary: true } => {
                let (join_ref, reference) = (join_ref.as_deref(), reference.as_deref());
                let frame = BinaryFrame::Reply {
                    join_ref: join_ref.unwrap_or_default(),
                    reference: reference.unwrap_or_default(),
                    topic,
                    status: *status,
                };
                frame.bytes(response.to_string().as_bytes()).ok()
            }
            Self::Push { topic, event, payload, is_binary: true, .. } => {
                BinaryFrame::Broadcast { topic, event }.bytes(payload.as_bytes()).ok()
            }
            Self::Reply { .. } | Self::Push { .. } | Self::End { .. } => None,
        }
    }
}

fn line(
    join_ref: Option<&str>,
    reference: Option<&str>,
    topic: &str,
    event: &str,
    payload: &str,
) -> String {
    let mut out = String::with_capacity(topic.len() + event.len() + payload.len() + 40);
    for (start, text) in [('[', join_ref), (',', reference), (',', Some(topic)), (',', Some(event))]
    {
        out.push(start);
        match text {
            Some(text) => push_quoted(&mut out, text),
            None => out.push_str("null"),
        }
    }
    out.push(',');
    out.push_str(payload);
    out.push(']');
    out
}

/// Puts text as JSON; almost all of it, in every frame there is, needs nothing but quotes.
fn push_quoted(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f;
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

/// A binary frame from the server; only clients that sent one can take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryFrame<'a> {
    /// Kind 0: to one channel.
    Push {
        /// The join of the channel.
        join_ref: &'a str,
        /// Its topic.
        topic: &'a str,
        /// What happened.
        event: &'a str,
    },
    /// Kind 1: the answer to one message.
    Reply {
        /// The join the message belonged to.
        join_ref: &'a str,
        /// The message's own reference.
        reference: &'a str,
        /// Its topic.
        topic: &'a str,
        /// Whether it was granted.
        status: Status,
    },
    /// Kind 2: to everybody on a topic.
    Broadcast {
        /// The topic.
        topic: &'a str,
        /// What happened.
        event: &'a str,
    },
}

impl BinaryFrame<'_> {
    /// The bytes: kind, one length per field, the fields, the data.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when a field has more than 255 bytes.
    pub fn bytes(&self, data: &[u8]) -> Result<Vec<u8>, FrameError> {
        match *self {
            Self::Push { join_ref, topic, event } => pack(0, &[join_ref, topic, event], data),
            Self::Reply { join_ref, reference, topic, status } => {
                pack(1, &[join_ref, reference, topic, status.as_str()], data)
            }
            Self::Broadcast { topic, event } => pack(2, &[topic, event], data),
        }
    }
}

fn pack(kind: u8, fields: &[&str], data: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut out = vec![kind];
    for field in fields {
        out.push(u8::try_from(field.len()).map_err(|_| FrameError::TooLong)?);
    }
    for field in fields {
        out.extend_from_slice(field.as_bytes());
    }
    out.extend_from_slice(data);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(join_ref: Option<&str>, reference: Option<&str>, payload: Payload) -> Incoming {
        Incoming {
            join_ref: join_ref.map(Into::into),
            reference: reference.map(Into::into),
            topic: "org:1:recruit".into(),
            event: "open".into(),
            payload,
        }
    }

    #[test]
    fn a_text_frame_has_five_elements_and_more_are_ignored() {
        let payload = Payload::Json(json!({"a": [1]}));
        let cases = [
            (
                r#"["1","2","org:1:recruit","open",{"a":[1]}]"#,
                incoming(Some("1"), Some("2"), payload.clone()),
            ),
            (
                r#"[null,null,"org:1:recruit","open",{"a":[1]}]"#,
                incoming(None, None, payload.clone()),
            ),
            (
                r#"[ 1, 2,"org:1:recruit","open",{"a":[1]},"x",{}]"#,
                incoming(Some("1"), Some("2"), payload),
            ),
        ];

        for (text, expected) in cases {
            assert_eq!(Incoming::parse_text(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_frame_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "[1,2,3,4]",
            r#"["1","2","t","e"]"#,
            r#"["1","2",3,"e",{}]"#,
            r#"[{},"2","t","e",{}]"#,
            r#"["1","2","t","e",{}]x"#,
            r#"["1","2","t","e",{}"#,
            r#"["1","2","t","e",{"a":{"b":1,"b":2}}]"#,
        ] {
            assert_eq!(Incoming::parse_text(text), Err(FrameError::Text), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let text = format!(r#"["1","2","t","e",{}{}]"#, "[".repeat(100_000), "]".repeat(100_000));

        assert_eq!(Incoming::parse_text(&text), Err(FrameError::Text));
    }

    #[test]
    fn a_binary_push_is_read_field_by_field() {
        let bytes = pack(0, &["1", "", "org:1:recruit", "open"], b"\x00\xff").expect("short");

        let frame = Incoming::parse_binary(&bytes.into());

        let data = Payload::Binary(Bytes::from_static(b"\x00\xff"));
        assert_eq!(frame, Ok(incoming(Some("1"), None, data)));
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused() {
        let cases: [(&'static [u8], FrameError); 6] = [
            (b"", FrameError::Truncated),
            (b"\x00", FrameError::Truncated),
            (b"\x00\x01\x01\x01", FrameError::Truncated),
            (b"\x00\x01\x01\x01\x01abc", FrameError::Truncated),
            (b"\x00\x00\x00\x01\x00\xff", FrameError::Utf8),
            (b"\x02\x00\x00\x00\x00", FrameError::Kind(2)),
        ];

        for (bytes, expected) in cases {
            let parsed = Incoming::parse_binary(&Bytes::from_static(bytes));
            assert_eq!(parsed, Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn what_the_server_writes_is_compact() {
        let reply = Outgoing::Reply {
            join_ref: Some("1".into()),
            reference: Some("2".into()),
            topic: "t\"x".into(),
            status: Status::Ok,
            response: json!({}),
            is_binary: false,
        };
        let push = Outgoing::Push {
            join_ref: None,
            topic: "t".into(),
            event: "happened".into(),
            payload: r#"{"a":1}"#.into(),
            is_binary: false,
        };
        let end = Outgoing::End {
            join_ref: Some("1".into()),
            topic: "t".into(),
            event: ERROR,
            payload: json!({"reason": "channel_crash"}),
        };

        let reply_text = r#"["1","2","t\"x","phx_reply",{"response":{},"status":"ok"}]"#;
        assert_eq!(reply.text(), reply_text);
        assert_eq!(push.text(), r#"[null,null,"t","happened",{"a":1}]"#);
        assert_eq!(end.text(), r#"["1","1","t","phx_error",{"reason":"channel_crash"}]"#);
    }

    #[test]
    fn binary_frames_carry_their_kind_and_lengths() {
        let push = BinaryFrame::Push { join_ref: "1", topic: "t", event: "ev" };
        let status = Status::Ok;
        let reply = BinaryFrame::Reply { join_ref: "1", reference: "2", topic: "t", status };
        let broadcast = BinaryFrame::Broadcast { topic: "t", event: "ev" };

        assert_eq!(push.bytes(b"!"), Ok(b"\x00\x01\x01\x021tev!".to_vec()));
        assert_eq!(reply.bytes(b"!"), Ok(b"\x01\x01\x01\x01\x0212tok!".to_vec()));
        assert_eq!(broadcast.bytes(b"!"), Ok(b"\x02\x01\x02tev!".to_vec()));
        let long = "x".repeat(256);
        let refused = BinaryFrame::Broadcast { topic: &long, event: "e" }.bytes(b"");
        assert_eq!(refused, Err(FrameError::TooLong));
    }

    /// How the Kotlin and Java client reads a frame: splits at commas and strips quotes, trims
    /// nothing.
    fn split_as_kotlin_does(text: &str) -> (Vec<String>, String) {
        let inner = &text[1..text.len() - 1];
        let mut parts = inner.splitn(5, ',');
        let fields = parts.by_ref().take(4).map(|part| part.replace('"', "")).collect();
        (fields, parts.next().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_client_that_splits_at_commas_reads_every_kind_of_frame() {
        let push = Outgoing::Push {
            join_ref: Some("3".into()),
            topic: "org:1:recruit".into(),
            event: "job_order_opened".into(),
            payload: r#"{"title":"a, b"}"#.into(),
            is_binary: false,
        };
        let end = Outgoing::End {
            join_ref: Some("3".into()),
            topic: "org:1:recruit".into(),
            event: CLOSE,
            payload: json!({}),
        };

        let (fields, payload) = split_as_kotlin_does(&push.text());
        assert_eq!(fields, ["3", "null", "org:1:recruit", "job_order_opened"]);
        assert_eq!(payload, r#"{"title":"a, b"}"#);
        let (fields, payload) = split_as_kotlin_does(&end.text());
        assert_eq!(fields, ["3", "3", "org:1:recruit", "phx_close"]);
        assert_eq!(payload, "{}");
    }
}
