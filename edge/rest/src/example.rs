//! Examples: a value that a schema would accept, to show in documentation.
//!
//! What cannot be made up honestly (a pattern, a recursive shape) is left out when it may be, and
//! otherwise the whole example is.

use serde_json::{Map, Value, json};

/// A value that fits `schema`.
pub(crate) fn example(schema: &Value) -> Option<Value> {
    let given = schema.get("examples").and_then(|examples| examples.get(0));
    let given = given.or_else(|| schema.get("example")).or_else(|| schema.get("const"));
    let given = given.or_else(|| schema.get("default").filter(|default| !default.is_null()));
    let given = given.or_else(|| schema.get("enum").and_then(|choices| choices.get(0)));
    if let Some(given) = given {
        return Some(given.clone());
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(branches) = schema.get(word).and_then(Value::as_array) {
            return branches.iter().find_map(example);
        }
    }
    let kind = match schema.get("type")? {
        Value::Array(kinds) => kinds.first()?.as_str()?,
        kind => kind.as_str()?,
    };
    match kind {
        "string" => text(schema),
        "integer" => Some(schema.get("minimum").cloned().unwrap_or_else(|| json!(1))),
        "number" => Some(schema.get("minimum").cloned().unwrap_or_else(|| json!(1.0))),
        "boolean" => Some(json!(true)),
        "array" => {
            let item = schema.get("items").and_then(example);
            let is_optional = schema.get("minItems").is_none_or(|least| least == 0);
            match item {
                Some(item) => Some(json!([item])),
                None => is_optional.then(|| json!([])),
            }
        }
        "object" => object(schema),
        "null" => Some(Value::Null),
        _ => None,
    }
}

fn object(schema: &Value) -> Option<Value> {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
    let mut fields = Map::new();
    for (name, property) in
        schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        match example(property) {
            Some(value) => drop(fields.insert(name.clone(), value)),
            None if is_required(name) => return None,
            None => {}
        }
    }
    Some(fields.into())
}

fn text(schema: &Value) -> Option<Value> {
    if schema.get("pattern").is_some() {
        return None;
    }
    let made_up = match schema.get("format").and_then(Value::as_str) {
        Some("uuid") => "01900000-0000-7000-8000-000000000001",
        Some("date-time") => "2026-03-02T08:30:00Z",
        Some("date") => "2026-03-02",
        Some("email") => "sam@example.com",
        Some(_) => return None,
        None => "text",
    };
    let length = made_up.len() as u64;
    let is_below =
        |word: &str, limit: u64| schema.get(word).and_then(Value::as_u64).unwrap_or(limit) < length;
    let is_long_enough = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0) <= length;
    (is_long_enough && !is_below("maxLength", length)).then(|| made_up.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &Value, expected: impl Into<Option<Value>>) {
        assert_eq!(example(schema), expected.into(), "{schema}");
    }

    #[test]
    fn the_authors_example_goes_first() {
        check(
            &json!({"type": "string", "examples": ["Forklift driver"]}),
            Some(json!("Forklift driver")),
        );
        check(&json!({"type": "string", "enum": ["open", "filled"]}), Some(json!("open")));
        check(&json!({"type": ["integer", "null"], "default": 20}), Some(json!(20)));
    }

    #[test]
    fn an_example_keeps_to_the_limits() {
        check(&json!({"type": "integer", "minimum": 5}), Some(json!(5)));
        check(&json!({"type": "string", "minLength": 10}), None);
        check(&json!({"type": "string", "maxLength": 3}), None);
        check(&json!({"type": "string", "pattern": "^x$"}), None);
    }

    #[test]
    fn what_cannot_be_made_up_is_left_out_if_it_may_be() {
        let properties = json!({"a": {"type": "boolean"}, "b": {"type": "string", "pattern": "x"}});

        check(&json!({"type": "object", "properties": properties}), Some(json!({"a": true})));
        check(&json!({"type": "object", "properties": properties, "required": ["b"]}), None);
        check(&json!({"type": "array", "items": {"$ref": "#/x"}}), Some(json!([])));
        check(&json!({"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}), Some(Value::Null));
    }
}
