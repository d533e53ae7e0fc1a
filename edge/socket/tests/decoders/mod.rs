//! What the client libraries make of what the server sends. Each trips over something else, so each
//! rule of theirs is kept here as a small decoder, and every kind of frame has to pass all of them.

use futures_util::SinkExt as _;
use platform::Role;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use socket::frame::{CLOSE, ERROR, Outgoing, Status};
use tokio_tungstenite::tungstenite::Message;

use crate::{Edge, topic};

/// A frame as a client library hands it to its user.
#[derive(Debug, Clone, PartialEq)]
struct Decoded {
    join_ref: Option<String>,
    reference: Option<String>,
    topic: String,
    event: String,
    payload: Map<String, Value>,
}

/// Kotlin and Java: cuts off the brackets, takes the text up to each comma, strips quotes and trims
/// nothing; only what is left is read as JSON, into a map.
fn as_kotlin_does(text: &str) -> Result<Decoded, String> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or("brackets")?;
    let mut parts = inner.splitn(5, ',').map(str::to_owned);
    let mut field = || parts.next().map(|part| part.replace('"', "")).ok_or("too few fields");
    let (join_ref, reference, topic, event) = (field()?, field()?, field()?, field()?);
    let payload = parts.next().ok_or("no payload")?;
    let payload: Map<String, Value> = serde_json::from_str(&payload).map_err(|e| e.to_string())?;
    let some = |text: String| (text != "null").then_some(text);
    unwrapped(Decoded {
        join_ref: some(join_ref),
        reference: some(reference),
        topic,
        event,
        payload,
    })
}

/// Swift: an array of JSON whose fields must be cast to strings, or else are taken for absent.
fn as_swift_does(text: &str) -> Result<Decoded, String> {
    let array: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let string = |at: usize| array.get(at).and_then(Value::as_str).map(str::to_owned);
    let payload = array.get(4).and_then(Value::as_object).cloned();
    unwrapped(Decoded {
        join_ref: string(0),
        reference: string(1),
        topic: string(2).ok_or("a topic")?,
        event: string(3).ok_or("an event")?,
        payload: payload.ok_or("a payload")?,
    })
}

/// Dart: an array of JSON whose fields are cast, which throws if they are anything else.
fn as_dart_does(text: &str) -> Result<Decoded, String> {
    let array: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let [join_ref, reference, topic, event, payload] = &array[..] else {
        return Err("five fields".into());
    };
    let nullable = |value: &Value| match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(format!("{other} is no String?")),
    };
    Ok(Decoded {
        join_ref: nullable(join_ref)?,
        reference: nullable(reference)?,
        topic: topic.as_str().ok_or("a topic")?.to_owned(),
        event: event.as_str().ok_or("an event")?.to_owned(),
        payload: payload.as_object().ok_or("a payload")?.clone(),
    })
}

/// Swift and Kotlin hand out what is under `response`, in whatever frame it stands; so it may stand
/// in answers only, and there beside the status alone.
fn unwrapped(decoded: Decoded) -> Result<Decoded, String> {
    let is_answer = decoded.event == "phx_reply";
    match decoded.payload.get("response") {
        Some(Value::Object(_)) if is_answer && decoded.payload.len() == 2 => {
            match decoded.payload.get("status").and_then(Value::as_str) {
                Some("ok" | "error") => Ok(decoded),
                status => Err(format!("the status {status:?}")),
            }
        }
        None if !is_answer => Ok(decoded),
        response => Err(format!("{} with the response {response:?}", decoded.event)),
    }
}

/// What all of them make of it, if they agree.
fn decoded_by_all(text: &str) -> Decoded {
    let swift = as_swift_does(text).unwrap_or_else(|error| panic!("Swift: {error} in {text}"));
    let dart = as_dart_does(text).unwrap_or_else(|error| panic!("Dart: {error} in {text}"));
    let kotlin = as_kotlin_does(text).unwrap_or_else(|error| panic!("Kotlin: {error} in {text}"));
    assert_eq!(swift, dart);
    assert_eq!(swift, kotlin);
    swift
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        r#"[,"\[\]{}\\ ]{0,6}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(r#"[a-z_,"]{0,8}"#, any_json(), 0..4).prop_map(|map| {
        Value::Object(map.into_iter().filter(|(key, _)| key != "response").collect())
    })
}

fn any_reference() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[1-9][0-9]{0,9}")
}

fn any_outgoing() -> impl Strategy<Value = Outgoing> {
    let topic = || "(org|user|system):[0-9a-f-]{1,36}(:[a-z_]{1,12}){0,2}";
    let reply = (any_reference(), any_reference(), topic(), any_object(), any::<bool>()).prop_map(
        |(join_ref, reference, topic, response, is_ok)| {
            let status = if is_ok { Status::Ok } else { Status::Error };
            Outgoing::Reply { join_ref, reference, topic, status, response, is_binary: false }
        },
    );
    let push = (topic(), "[a-z_]{1,30}", any_object()).prop_map(|(topic, event, payload)| {
        let payload = payload.to_string().into();
        Outgoing::Push { join_ref: None, topic, event: event.into(), payload, is_binary: false }
    });
    let end = (any_reference(), topic(), any::<bool>()).prop_map(|(join_ref, topic, is_close)| {
        let (event, payload) =
            if is_close { (CLOSE, json!({})) } else { (ERROR, json!({"reason": "channel_crash"})) };
        Outgoing::End { join_ref, topic, event, payload }
    });
    prop_oneof![reply, push, end]
}

proptest! {
    #[test]
    fn every_client_reads_every_frame_alike(outgoing in any_outgoing()) {
        let decoded = decoded_by_all(&outgoing.text());

        match outgoing {
            Outgoing::Reply { join_ref, reference, topic, status, response, .. } => {
                prop_assert_eq!((decoded.join_ref, decoded.reference), (join_ref, reference));
                prop_assert_eq!((decoded.topic, decoded.event.as_str()), (topic, "phx_reply"));
                prop_assert_eq!(&decoded.payload["status"], status.as_str());
                prop_assert_eq!(&decoded.payload["response"], &response);
            }
            Outgoing::Push { topic, event, payload, .. } => {
                prop_assert_eq!((decoded.join_ref, decoded.reference), (None, None));
                prop_assert_eq!((decoded.topic, decoded.event), (topic, event.into_owned()));
                prop_assert_eq!(Value::Object(decoded.payload).to_string(), payload.into_owned());
            }
            Outgoing::End { join_ref, topic, event, payload } => {
                prop_assert_eq!((&decoded.join_ref, &decoded.reference), (&join_ref, &join_ref));
                prop_assert_eq!((decoded.topic, decoded.event.as_str()), (topic, event));
                prop_assert_eq!(Value::Object(decoded.payload), payload);
            }
        }
    }
}

#[tokio::test]
async fn every_client_reads_what_a_running_server_says() {
    let edge = Edge::start().await;
    edge.pack("a, \"b\"").await;
    edge.system.settle().await;
    let mut client = edge.connect(Role::Operator).await;
    let supervision = "system:supervision";
    let kill = json!({"path": "root/bus/bridge", "reason": "try"});
    let said = [
        json!([null, "1", "phoenix", "heartbeat", {}]),
        json!(["2", "2", supervision, "phx_join", {}]),
        json!(["3", "3", topic(), "phx_join", {"last_seq": 0}]),
        json!(["4", "4", "room:lobby", "phx_join", {}]),
        json!(["5", "5", topic(), "phx_join", {"last_seq": "x"}]),
        json!(["6", "6", topic(), "phx_join", {}]),
        json!(["6", "7", topic(), "pack_crate", {"label": "a, \"b\""}]),
        json!(["6", "8", topic(), "no_such", {}]),
        json!(["2", "9", supervision, "kill_process", kill]),
        json!(["6", "10", topic(), "phx_leave", {}]),
    ];
    let (mut last, mut events) = (String::new(), Vec::new());
    for frame in said {
        client.stream.send(Message::text(frame.to_string())).await.expect("the server reads");
        // What was missed is told until the topic is joined again.
        while frame[1] == "3" && !events.contains(&"crate_packed".to_owned()) {
            let Message::Text(text) = client.message().await else { panic!("text was expected") };
            events.push(decoded_by_all(&text).event);
        }
    }

    while last != "9" || !events.contains(&"supervision".to_owned()) {
        let Message::Text(text) = client.message().await else { panic!("text was expected") };
        let decoded = decoded_by_all(&text);
        if let Some(reference) = decoded.reference.filter(|_| decoded.event == "phx_reply") {
            last = reference;
        }
        events.push(decoded.event);
    }

    for event in ["phx_reply", "phx_close", "crate_packed", "supervision"] {
        assert!(events.contains(&event.to_owned()), "{event} in {events:?}");
    }
    edge.system.stop().await;
}
