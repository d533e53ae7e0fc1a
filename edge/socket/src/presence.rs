//! Presence on a channel: who else is there, for whoever says in its join that it is.
//!
//! A join whose parameters have `presence`, an object that says what others shall know (a device, a
//! status), makes its user present on the topic until the channel ends. The key is the user's id,
//! so that the devices of one person are metas of one key. `presence_state` follows the answer once
//! and whatever was missed, then `presence_diff` tells who comes and goes, on any node; the message
//! `presence_update` says something else of oneself.

use platform::Topic;
use platform::bus::{PresenceError, Seen, Tracked, Watching};
use serde_json::{Map, Value, json};

use crate::channels::{Join, Request};
use crate::feed::Told;
use crate::frame::{Payload, Status};
use crate::socket::Client;

/// The event that tells who is present.
const STATE: &str = "presence_state";
/// The event that tells who came and who went.
const DIFF: &str = "presence_diff";
/// The message with which a client says something else of itself.
pub(crate) const UPDATE: &str = "presence_update";

/// What a client says of itself, if it wants to be seen.
fn meta_of_join(payload: &Payload) -> Result<Option<Map<String, Value>>, Value> {
    let Payload::Json(params) = payload else { return Ok(None) };
    match params.get("presence") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(Map::new())),
        Some(Value::Object(meta)) => Ok(Some(meta.clone())),
        Some(_) => Err(refused("bad_presence", "presence is an object that others shall see")),
    }
}

/// Makes a client present on the topic it joins, if it asks for that.
pub(crate) fn enter(client: &Client, join: &Join) -> Result<Option<(Tracked, Watching)>, Value> {
    let Some(meta) = meta_of_join(&join.payload)? else { return Ok(None) };
    // As it is printed, so that it is the same topic however a client spells it.
    let topic = join.topic.parse::<Topic>().map(|topic| topic.to_string());
    let Ok(topic) = topic else {
        return Err(refused("no_presence", "only the topics of an organisation have presence"));
    };
    let presence = client.system.presence();
    let tracked = presence.track(&topic, &client.identity.user_id.to_string(), meta);
    Ok(Some((tracked.map_err(answer)?, presence.watch(&topic))))
}

/// Answers [`UPDATE`].
pub(crate) fn update(tracked: Option<&Tracked>, request: &Request) -> (Status, Value) {
    let Some(tracked) = tracked else {
        let message = "join with `presence` before you say something else of yourself";
        return (Status::Error, refused("not_present", message));
    };
    let Payload::Json(Value::Object(meta)) = &request.payload else {
        return (Status::Error, refused("bad_presence", "a meta is an object"));
    };
    match tracked.update(meta.clone()) {
        Ok(()) => (Status::Ok, json!({})),
        Err(error) => (Status::Error, answer(error)),
    }
}

/// What a channel is told of who is present.
pub(crate) fn told(seen: Seen) -> Told {
    match seen {
        Seen::State(state) => Told::Event { event: STATE.into(), payload: state.into() },
        Seen::Diff(diff) => Told::Event { event: DIFF.into(), payload: diff.to_string().into() },
    }
}

/// Whether an event tells of presence. Those are read by a part of the client library, so they are
/// text on every channel.
pub(crate) fn is_told_by(event: &str) -> bool {
    event == STATE || event == DIFF
}

fn answer(error: PresenceError) -> Value {
    let code = match error {
        PresenceError::MetaTooLarge => "presence_too_large",
        PresenceError::TooManyOfKey | PresenceError::TooMany => "presence_full",
    };
    refused(code, &error.to_string())
}

fn refused(code: &str, message: &str) -> Value {
    json!({ "reason": "invalid", "code": code, "message": message, "errors": [] })
}
