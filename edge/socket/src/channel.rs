//! A channel: one topic on one socket. Who may enter, and what can be asked there.
//!
//! The operations of the topic's domain are the events a client may push: `open_job_order` with its
//! input as payload is answered with its output, or with the same refusal every other surface
//! gives.

use platform::bus::Tracked;
use platform::{Access, Domain, Error, FieldError, Role, Topic, Verb, allows};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::channels::{Join, Request};
use crate::feed::{Ear, Feed, Resume};
use crate::frame::{Payload, Status};
use crate::presence::{self, UPDATE};
use crate::socket::Client;

/// The topic on which operators watch the supervision tree.
pub(crate) const SUPERVISION: &str = "system:supervision";
/// Whose operations can be called on [`SUPERVISION`].
const OPERATOR: &str = "operator";

/// A join was granted.
pub(crate) struct Granted {
    /// What the answer says.
    pub(crate) response: Value,
    /// What the channel will be told.
    pub(crate) feed: Ear,
    /// Lets the client be seen, if it wants that.
    pub(crate) tracked: Option<Tracked>,
}

/// Lets a client into a topic, or says why not.
pub(crate) async fn join(client: &Client, join: &Join) -> Result<Granted, Value> {
    let resume = Resume::from_params(&join.payload)?;
    if join.topic == SUPERVISION {
        if !allows(client.identity.role, Access::Operate) {
            return Err(forbidden("only operators may watch the supervision tree"));
        }
        let (feed, response) = Feed::supervision(&client.system).map_err(|error| failed(&error))?;
        return granted(client, join, feed, response);
    }
    let topic: Topic = join.topic.parse().map_err(|_| unmatched())?;
    let domain = client.system.catalog().domain(&topic.domain).ok_or_else(unmatched)?;
    if topic.org_id != client.identity.org_id {
        return Err(forbidden("the topic belongs to another organisation"));
    }
    if !may_listen(client.identity.role, domain) {
        let role = client.identity.role.name();
        return Err(forbidden(&format!("the role {role} may not read {}", topic.domain)));
    }
    let (feed, response) =
        Feed::events(&client.system, topic, resume).await.map_err(|error| failed(&error))?;
    granted(client, join, feed, response)
}

fn granted(client: &Client, join: &Join, feed: Feed, response: Value) -> Result<Granted, Value> {
    let (tracked, present) = presence::enter(client, join)?.unzip();
    Ok(Granted { response, feed: Ear::new(feed, present), tracked })
}

/// Whoever may read nothing of a domain may not listen to it either.
fn may_listen(role: Role, domain: &Domain) -> bool {
    let reads = domain.operations().iter().filter(|operation| operation.spec.verb() == Verb::Read);
    let mut needed = reads.map(|operation| operation.spec.access()).peekable();
    match needed.peek() {
        Some(_) => needed.any(|access| allows(role, access)),
        None => allows(role, Access::Read),
    }
}

/// Calls the operation that a message names, in the name of the connected user.
pub(crate) async fn call(
    client: &Client,
    request: &Request,
    tracked: Option<&Tracked>,
) -> (Status, Value) {
    if request.event == UPDATE {
        return presence::update(tracked, request);
    }
    let domain = match request.topic.parse::<Topic>() {
        Ok(topic) => topic.domain,
        Err(_) => OPERATOR.to_owned(),
    };
    let input = match &request.payload {
        Payload::Json(input) => input.clone(),
        Payload::Binary(_) => {
            return refused(
                "invalid",
                "binary_payload",
                "operations take JSON, not raw bytes",
                &[],
            );
        }
    };
    let operation = client.system.catalog().operation(&domain, &request.event);
    if operation.is_none_or(|operation| operation.spec.verb() == Verb::Internal) {
        let message = format!("{domain} has no operation `{}`", request.event);
        return refused("not_found", "unknown_operation", &message, &[]);
    }
    let scope = client.identity.scope(Uuid::now_v7());
    match client.system.call(&scope, &domain, &request.event, input).await {
        Ok(output) => (Status::Ok, object(output)),
        Err(error) => (Status::Error, failed(&error)),
    }
}

/// A response is always an object: two client libraries drop anything else.
fn object(output: Value) -> Value {
    match output {
        Value::Object(_) => output,
        Value::Null => json!({}),
        other => json!({ "value": other }),
    }
}

fn failed(error: &Error) -> Value {
    let (_, mut response) =
        refused(error.kind().name(), error.code(), error.message(), error.fields());
    if let Some(after) = error.retry_after() {
        response["retry_after_ms"] = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into();
    }
    response
}

fn refused(reason: &str, code: &str, message: &str, fields: &[FieldError]) -> (Status, Value) {
    let response = json!({ "reason": reason, "code": code, "message": message, "errors": fields });
    (Status::Error, response)
}

fn forbidden(message: &str) -> Value {
    refused("forbidden", "access_denied", message, &[]).1
}

fn unmatched() -> Value {
    json!({ "reason": "unmatched topic" })
}
