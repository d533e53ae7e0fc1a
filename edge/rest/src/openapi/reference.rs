//! References: named parts of schemas, moved to where the whole document can point to them.

use serde_json::{Map, Value, json};

/// Moves the named parts of a schema to the document's components, and points to them there.
pub(super) fn hoist(schema: &Value, prefix: &str, components: &mut Map<String, Value>) -> Value {
    let mut schema = schema.clone();
    let parts = schema.as_object_mut().and_then(|fields| fields.remove("$defs"));
    // The whole may be referred to from one of its parts, and from nowhere else.
    let mut refers_to_itself = point(&mut schema, prefix);
    for (name, mut part) in parts.as_ref().and_then(Value::as_object).cloned().unwrap_or_default() {
        refers_to_itself |= point(&mut part, prefix);
        components.insert(format!("{prefix}.{name}"), part);
    }
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

    #[test]
    fn a_whole_that_only_a_part_refers_to_is_found() {
        let schema = json!({
            "type": "object",
            "properties": {"child": {"$ref": "#/$defs/Child"}},
            "$defs": {"Child": {"type": "object", "properties": {"parent": {"$ref": "#"}}}},
        });
        let mut components = Map::new();

        let hoisted = hoist(&schema, "tree", &mut components);

        assert_eq!(hoisted, json!({"$ref": "#/components/schemas/tree"}));
        let parent = &components["tree.Child"]["properties"]["parent"]["$ref"];
        assert_eq!(parent, "#/components/schemas/tree");
        let child = &components["tree"]["properties"]["child"]["$ref"];
        assert_eq!(child, "#/components/schemas/tree.Child");
    }
}
