//! The answers of one operation: its success, and every problem it can have.

use platform::{Access, Verb};
use serde_json::{Map, Value, json};

use super::operation::content;
use crate::route::Route;

/// The answers of a route, by status.
pub(super) fn responses(route: &Route, output: &Value, schemas: &Map<String, Value>) -> Value {
    let description = match route.verb {
        Verb::Read => "What was asked for.",
        Verb::Create => "It is created.",
        Verb::Remove => "It is removed.",
        Verb::Replace | Verb::Invoke | Verb::Internal => "It is done.",
    };
    let headers: Map<String, Value> =
        headers_of(route).into_iter().map(|name| (name.to_owned(), header(name))).collect();
    let mut success = json!({ "description": description, "headers": headers });
    if route.verb != Verb::Remove {
        success["content"] = content("application/json", output.clone(), schemas);
    }
    let mut responses = json!({ route.status().as_str(): success });
    for status in problems_of(route) {
        responses[status] = json!({ "$ref": format!("#/components/responses/{status}") });
    }
    responses
}

/// A header of the document's own.
pub(super) fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// The headers of a success.
fn headers_of(route: &Route) -> Vec<&'static str> {
    let mut names = vec!["ratelimit", "ratelimit-policy", "x-request-id", "x-correlation-id"];
    if route.created.is_some() {
        names.push("location");
    }
    if route.takes_key() && route.is_command {
        names.push("idempotent-replayed");
    }
    names
}

/// The problems a route can answer with.
fn problems_of(route: &Route) -> Vec<&'static str> {
    let mut statuses = vec!["400", "401", "404", "409", "422", "429", "500", "503"];
    if route.access != Access::Anyone {
        statuses.push("403");
    }
    if route.takes_body() {
        statuses.extend(["408", "413", "415"]);
    }
    statuses
}
