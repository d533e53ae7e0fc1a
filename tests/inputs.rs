//! Inputs: for every operation one that fits its schema, made from that schema.
//!
//! Tests that walk over all operations use them, so that a new operation is walked over without
//! anybody naming it. Only what no schema can say is written down here, by the name of the field.

use platform::Operation;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::world::soon;

/// Values of fields whose rules are more than their schema says, by the field's name.
fn known(field: &str) -> Option<Value> {
    Some(match field {
        "mobile" => json!("0491 570 156"),
        "postcode" => json!("3018"),
        "tax_file_number" => json!("123 456 782"),
        "bsb" => json!("062-000"),
        "account_number" => json!("12345678"),
        "fund_abn" | "abn" => json!("51 824 753 556"),
        "recipient" => json!("+61491570006"),
        "email" => json!("walker@example.com"),
        "credential_code" | "code" => json!("forklift_licence"),
        "timezone" => json!("Australia/Melbourne"),
        "month" => json!("2026-09"),
        "starts_on" => json!(soon()),
        _ => return None,
    })
}

/// Makes inputs of operations.
pub(crate) struct Inputs<'a> {
    /// The id for a place of the input (a JSON Pointer), which has a field's name.
    pub(crate) id: &'a dyn Fn(&str, &str) -> Uuid,
    /// A place that is filled although it need not be.
    pub(crate) and: Option<&'a str>,
}

impl Inputs<'_> {
    /// An input that fits the schema of `operation`.
    pub(crate) fn of(&self, operation: &Operation) -> Value {
        self.fitting(operation).unwrap_or_else(|input| {
            let name = name_of(operation);
            panic!(
                "no input can be made for {name}; say in tests/inputs.rs what goes into its \
                 fields: {input}\n{:?}",
                operation.check(&input)
            );
        })
    }

    /// The same, or what was made and does not fit.
    pub(crate) fn fitting(&self, operation: &Operation) -> Result<Value, Value> {
        let input = self.object("", &operation.input_schema);
        if operation.check(&input).is_ok() { Ok(input) } else { Err(input) }
    }

    /// The arguments of a job with that schema.
    pub(crate) fn arguments(&self, schema: &Value) -> Value {
        self.object("", schema)
    }

    fn object(&self, place: &str, schema: &Value) -> Value {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let filled = properties.filter_map(|(name, property)| {
            let place = format!("{place}/{name}");
            let is_asked = self.and.is_some_and(|and| and.starts_with(&place));
            let is_filled = is_required(schema, name) || is_asked;
            is_filled.then(|| (name.clone(), self.value(&place, name, property)))
        });
        Value::Object(filled.collect::<Map<_, _>>())
    }

    fn value(&self, place: &str, field: &str, schema: &Value) -> Value {
        if schema["format"] == "uuid" {
            return json!((self.id)(place, field));
        }
        if let Some(value) = known(field) {
            return value;
        }
        if !schema["const"].is_null() {
            return schema["const"].clone();
        }
        if let Some(first) = schema["enum"].as_array().and_then(|words| words.first()) {
            return first.clone();
        }
        if let Some(branch) = branch(schema) {
            return self.value(place, field, branch);
        }
        match type_of(schema) {
            Some("string") => text(schema),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(false),
            Some("array") => {
                let item = || self.value(&format!("{place}/0"), field, &schema["items"]);
                let is_asked = self.and.is_some_and(|and| and.starts_with(place));
                let is_empty = schema["minItems"].as_u64().unwrap_or(0) == 0 && !is_asked;
                if is_empty { json!([]) } else { json!([item()]) }
            }
            _ => self.object(place, schema),
        }
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().into_iter().flatten().any(|required| required == name)
}

/// The first alternative that is not null.
fn branch(schema: &Value) -> Option<&Value> {
    let branches = ["anyOf", "oneOf", "allOf"].iter().find_map(|word| schema[*word].as_array())?;
    branches.iter().find(|branch| branch["type"] != "null")
}

fn type_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn text(schema: &Value) -> Value {
    match schema["format"].as_str() {
        Some("date") => return json!(soon()),
        Some("date-time") => return json!(format!("{}T08:00:00Z", soon())),
        _ => {}
    }
    let length = |word: &str| schema[word].as_u64().and_then(|length| usize::try_from(length).ok());
    let mut text = "sample".to_owned();
    while text.len() < length("minLength").unwrap_or(0) {
        text.push_str("sample");
    }
    text.truncate(length("maxLength").unwrap_or(usize::MAX));
    json!(text)
}

/// The places of an operation's input that take an id.
pub(crate) fn id_places(operation: &Operation) -> Vec<String> {
    id_places_in(&operation.input_schema)
}

/// The places that take an id in what a schema describes.
pub(crate) fn id_places_in(schema: &Value) -> Vec<String> {
    let mut places = Vec::new();
    collect("", schema, &mut places);
    places
}

fn collect(place: &str, schema: &Value, places: &mut Vec<String>) {
    if schema["format"] == "uuid" {
        places.push(place.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(&format!("{place}/{name}"), property, places);
    }
    if let Some(items) = schema.get("items") {
        collect(&format!("{place}/0"), items, places);
    }
    let branches = ["anyOf", "oneOf", "allOf"].iter().filter_map(|word| schema[*word].as_array());
    for branch in branches.flatten() {
        collect(place, branch, places);
    }
}

/// `domain/operation`, as tables and complaints name it.
pub(crate) fn name_of(operation: &Operation) -> String {
    format!("{}/{}", operation.domain, operation.spec.name())
}
