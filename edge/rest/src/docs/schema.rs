//! Schemas, as a reader wants them: what each field is called, what it may be, what it means.

use maud::{Markup, html};
use serde_json::Value;

use crate::page::words;

/// How deep fields are shown: shapes may hold themselves.
const DEPTH_MAX: u8 = 5;

/// The fields of an object, or what else a body is. `required` is what is said of a field that must
/// be there.
pub(super) fn fields(document: &Value, schema: &Value, required: Markup) -> Markup {
    Fields { document, required }.shown(schema, 0)
}

/// What a reference leads to; anything else is itself.
pub(super) fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value.get("$ref").and_then(Value::as_str);
    let target = target.and_then(|target| document.pointer(target.strip_prefix('#')?));
    target.unwrap_or(value)
}

/// What a value may be, in a few words.
pub(super) fn kind(document: &Value, schema: &Value) -> String {
    let schema = resolved(document, schema);
    let mut words = match &schema["type"] {
        Value::String(name) => plain(name, schema),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).map(|name| plain(name, schema));
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => choice(document, schema),
    };
    if let Some(items) = schema.get("items") {
        words = format!("{words} of {}", kind(document, items));
    }
    let mut limits = Vec::new();
    for (word, said) in LIMITS {
        if let Some(limit) = schema.get(word) {
            let limit = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
            limits.push(format!("{said} {limit}"));
        }
    }
    if limits.is_empty() { words } else { format!("{words} ({})", limits.join(", ")) }
}

/// The limits worth telling, and how.
const LIMITS: [(&str, &str); 9] = [
    ("minimum", "from"),
    ("maximum", "to"),
    ("minLength", "at least characters:"),
    ("maxLength", "at most characters:"),
    ("minItems", "at least items:"),
    ("maxItems", "at most items:"),
    ("pattern", "pattern"),
    ("default", "unless given"),
    ("multipleOf", "in steps of"),
];

fn plain(name: &str, schema: &Value) -> String {
    let choices = schema.get("enum").and_then(Value::as_array);
    match (name, schema["format"].as_str(), choices) {
        ("string", _, Some(choices)) => one_of(choices.iter()),
        ("string", Some(format), _) => format.to_owned(),
        ("string", None, _) => "text".to_owned(),
        ("array", ..) => "list".to_owned(),
        (other, ..) => other.to_owned(),
    }
}

fn choice(document: &Value, schema: &Value) -> String {
    if let Some(only) = schema.get("const") {
        return one_of([only].into_iter());
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return one_of(choices.iter());
    }
    let branches = ["anyOf", "oneOf"].into_iter().filter_map(|word| schema.get(word)?.as_array());
    let kinds: Vec<String> = branches.flatten().map(|branch| kind(document, branch)).collect();
    if kinds.is_empty() { "anything".to_owned() } else { kinds.join(" or ") }
}

fn one_of<'a>(choices: impl Iterator<Item = &'a Value>) -> String {
    choices.map(Value::to_string).collect::<Vec<_>>().join(", ")
}

/// Fields, shown to somebody who sends or who gets them.
struct Fields<'a> {
    document: &'a Value,
    required: Markup,
}

impl Fields<'_> {
    fn shown(&self, schema: &Value, depth: u8) -> Markup {
        let schema = resolved(self.document, schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
        html! {
            @if let Some(properties) = properties.filter(|_| depth < DEPTH_MAX) {
                ul.fields {
                    @for (name, property) in properties {
                        li {
                            code { (name) } " " span.soft { (kind(self.document, property)) }
                            @if is_required(name) { " " (self.required) }
                            @if let Some(meaning) = property["description"].as_str() {
                                p { (words(meaning)) }
                            }
                            (self.inner(property, depth + 1))
                        }
                    }
                }
            } @else if depth == 0 {
                p.soft { (kind(self.document, schema)) }
                (self.inner(schema, 1))
            }
        }
    }

    /// The fields of what a field holds: of a list's items, of the branches of a choice.
    fn inner(&self, schema: &Value, depth: u8) -> Markup {
        let schema = resolved(self.document, schema);
        let branches =
            ["anyOf", "oneOf"].into_iter().filter_map(|word| schema.get(word)?.as_array());
        let branches: Vec<&Value> = branches.flatten().collect();
        html! {
            @if schema.get("properties").is_some() { (self.shown(schema, depth)) }
            @if let Some(items) = schema.get("items") { (self.inner(items, depth)) }
            @if depth < DEPTH_MAX {
                @for branch in branches { (self.inner(branch, depth + 1)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, expected: &str) {
        assert_eq!(kind(&Value::Null, schema), expected, "{schema}");
    }

    #[test]
    fn a_kind_is_a_few_words() {
        check(
            &json!({"type": ["string", "null"], "maxLength": 5}),
            "text or null (at most characters: 5)",
        );
        check(&json!({"type": "string", "format": "uuid"}), "uuid");
        check(&json!({"type": "string", "enum": ["a", "b"]}), r#""a", "b""#);
        check(&json!({"type": "array", "items": {"type": "integer"}}), "list of integer");
        check(&json!({"anyOf": [{"const": "a"}, {"type": "null"}]}), r#""a" or null"#);
        check(&json!({}), "anything");
    }

    #[test]
    fn a_shape_that_holds_itself_is_shown_to_an_end() {
        let node = json!({"type": "object", "properties": {
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
        }});
        let document = json!({"components": {"schemas": {"Node": node}}});

        let shown = fields(&document, &node, html! {}).into_string();

        assert_eq!(shown.matches("children").count(), usize::from(DEPTH_MAX));
    }
}
