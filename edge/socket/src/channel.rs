//! A channel: one topic on one socket. Who may enter, and what can be asked there.
//!
//! The operations of the topic's domain are the events a client may push: `open_job_order` with its
//! input as payload is answered with its output, or with the same refusal every other surface
//! gives.

use platform::bus::{Audience, Tracked};
use platform::{
    Access, Caller, Catalog, Domain, Error, FieldError, Identity, Topic, UserId, Verb, allows,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::asked::Asked;
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
    /// With whom it is told the same of each event.
    pub(crate) audience: Option<Audience>,
}

/// A join was refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refused {
    /// There is no such topic.
    Unmatched,
    /// There is, but not so, or not for this client.
    With(Value),
}

impl Refused {
    /// Whoever decided about it broke.
    pub(crate) fn crashed() -> Self {
        Self::With(json!({ "reason": "join crashed" }))
    }
}

/// What a topic stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The supervision tree.
    Supervision,
    /// What the domain of this topic, which keeps credentials, tells of the user who is connected.
    User(Topic, UserId),
    /// A domain of an organisation, or one aggregate of it.
    Domain(Topic),
}

/// Lets a client into a topic, or says why not.
pub(crate) async fn join(client: &Client, join: &Join) -> Result<Granted, Refused> {
    let resume = Resume::from_params(&join.payload).map_err(Refused::With)?;
    let place = place(client.system.catalog(), &client.identity, &join.topic)?;
    let audience = audience(&place, &join.topic);
    let entered = match place {
        Place::Supervision => Feed::supervision(&client.system),
        Place::User(topic, user_id) => Feed::user(&client.system, topic, user_id, resume).await,
        Place::Domain(topic) => Feed::events(&client.system, topic, resume).await,
    };
    let (feed, response) = entered.map_err(|error| Refused::With(failed(&error)))?;
    let (tracked, present) = presence::enter(client, join).map_err(Refused::With)?.unzip();
    Ok(Granted { response, feed: Ear::new(feed, present), tracked, audience })
}

/// With whom a channel is told the same of each event: with all who wrote the topic as it is
/// written here. A frame repeats the topic as it was joined.
fn audience(place: &Place, joined: &str) -> Option<Audience> {
    match place {
        Place::Domain(topic) if topic.to_string() != joined => None,
        Place::Domain(Topic { aggregate_id: None, .. }) => Some(Audience::Domain),
        Place::Domain(_) => Some(Audience::Aggregate),
        Place::Supervision | Place::User(..) => None,
    }
}

/// Whether a client may stay in a topic it has joined, now that its user may do something else.
pub(crate) fn may_stay(client: &Client, topic: &str) -> bool {
    place(client.system.catalog(), &client.identity, topic).is_ok()
}

/// What a topic stands for, if this user may listen to it.
fn place(catalog: &Catalog, identity: &Identity, topic: &str) -> Result<Place, Refused> {
    if topic == SUPERVISION {
        if !may(identity, OPERATOR, Access::Operate) {
            return Err(forbidden("only operators may watch the supervision tree"));
        }
        return Ok(Place::Supervision);
    }
    if let Some(user_id) = topic.strip_prefix("user:") {
        let user_id: UserId = user_id.parse().map_err(|_| Refused::Unmatched)?;
        if user_id != identity.user_id {
            return Err(forbidden("the topic belongs to another user"));
        }
        let keeper = catalog.credentials().ok_or(Refused::Unmatched)?;
        let topic = Topic::domain(identity.org_id, keeper.name().as_str());
        return Ok(Place::User(topic, user_id));
    }
    let topic: Topic = topic.parse().map_err(|_| Refused::Unmatched)?;
    let domain = catalog.domain(&topic.domain).ok_or(Refused::Unmatched)?;
    if topic.org_id != identity.org_id {
        return Err(forbidden("the topic belongs to another organisation"));
    }
    if !may_listen(identity, domain) {
        let role = identity.role.name();
        return Err(forbidden(&format!(
            "the role {role}, or the credential shown, may not read {}",
            topic.domain
        )));
    }
    Ok(Place::Domain(topic))
}

/// Whoever may read nothing of a domain may not listen to it either. What one may ask about oneself
/// says nothing of the others, of whom events tell too.
fn may_listen(identity: &Identity, domain: &Domain) -> bool {
    let reads = domain.operations().iter().filter(|operation| operation.spec.verb() == Verb::Read);
    let reads: Vec<Access> = reads.map(|operation| operation.spec.access()).collect();
    let of_others = |access: &&Access| !matches!(access, Access::Anyone | Access::Member);
    let name = domain.name().as_str();
    if reads.is_empty() {
        return may(identity, name, Access::Read);
    }
    let mut of_others = reads.iter().filter(of_others).peekable();
    match of_others.peek() {
        Some(_) => of_others.any(|access| may(identity, name, *access)),
        None => may(identity, name, Access::Administer),
    }
}

/// Whether role and credential allow to listen where that access is asked for. To listen is to
/// read, whatever role it takes.
fn may(identity: &Identity, domain: &str, access: Access) -> bool {
    let authority = identity.scope(Uuid::nil()).authority;
    let right = if access == Access::Operate { "operate" } else { "read" };
    allows(identity.role, access) && authority.allows(domain, right)
}

/// Calls the operation that a message names, in the name of the connected user.
pub(crate) async fn call(
    client: &Client,
    request: &Request,
    tracked: Option<&Tracked>,
) -> (Status, Value) {
    if let Err(error) = client.system.admit(Caller::Known(&client.identity)) {
        return (Status::Error, failed(&error));
    }
    if request.event == UPDATE {
        return presence::update(tracked, request);
    }
    let domain = domain_of(client.system.catalog(), &request.topic);
    let asked = match Asked::from_payload(&request.payload) {
        Ok(asked) => asked,
        Err(error) => return refused("invalid", error.code(), &error.to_string(), &[]),
    };
    let operation = client.system.catalog().operation(&domain, &request.event);
    if operation.is_none_or(|operation| operation.spec.verb() == Verb::Internal) {
        let message = format!("{domain} has no operation `{}`", request.event);
        return refused("not_found", "unknown_operation", &message, &[]);
    }
    let scope = client.identity.scope(asked.correlation_id).traced(asked.traceparent);
    let (system, event) = (&client.system, request.event.as_str());
    let answer = match &asked.request_id {
        Some(key) => {
            let answer = system.call_once(&scope, &domain, event, asked.input, key).await;
            answer.map(|answer| answer.value)
        }
        None => system.call(&scope, &domain, event, asked.input).await,
    };
    match answer {
        Ok(output) => (Status::Ok, object(output)),
        Err(error) => (Status::Error, failed(&error)),
    }
}

/// The domain whose operations can be called on a topic that is joined: on a user's own, the one
/// that keeps credentials.
fn domain_of(catalog: &Catalog, topic: &str) -> String {
    match topic.parse::<Topic>() {
        Ok(topic) => topic.domain,
        Err(_) if topic == SUPERVISION => OPERATOR.to_owned(),
        Err(_) => catalog.credentials().map(|keeper| keeper.name().to_string()).unwrap_or_default(),
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

fn forbidden(message: &str) -> Refused {
    Refused::With(refused("forbidden", "access_denied", message, &[]).1)
}

/// Whether the events of this channel shall come as bytes, which few clients can take.
pub(crate) fn wants_bytes(join: &Join) -> bool {
    match &join.payload {
        Payload::Json(params) => params.get("binary").and_then(Value::as_bool).unwrap_or(false),
        Payload::Binary(_) => false,
    }
}
