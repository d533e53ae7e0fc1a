//! Examples: a value that a schema accepts, to show in documentation.
//!
//! The author's goes first (`#[schemars(example = …)]` on a type or a field); the rest is made up,
//! always in the same way. What cannot be made up honestly is left out when it may be, and
//! otherwise the whole example is. `tests/contracts.rs` compares every example with its schema.

use serde_json::{Map, Value, json};

/// How often a schema is followed into one that it refers to: shapes may hold themselves.
const DEPTH_MAX: u8 = 3;

/// A value that fits `schema`, whose references lead to `schemas`.
pub(super) fn example(schema: &Value, schemas: &Map<String, Value>) -> Option<Value> {
    Maker { schemas, depth: 0 }.make(schema)
}

#[derive(Clone, Copy)]
struct Maker<'a> {
    schemas: &'a Map<String, Value>,
    depth: u8,
}

impl Maker<'_> {
    fn make(self, schema: &Value) -> Option<Value> {
        let given = schema.get("examples").and_then(|examples| examples.get(0));
        let given = given.or_else(|| schema.get("example")).or_else(|| schema.get("const"));
        let given = given.or_else(|| schema.get("default").filter(|default| !default.is_null()));
        let given = given.or_else(|| schema.get("enum").and_then(|choices| choices.get(0)));
        if let Some(given) = given {
            return Some(given.clone());
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.follow(target);
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(branches) = schema.get(word).and_then(Value::as_array) {
                return branches.iter().find_map(|branch| self.branch(schema, branch));
            }
        }
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.first()?.as_str()?,
            Some(kind) => kind.as_str()?,
            // Whatever it is, an object is.
            None => return Some(json!({})),
        };
        match kind {
            "string" => text(schema),
            "integer" | "number" => Some(number(schema)),
            "boolean" => Some(json!(true)),
            "array" => self.array(schema),
            "object" => self.object(schema),
            "null" => Some(Value::Null),
            _ => None,
        }
    }

    fn follow(self, target: &str) -> Option<Value> {
        let name = target.strip_prefix("#/components/schemas/")?;
        let schema = self.schemas.get(name).filter(|_| self.depth < DEPTH_MAX)?;
        Self { depth: self.depth + 1, ..self }.make(schema)
    }

    /// A choice of objects may have fields beside it that all of them have.
    fn branch(self, schema: &Value, branch: &Value) -> Option<Value> {
        let made = self.make(branch)?;
        let (Value::Object(fields), Some(_)) = (&made, schema.get("properties")) else {
            return Some(made);
        };
        let Some(Value::Object(mut shared)) = self.object(schema) else { return None };
        shared.extend(fields.clone());
        Some(shared.into())
    }

    fn array(self, schema: &Value) -> Option<Value> {
        if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
            return items.iter().map(|item| self.make(item)).collect();
        }
        let item = schema.get("items").and_then(|items| self.make(items));
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        match item {
            Some(item) if least <= 1 => Some(json!([item])),
            _ => (least == 0).then(|| json!([])),
        }
    }

    fn object(self, schema: &Value) -> Option<Value> {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
        let mut fields = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            match self.make(property) {
                Some(value) => drop(fields.insert(name.clone(), value)),
                None if is_required(name) => return None,
                None => {}
            }
        }
        Some(fields.into())
    }
}

fn number(schema: &Value) -> Value {
    let limit = |word: &str| schema.get(word).and_then(Value::as_i64);
    let least = limit("minimum").or_else(|| limit("exclusiveMinimum").map(|least| least + 1));
    let number = least.map_or(1, |least| least.max(1));
    json!(limit("maximum").map_or(number, |most| number.min(most)))
}

/// What is tried for text with a pattern, the plainest first.
const WORDS: [&str; 10] = [
    "text",
    "2000",
    "123456",
    "sam@example.com",
    "+61400000001",
    "2026-03",
    "http://localhost",
    "a longer text than others",
    "0123456789abcdef",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

fn text(schema: &Value) -> Option<Value> {
    let fits = |word: &&str| {
        let length = word.chars().count() as u64;
        let limit = |word: &str| schema.get(word).and_then(Value::as_u64);
        limit("minLength").is_none_or(|least| least <= length)
            && limit("maxLength").is_none_or(|most| length <= most)
            && schema.get("pattern").is_none_or(|pattern| {
                jsonschema::is_valid(&json!({ "pattern": pattern }), &json!(word))
            })
    };
    let made_up = match schema.get("format").and_then(Value::as_str) {
        Some("uuid") => "01900000-0000-7000-8000-000000000001",
        Some("date-time") => "2026-03-02T08:30:00Z",
        Some("date") => "2026-03-02",
        Some("time") => "08:30:00Z",
        Some("email") => "sam@example.com",
        Some("uri") => "https://example.com/",
        Some("uri-reference") => "/",
        Some(_) => return None,
        None => return WORDS.iter().find(|word| fits(word)).map(|word| json!(word)),
    };
    fits(&made_up).then(|| made_up.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &Value, expected: impl Into<Option<Value>>) {
        assert_eq!(example(schema, &Map::new()), expected.into(), "{schema}");
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
        check(&json!({"type": "integer", "minimum": 0}), Some(json!(1)));
        check(&json!({"type": "integer", "maximum": 0}), Some(json!(0)));
        check(
            &json!({"type": "string", "minLength": 20}),
            Some(json!("a longer text than others")),
        );
        check(&json!({"type": "string", "minLength": 65}), None);
        check(&json!({"type": "string", "maxLength": 3}), None);
        check(&json!({"type": "string", "pattern": "^[0-9]{4}$"}), Some(json!("2000")));
        check(&json!({"type": "string", "pattern": "^x$"}), None);
    }

    #[test]
    fn what_cannot_be_made_up_is_left_out_if_it_may_be() {
        let never = json!({"type": "string", "pattern": "^x$"});
        let properties = json!({"a": {"type": "boolean"}, "b": never});

        check(&json!({"type": "object", "properties": properties}), Some(json!({"a": true})));
        check(&json!({"type": "object", "properties": properties, "required": ["b"]}), None);
        check(&json!({"type": "array", "items": {"$ref": "#/x"}}), Some(json!([])));
        check(&json!({"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}), Some(Value::Null));
    }

    #[test]
    fn a_shape_that_holds_itself_ends() {
        let leaf = json!({"$ref": "#/components/schemas/Node"});
        let node = json!({"type": "object", "properties": {
            "children": {"type": "array", "items": leaf},
        }});
        let schemas = Map::from_iter([("Node".to_owned(), node)]);

        let made = example(&leaf, &schemas).expect("a node can be made up");

        assert_eq!(made, json!({"children": [{"children": [{"children": []}]}]}));
    }

    #[test]
    fn a_choice_has_the_fields_that_all_have() {
        let schema = json!({
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}}}],
        });

        check(&schema, Some(json!({"name": "text", "kind": "a"})));
    }
}
