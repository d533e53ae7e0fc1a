//! OpenAPI 3.1: the routes, described by the schemas and doc comments of the operations.
//!
//! There are no annotations anywhere: what a domain author wrote for the compiler and for the
//! reader is what a client gets. Where a schema refers to itself, its parts become components of
//! the document, named after the operation they belong to.

use std::collections::BTreeSet;

use platform::Verb;
use serde_json::{Map, Value, json};

use crate::example::example;
use crate::limits::BODY_BYTES_MAX;
use crate::problem::MEDIA_TYPE;
use crate::route::Route;

/// The document.
pub(crate) fn document(routes: &[Route]) -> Value {
    let mut components = Map::new();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut components);
        let path = paths.entry(&route.template).or_insert_with(|| json!({}));
        path[route.method().as_str().to_lowercase()] = operation;
    }
    components.insert("Problem".into(), problem_schema());
    let tags: BTreeSet<&str> = routes.iter().map(|route| route.domain).collect();
    let tags: Vec<Value> = tags.into_iter().map(|tag| json!({ "name": tag })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Finnest",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
        },
        "servers": [{ "url": "/", "description": "This server." }],
        "security": [{ "bearer": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": problem_responses(),
            "headers": headers(),
            "parameters": parameters(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of a user. It decides the organisation whose data are \
                        seen.",
                },
            },
        },
    })
}

const INTRODUCTION: &str = "The operations of every domain. The organisation comes from the token. \
    Times are RFC 3339 in UTC, ids are UUIDs of version 7, money is in integer cents. Every error \
    is a problem of RFC 9457 whose `code` is stable and whose `errors` name fields by JSON \
    Pointer.";

fn operation(route: &Route, components: &mut Map<String, Value>) -> Value {
    let prefix = format!("{}.{}", route.domain, route.name);
    let input = hoist(&route.input_schema, &format!("{prefix}.input"), components);
    let output = hoist(&route.output_schema, &format!("{prefix}.output"), components);
    let in_path: Vec<&str> = route.path_parameters().collect();
    let mut parameters = vec![json!({ "$ref": "#/components/parameters/correlation_id" })];
    parameters.extend(in_path.iter().map(|name| parameter(name, "path", &input)));
    let mut operation = json!({
        "operationId": format!("{}_{}", route.domain, route.name),
        "tags": [route.domain],
        "summary": route.summary,
        "description": route.description,
        "responses": responses(route, output),
    });
    if route.takes_body() {
        if let Some(body) = body(&input, &in_path) {
            operation["requestBody"] = body;
        }
    } else {
        let names = properties(&input).filter(|(name, _)| !in_path.contains(&name.as_str()));
        parameters.extend(names.map(|(name, _)| parameter(name, "query", &input)));
    }
    if route.takes_key() && route.is_command {
        parameters.push(json!({ "$ref": "#/components/parameters/idempotency_key" }));
    }
    operation["parameters"] = parameters.into();
    operation
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|names| names.iter().any(|required| required == name))
}

fn parameter(name: &str, place: &str, input: &Value) -> Value {
    let mut schema = input["properties"][name].clone();
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut parameter = json!({
        "name": name,
        "in": place,
        "required": place == "path" || is_required(input, name),
        "schema": schema,
    });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}

/// The input without what the path carries; nothing if the path carries it all.
fn body(input: &Value, in_path: &[&str]) -> Option<Value> {
    let mut schema = input.clone();
    let fields = schema.as_object_mut()?;
    fields.remove("description");
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !in_path.contains(&name.as_str()));
    }
    let is_empty = properties(&schema).next().is_none();
    let mut is_required = false;
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name.as_str().is_none_or(|name| !in_path.contains(&name)));
        is_required = !required.is_empty();
    }
    if is_empty {
        return None;
    }
    let content = content("application/json", schema);
    Some(json!({ "required": is_required, "content": content }))
}

fn content(media_type: &str, schema: Value) -> Value {
    let mut media = json!({});
    if let Some(example) = example(&schema) {
        media["example"] = example;
    }
    media["schema"] = schema;
    json!({ media_type: media })
}

fn responses(route: &Route, output: Value) -> Value {
    let mut headers = json!({
        "x-request-id": { "$ref": "#/components/headers/x-request-id" },
        "x-correlation-id": { "$ref": "#/components/headers/x-correlation-id" },
    });
    if route.created.is_some() {
        headers["location"] = json!({ "$ref": "#/components/headers/location" });
    }
    let description = match route.verb {
        Verb::Read => "What was asked for.",
        Verb::Create => "It is created.",
        Verb::Remove => "It is removed.",
        Verb::Replace | Verb::Invoke | Verb::Internal => "It is done.",
    };
    let mut success = json!({ "description": description, "headers": headers });
    if route.verb != Verb::Remove {
        success["content"] = content("application/json", output);
    }
    let mut responses = json!({ route.status().as_str(): success });
    for status in problems_of(route) {
        responses[status] = json!({ "$ref": format!("#/components/responses/{status}") });
    }
    responses
}

/// The errors a route can answer.
fn problems_of(route: &Route) -> Vec<&'static str> {
    let mut statuses = vec!["400", "401", "403", "404", "422", "500", "503"];
    if route.verb != Verb::Read {
        statuses.push("409");
    }
    if route.takes_body() {
        statuses.extend(["408", "413", "415"]);
    }
    statuses
}

fn problem_responses() -> Value {
    let too_large = format!("The body has more than {BODY_BYTES_MAX} bytes.");
    let described = [
        ("400", "The path, the query string or the body cannot be read."),
        ("401", "There is no token, or nobody is known by it."),
        ("403", "The caller's role may not do this."),
        ("404", "There is no such thing, or not for this organisation."),
        ("408", "The body took too long to arrive."),
        ("409", "The state of things does not allow this now."),
        ("413", too_large.as_str()),
        ("415", "The body is not JSON."),
        ("422", "The input breaks a rule; `errors` name the fields."),
        ("500", "Something went wrong on our side; `instance` finds it in the log."),
        ("503", "The domain or the database is not available just now."),
    ];
    let responses = described.into_iter().map(|(status, description)| {
        let mut response = json!({
            "description": description,
            "headers": {
                "x-request-id": { "$ref": "#/components/headers/x-request-id" },
                "x-correlation-id": { "$ref": "#/components/headers/x-correlation-id" },
            },
            "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
        });
        if status == "503" {
            response["headers"]["retry-after"] =
                json!({ "$ref": "#/components/headers/retry-after" });
        }
        if status == "401" {
            response["headers"]["www-authenticate"] =
                json!({ "$ref": "#/components/headers/www-authenticate" });
        }
        (status.to_owned(), response)
    });
    Value::Object(responses.collect())
}

fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let address = |description: &str| {
        let mut schema = text(description);
        schema["format"] = "uri-reference".into();
        schema
    };
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "errors"],
        "properties": {
            "type": address("A stable address of the rule."),
            "title": text("The same for every problem of this status."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "detail": text("What is wrong with this request, as a sentence."),
            "instance": address("The request, as the log knows it."),
            "code": text("The rule, for programs; it does not change."),
            "errors": {
                "type": "array",
                "description": "The fields to blame, if fields are.",
                "items": {
                    "type": "object",
                    "required": ["pointer", "message"],
                    "properties": {
                        "pointer": text("JSON Pointer to the field; empty for the whole input."),
                        "message": text("What is wrong with it."),
                    },
                },
            },
        },
    })
}

fn headers() -> Value {
    let header =
        |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let uuid = json!({ "type": "string", "format": "uuid" });
    let address = json!({ "type": "string", "format": "uri-reference" });
    let seconds = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string" });
    json!({
        "x-request-id": header("This request, as the log knows it.", uuid.clone()),
        "x-correlation-id": header("The chain of causes this request belongs to.", uuid),
        "location": header("The address of what was created.", address),
        "retry-after": header("Seconds to wait before asking again.", seconds),
        "www-authenticate": header("How to authenticate.", text),
    })
}

fn parameters() -> Value {
    json!({
        "correlation_id": {
            "name": "x-correlation-id",
            "in": "header",
            "required": false,
            "description": "The chain of causes this request belongs to. Without it, a new one \
                begins.",
            "schema": { "type": "string", "format": "uuid" },
        },
        "idempotency_key": {
            "name": "idempotency-key",
            "in": "header",
            "required": false,
            "description": "A request repeated with the same key is done once; the repeated answer \
                says `Idempotent-Replayed: true`. Another request with the same key is refused.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        },
    })
}

/// Moves the named parts of a schema to the document's components, and points to them there.
fn hoist(schema: &Value, prefix: &str, components: &mut Map<String, Value>) -> Value {
    let mut schema = schema.clone();
    let parts = schema.as_object_mut().and_then(|fields| fields.remove("$defs"));
    let Some(Value::Object(parts)) = parts else {
        point(&mut schema, prefix);
        return schema;
    };
    for (name, mut part) in parts {
        point(&mut part, prefix);
        components.insert(format!("{prefix}.{name}"), part);
    }
    let refers_to_itself = point(&mut schema, prefix);
    if refers_to_itself {
        components.insert(prefix.to_owned(), schema);
        return json!({ "$ref": format!("#/components/schemas/{prefix}") });
    }
    schema
}

/// Rewrites references; tells whether one went to the schema's own root.
fn point(schema: &mut Value, prefix: &str) -> bool {
    let mut to_root = false;
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref") {
                if target == "#" {
                    to_root = true;
                    *target = format!("#/components/schemas/{prefix}");
                } else if let Some(name) = target.strip_prefix("#/$defs/") {
                    *target = format!("#/components/schemas/{prefix}.{name}");
                }
            }
            for value in fields.values_mut() {
                to_root |= point(value, prefix);
            }
        }
        Value::Array(items) => {
            for item in items {
                to_root |= point(item, prefix);
            }
        }
        _ => {}
    }
    to_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::tests::route;

    fn routes() -> Vec<Route> {
        let id = json!({ "type": "string", "format": "uuid", "description": "Which order." });
        let mut open = route(Verb::Create, "/api/v1/recruit/job_orders");
        open.input_schema = json!({
            "type": "object",
            "description": "Open a job order.",
            "additionalProperties": false,
            "required": ["title", "headcount"],
            "properties": {
                "title": {
                    "type": "string",
                    "description": "Title shown to candidates.",
                    "minLength": 1,
                },
                "headcount": { "type": "integer", "minimum": 1 },
            },
        });
        open.output_schema = json!({ "type": "object", "properties": { "job_order_id": id } });
        open.created = Some("/api/v1/recruit/job_orders/{job_order_id}".into());
        let mut fill = route(Verb::Invoke, "/api/v1/recruit/job_orders/{job_order_id}/fill");
        fill.name = "fill_job_order";
        fill.input_schema = json!({
            "type": "object",
            "required": ["job_order_id"],
            "properties": { "job_order_id": id, "note": { "type": ["string", "null"] } },
        });
        let mut list = route(Verb::Read, "/api/v1/recruit/job_orders");
        list.name = "list_job_orders";
        list.input_schema = json!({
            "type": "object",
            "properties": { "limit": { "type": ["integer", "null"], "maximum": 100 } },
        });
        list.output_schema = json!({
            "type": "object",
            "properties": { "tree": { "$ref": "#/$defs/Node" } },
            "$defs": { "Node": { "type": "object", "properties": {
                "children": { "type": "array", "items": { "$ref": "#/$defs/Node" } },
            } } },
        });
        let mut remove = route(Verb::Remove, "/api/v1/recruit/job_orders/{job_order_id}");
        remove.name = "remove_job_order";
        remove.input_schema = fill.input_schema.clone();
        vec![open, fill, list, remove]
    }

    #[test]
    fn the_document_of_four_operations() {
        let document = document(&routes());

        insta::assert_json_snapshot!("document", document);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&routes());

        let mut references = Vec::new();
        collect(&document, &mut references);

        assert!(references.len() > 20);
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("references stay in the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    fn collect(value: &Value, references: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    references.push(reference.clone());
                }
                fields.values().for_each(|value| collect(value, references));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
            _ => {}
        }
    }

    #[test]
    fn what_the_path_carries_is_not_in_the_body() {
        let document = document(&routes());

        let fill = &document["paths"]["/api/v1/recruit/job_orders/{job_order_id}/fill"]["post"];
        let schema = &fill["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"], json!({ "note": { "type": ["string", "null"] } }));
        assert_eq!(schema["required"], json!([]));
        assert_eq!(fill["requestBody"]["required"], json!(false));
    }
}
