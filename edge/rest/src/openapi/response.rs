//! The answers of one operation: its success, and every problem it can have.

use platform::{Access, Verb};
use serde_json::{Map, Value, json};

use super::operation::content;
use crate::route::{Route, Versioning};

/// The answers of a route, by status.
pub(super) fn responses(route: &Route, output: &Value, schemas: &Map<String, Value>) -> Value {
    let description = match route.verb {
        Verb::Read => "What was asked for.",
        Verb::Create => "It is created.",
        Verb::Remove => "It is removed.",
        Verb::Replace | Verb::Invoke | Verb::Internal => "It is done.",
    };
    let headers: Map<String, Value> =
        headers_of(route, output).into_iter().map(|name| (name.to_owned(), header(name))).collect();
    let mut success = json!({ "description": description, "headers": headers });
    if route.verb != Verb::Remove {
        success["content"] = content("application/json", output.clone(), schemas);
    }
    let mut responses = json!({ route.status().as_str(): success });
    if route.verb == Verb::Read {
        let headers: Map<String, Value> = ALWAYS
            .into_iter()
            .chain(["etag"])
            .map(|name| (name.to_owned(), header(name)))
            .collect();
        let description = "It is what the caller has already, by `If-None-Match`.";
        responses["304"] = json!({ "description": description, "headers": headers });
    }
    for status in problems_of(route) {
        responses[status] = json!({ "$ref": format!("#/components/responses/{status}") });
    }
    responses
}

/// A header of the document's own.
pub(super) fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// The headers of every success.
const ALWAYS: [&str; 4] = ["ratelimit", "ratelimit-policy", "x-request-id", "x-correlation-id"];

/// The headers of a success.
fn headers_of(route: &Route, output: &Value) -> Vec<&'static str> {
    let has = |field: &str| output["properties"].get(field).is_some();
    let is_read = route.verb == Verb::Read;
    let mut names = ALWAYS.to_vec();
    if is_read || (has("version") && route.verb != Verb::Remove) {
        names.push("etag");
    }
    if (is_read && has("next")) || route.successor.is_some() {
        names.push("link");
    }
    if let Some(deprecation) = route.deprecation {
        names.push("deprecation");
        names.extend(deprecation.sunset().map(|_| "sunset"));
    }
    if route.created.is_some() {
        names.push("location");
    }
    if route.remembers {
        names.push("idempotent-replayed");
    }
    names
}

/// The problems a route can answer with.
fn problems_of(route: &Route) -> Vec<&'static str> {
    let mut statuses = vec!["400", "401", "404", "409", "414", "422", "429", "500", "503"];
    if route.access != Access::Anyone {
        statuses.push("403");
    }
    if route.takes_body() {
        statuses.extend(["408", "413", "415"]);
    }
    if route.versioning != Versioning::None {
        statuses.push("412");
    }
    if route.versioning == Versioning::Required {
        statuses.push("428");
    }
    statuses
}
