//! OpenAPI 3.1: the routes, described by the schemas and doc comments of the operations.
//!
//! There are no annotations anywhere: what a domain author wrote for the compiler and for the
//! reader is what a client gets. Where a schema refers to itself, its parts become components of
//! the document, named after the operation they belong to. Examples are the author's
//! (`#[schemars(example = …)]`), or made up from the schema.

mod example;
mod operation;
mod reference;
mod response;
mod shared;

use platform::Catalog;
use serde_json::{Map, Value, json};

use crate::route::Route;

/// The OpenAPI document of a catalog, as `/api/openapi.json` serves it.
#[must_use]
pub fn document(catalog: &Catalog) -> Value {
    let tags: Vec<(&str, &str)> =
        catalog.domains().iter().map(|domain| (domain.name().as_str(), domain.words())).collect();
    describe(&Route::all(catalog.operations()), &tags)
}

/// The same for an installation that is reached at `url`, if an operator has said so.
pub(crate) fn document_at(catalog: &Catalog, url: Option<&str>) -> Value {
    let mut document = document(catalog);
    if let Some(url) = url {
        document["servers"] = json!([{ "url": url, "description": "This installation." }]);
    }
    document
}

/// The document of these routes; `tags` are the domains and what they say of themselves.
fn describe(routes: &[Route], tags: &[(&str, &str)]) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation::operation(route, &mut schemas);
        let path = paths.entry(&route.template).or_insert_with(|| json!({}));
        path[route.method().as_str().to_lowercase()] = operation;
    }
    schemas.insert("Problem".into(), shared::problem_schema());
    let tags = tags.iter().filter(|(name, _)| routes.iter().any(|route| route.domain == *name));
    let tags: Vec<Value> =
        tags.map(|(name, words)| json!({ "name": name, "description": words })).collect();
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Finnest",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The operations of every domain, over HTTP.",
            "description": INTRODUCTION,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "externalDocs": { "url": "/api/docs", "description": "The same for people." },
        "servers": [{ "url": "/", "description": "This server." }],
        "security": [{ "bearer": [] }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": shared::responses(),
            "headers": shared::headers(),
            "parameters": shared::parameters(),
            "securitySchemes": { "bearer": shared::bearer() },
        },
    })
}

const INTRODUCTION: &str = "The operations of every domain. The organisation comes from the \
    token, never from input. Times are RFC 3339 in UTC, ids are UUIDs of version 7, money is in \
    integer cents. No text may hold the character U+0000. A field that is not described is \
    refused; new fields may appear in answers at any time.\n\nEvery error is a problem of RFC 9457 \
    (`application/problem+json`). Its `code` is stable, its `type` is an address that tells what \
    to do, and its `errors` name the fields to blame by JSON Pointer.\n\nA request that creates or \
    does something may carry an `Idempotency-Key`; repeated with the same key, it is done \
    once.\n\n`x-access`, `x-roles` and `x-scopes` tell who may call an operation: the caller's \
    role must be among the roles, and a credential with scopes must carry the scope. `x-category` \
    is `read`, `propose`, `execute` or `restricted`.";

#[cfg(test)]
mod tests {
    use platform::Verb;

    use super::*;
    use crate::route::tests::route;

    fn described() -> Value {
        describe(&routes(), &[("recruit", "Finds people."), ("payroll", "Pays them.")])
    }

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
        let document = described();

        insta::assert_json_snapshot!("document", document);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = described();

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
        let document = described();

        let fill = &document["paths"]["/api/v1/recruit/job_orders/{job_order_id}/fill"]["post"];
        let schema = &fill["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["properties"], json!({ "note": { "type": ["string", "null"] } }));
        assert_eq!(schema["required"], json!([]));
        assert_eq!(fill["requestBody"]["required"], json!(false));
    }
}
