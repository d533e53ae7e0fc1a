//! Content: fields of an answer that hold a picture, a sound or a file, and how agents get them.
//!
//! A schema says so in its own words, `contentMediaType` and `contentEncoding`. A model can look at
//! a picture and can do nothing with its base64, so such a field is taken out of the structured
//! result and given beside it.

use platform::Operation;
use rmcp::model::{ContentBlock, ResourceContents};
use serde_json::Value;

/// A field whose text is something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its name, or none if it is the whole output.
    field: Option<String>,
    media_type: String,
    is_base64: bool,
}

/// The fields of an output that hold something: the whole of it, or some of an object's.
pub(crate) fn held_in(schema: &Value) -> Vec<Held> {
    if let Some(whole) = Held::of(None, schema) {
        return vec![whole];
    }
    let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, schema)| Held::of(Some(name), schema)).collect()
}

/// The schema of what is left of an output.
pub(crate) fn rest_of(schema: &Value, held: &[Held]) -> Value {
    let mut rest = schema.clone();
    for field in held.iter().map(|held| held.field.as_deref()) {
        let Some(field) = field else { return serde_json::json!({"type": "null"}) };
        if let Some(properties) = rest.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove(field);
        }
        if let Some(required) = rest.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name != field);
        }
    }
    rest
}

/// Of which media type a document is, as far as its operation says.
pub(crate) fn media_type(operation: &Operation) -> String {
    let whole = Held::of(None, &operation.output_schema);
    whole.map_or_else(|| "application/json".to_owned(), |whole| whole.media_type)
}

impl Held {
    fn of(field: Option<&String>, schema: &Value) -> Option<Self> {
        let word = |name| schema.get(name).and_then(Value::as_str);
        Some(Self {
            field: field.cloned(),
            media_type: word("contentMediaType")?.to_owned(),
            is_base64: word("contentEncoding") == Some("base64"),
        })
    }

    /// Whether it is the whole output.
    pub(crate) const fn is_whole(&self) -> bool {
        self.field.is_none()
    }

    /// Takes what it holds out of an output; nothing if there is nothing.
    pub(crate) fn take(&self, output: &mut Value) -> Option<String> {
        let taken = match &self.field {
            None => std::mem::take(output),
            Some(field) => output.as_object_mut()?.remove(field)?,
        };
        let Value::String(text) = taken else { return None };
        Some(text)
    }

    /// What it holds, as a part of a result; `uri` is where the whole answer is at home.
    pub(crate) fn block(&self, held: String, uri: &str) -> ContentBlock {
        match self.media_type.split('/').next() {
            Some("image") if self.is_base64 => ContentBlock::image(held, &self.media_type),
            Some("audio") if self.is_base64 => ContentBlock::audio(held, &self.media_type),
            _ => ContentBlock::resource(self.document(held, uri)),
        }
    }

    /// What it holds, as a document.
    pub(crate) fn document(&self, held: String, uri: &str) -> ResourceContents {
        let uri = match &self.field {
            None => uri.to_owned(),
            Some(field) => format!("{uri}#/{field}"),
        };
        let contents = if self.is_base64 {
            ResourceContents::blob(held, uri)
        } else {
            ResourceContents::text(held, uri)
        };
        contents.with_mime_type(&self.media_type)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_field_holds_is_taken_out_of_the_output_and_its_schema() {
        let photo = json!({"type": "string", "contentEncoding": "base64",
                           "contentMediaType": "image/png"});
        let schema = json!({"type": "object", "required": ["name", "photo"],
                            "properties": {"name": {"type": "string"}, "photo": photo}});
        let mut output = json!({"name": "Bo", "photo": "AA=="});

        let held = held_in(&schema);
        let taken: Vec<_> = held.iter().filter_map(|held| held.take(&mut output)).collect();

        assert_eq!((taken, output), (vec!["AA==".to_owned()], json!({"name": "Bo"})));
        let rest = json!({"type": "object", "required": ["name"],
                          "properties": {"name": {"type": "string"}}});
        assert_eq!(rest_of(&schema, &held), rest);
    }

    #[test]
    fn a_field_that_holds_nothing_this_time_is_left_out() {
        let schema = json!({"properties": {"letter": {"type": ["string", "null"],
                                                      "contentMediaType": "text/markdown"}}});
        let held = held_in(&schema);

        assert_eq!(held[0].take(&mut json!({"letter": null})), None);
        assert_eq!(held[0].take(&mut json!({})), None);
    }

    #[test]
    fn a_picture_is_a_picture_a_sound_a_sound_and_anything_else_a_file() {
        let block = |media_type: &str, encoding: &str| {
            let schema = json!({"contentMediaType": media_type, "contentEncoding": encoding});
            let held = held_in(&schema);
            let block = held[0].block("AA==".to_owned(), "depot://labels");
            serde_json::to_value(block).expect("a block is JSON")
        };

        assert_eq!(block("image/png", "base64")["type"], "image");
        assert_eq!(block("audio/wav", "base64")["type"], "audio");
        assert_eq!(block("application/pdf", "base64")["resource"]["blob"], "AA==");
        assert_eq!(block("image/svg+xml", "8bit")["resource"]["text"], "AA==");
        assert_eq!(block("text/csv", "8bit")["resource"]["uri"], "depot://labels");
    }
}
