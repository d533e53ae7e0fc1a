//! Schemas: the JSON Schema of an input, output or event, derived from its type and doc comments.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// The schema of `T`, whole and without references, so that surfaces can look at every field. Only
/// a type that holds itself is defined once, in `$defs`, and referred to.
pub(crate) fn of<T: JsonSchema>() -> Value {
    derived::<T>(drop_rust_formats)
}

/// The schema of an input: as [`of`], and numbers are within what their type holds, so that a
/// caller reads of every limit before meeting it.
pub(crate) fn of_input<T: JsonSchema>() -> Value {
    derived::<T>(|schema: &mut Schema| {
        limit(schema);
        drop_rust_formats(schema);
    })
}

fn derived<T: JsonSchema>(transform: impl FnMut(&mut Schema)) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(transform).transform(&mut schema);
    schema.remove("title");
    schema.into()
}

/// The first paragraph and the whole of a schema's description, which is the type's doc comment.
pub(crate) fn words(schema: &Value) -> (String, String) {
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let summary = description.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    (summary, description.to_owned())
}

/// `uint32` and its kin are Rust's words, not JSON Schema's; strict clients warn about them.
fn drop_rust_formats(schema: &mut Schema) {
    let rust = schema
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint") || format.starts_with("int"));
    if rust {
        schema.remove("format");
    }
}

/// What Rust's format says, in JSON Schema's words. The derivation does so for small types only.
fn limit(schema: &mut Schema) {
    let (least, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => (0.into(), u32::MAX.into()),
        Some("uint64" | "uint") => (0.into(), u64::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64" | "int") => (i64::MIN.into(), i64::MAX.into()),
        _ => return,
    };
    for (word, limit) in [("minimum", least), ("maximum", most)] {
        if schema.get(word).is_none() {
            schema.insert(word.to_owned(), limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "its schema is looked at")]
    struct Part {
        weight_g: u32,
        parts: Vec<Part>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "its schema is looked at")]
    struct Whole {
        part: Part,
    }

    #[test]
    fn a_type_that_holds_itself_is_defined_once_and_referred_to() {
        let schema = of_input::<Whole>();

        let defined = &schema["$defs"]["Part"];
        assert_eq!(defined["properties"]["parts"]["items"], json!({"$ref": "#/$defs/Part"}));
        assert_eq!(defined["properties"]["weight_g"]["maximum"], json!(u32::MAX));
        let validator = crate::form::validator(&schema);
        let deep = |weight| {
            let part = json!({"weight_g": weight, "parts": []});
            json!({"part": {"weight_g": 1, "parts": [part]}})
        };
        assert!(validator.is_valid(&deep(1)) && !validator.is_valid(&deep(-1)));
    }

    #[test]
    fn numbers_of_an_input_are_within_what_their_type_holds() {
        let limits = |schema: Value| (schema["minimum"].clone(), schema["maximum"].clone());

        assert_eq!(limits(of_input::<u32>()), (json!(0), json!(u32::MAX)));
        assert_eq!(limits(of_input::<i64>()), (json!(i64::MIN), json!(i64::MAX)));
        assert_eq!(limits(of::<u32>()), (json!(0), Value::Null));
        assert_eq!(of_input::<u32>().get("format"), None);
    }
}
