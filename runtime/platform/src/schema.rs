//! Schemas: the JSON Schema of an input, output or event, derived from its type and doc comments.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// The schema of `T`, whole and without references, so that surfaces can look at every field.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(drop_rust_formats).transform(&mut schema);
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
