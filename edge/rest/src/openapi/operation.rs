//! One operation of the document: its parameters, its body, who may call it.

use platform::{Access, Role, Verb, allows};
use serde_json::{Map, Value, json};

use super::example::example;
use super::reference::hoist;
use super::response::responses;
use crate::condition::EXPECTED_VERSION;
use crate::route::{Route, Versioning};

/// The operation at a route. Named parts of its schemas are added to `schemas`.
pub(super) fn operation(route: &Route, schemas: &mut Map<String, Value>) -> Value {
    let prefix = format!("{}.{}", route.domain, route.name);
    let mut input = hoist(&route.input_schema, &format!("{prefix}.input"), schemas);
    // The version may come in If-Match instead.
    if let Some(required) = input.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != EXPECTED_VERSION);
    }
    let output = hoist(&route.output_schema, &format!("{prefix}.output"), schemas);
    let in_path: Vec<&str> = route.path_parameters().collect();
    let mut parameters: Vec<Value> =
        in_path.iter().map(|name| parameter(name, "path", &input, schemas)).collect();
    let body = route.takes_body().then(|| body(&input, &in_path, schemas)).flatten();
    if !route.takes_body() {
        let names = properties(&input).filter(|(name, _)| !in_path.contains(&name.as_str()));
        parameters.extend(names.map(|(name, _)| parameter(name, "query", &input, schemas)));
    }
    parameters.extend(headers(route));
    let mut operation = json!({
        "operationId": format!("{}_{}", route.domain, route.name),
        "tags": [route.domain],
        "summary": route.summary,
        "description": format!("{}\n\n{}", route.description, who(route)),
        "parameters": parameters,
        "responses": responses(route, &output, schemas),
        "security": security(route),
        "x-access": access_name(route.access),
        "x-category": route.category.name(),
        "x-roles": roles(route.access),
        "x-scopes": scopes(route),
    });
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    if route.deprecation.is_some() {
        operation["deprecated"] = true.into();
    }
    if route.is_destructive {
        operation["x-second-factor"] = "of the last ten minutes".into();
    }
    operation
}

/// The headers a caller may or must send.
fn headers(route: &Route) -> Vec<Value> {
    let mut names = Vec::new();
    if route.remembers {
        names.push("idempotency_key");
    }
    if route.verb == Verb::Read {
        names.push("if_none_match");
    } else if route.versioning != Versioning::None {
        names.push("if_match");
    }
    names.extend(["correlation_id", "traceparent"]);
    let refer = |name| json!({ "$ref": format!("#/components/parameters/{name}") });
    names.into_iter().map(refer).collect()
}

/// Whoever may call it, in words. The same is in `x-` fields for programs.
fn who(route: &Route) -> String {
    let mut words = match route.access {
        Access::Anyone => "Anybody may call this, without a token.".to_owned(),
        Access::Member => "Whoever is signed in may call this, whatever the role.".to_owned(),
        other => format!("For these roles: {}.", roles(other).join(", ")),
    };
    if let [scope] = scopes(route).as_slice() {
        words = format!("{words} A credential with scopes must carry `{scope}`.");
    }
    if route.is_destructive {
        words += " Whoever has a second factor must have shown it in the last ten minutes.";
    }
    words
}

const fn access_name(access: Access) -> &'static str {
    match access {
        Access::Anyone => "anyone",
        Access::Member => "member",
        Access::Read => "read",
        Access::Write => "write",
        Access::Administer => "administer",
        Access::Operate => "operate",
    }
}

/// The roles that may, by name; none where nobody is asked for one.
fn roles(access: Access) -> Vec<&'static str> {
    if access == Access::Anyone {
        return Vec::new();
    }
    Role::ALL.into_iter().filter(|role| allows(*role, access)).map(Role::name).collect()
}

/// The scope that a credential with scopes must carry.
fn scopes(route: &Route) -> Vec<String> {
    route.right.map(|right| format!("{}:{right}", route.domain)).into_iter().collect()
}

fn security(route: &Route) -> Value {
    match route.access {
        Access::Anyone => json!([]),
        _ => json!([{ "bearer": scopes(route) }]),
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|names| names.iter().any(|required| required == name))
}

fn parameter(name: &str, place: &str, input: &Value, schemas: &Map<String, Value>) -> Value {
    let mut schema = input["properties"][name].clone();
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    as_text(&mut schema);
    let is_required = place == "path" || is_required(input, name);
    let mut parameter = json!({
        "name": name,
        "in": place,
        "required": is_required,
    });
    // What is optional is left out, so that the request shown is the simplest one.
    if let Some(example) = example(&schema, schemas).filter(|_| is_required) {
        parameter["example"] = example;
    }
    parameter["schema"] = schema;
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}

/// What a path or a query string can say of a schema: nothing there stands for null.
fn as_text(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.get("default").is_some_and(Value::is_null) {
        fields.remove("default");
    }
    if let Some(Value::Array(names)) = fields.get_mut("type") {
        names.retain(|name| name != "null");
        if let [only] = names.as_slice() {
            let only = only.clone();
            fields.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(Value::Array(branches)) = fields.get_mut("anyOf") {
        branches.retain(|branch| branch != &json!({ "type": "null" }));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            fields.remove("anyOf");
            fields.extend(only);
        }
    }
}

/// The input without what the path carries; nothing if the path carries it all.
fn body(input: &Value, in_path: &[&str], schemas: &Map<String, Value>) -> Option<Value> {
    let mut schema = input.clone();
    let fields = schema.as_object_mut()?;
    fields.remove("description");
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !in_path.contains(&name.as_str()));
    }
    // The author's whole example tells of the path, too.
    if let Some(Value::Array(examples)) = fields.get_mut("examples") {
        for example in examples.iter_mut().filter_map(Value::as_object_mut) {
            example.retain(|name, _| !in_path.contains(&name.as_str()));
        }
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
    let content = content("application/json", schema, schemas);
    Some(json!({ "required": is_required, "content": content }))
}

/// A body of this schema, with an example.
pub(super) fn content(media_type: &str, schema: Value, schemas: &Map<String, Value>) -> Value {
    let mut media = json!({});
    if let Some(example) = example(&schema, schemas) {
        media["example"] = example;
    }
    media["schema"] = schema;
    json!({ media_type: media })
}
