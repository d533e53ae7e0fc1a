//! Input: what came in the path, the query string and the body, merged into one object.
//!
//! An operation has one input, whatever the door. A field may come in one place only, so that no
//! two parts of a request can say different things. Text from path and query string is turned into
//! what the schema asks for; text that cannot be is left as it is, and the check of the schema
//! names it.

use platform::json::{self, JsonError, pointer_step};
use serde_json::{Map, Number, Value};

/// Pieces of a request do not make one input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InputError {
    /// The body cannot be read.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The body is JSON, but no object.
    #[error("the body is {0}, but an object is expected")]
    NoObject(&'static str),
    /// A field stands in two places, or twice in the query string.
    #[error("the field {0} is given twice")]
    Duplicate(String),
    /// A query string on a request that takes a body.
    #[error("the field {0} belongs into the body, not into the query string")]
    QueryWithBody(String),
}

/// The pieces of a request that make up an input.
#[derive(Debug, Default)]
pub(crate) struct Pieces<'a> {
    /// Parameters of the path, by name.
    pub(crate) path: &'a [(String, String)],
    /// Parameters of the query string, by name.
    pub(crate) query: &'a [(String, String)],
    /// The body, if the method has one.
    pub(crate) body: Option<&'a [u8]>,
}

/// The one input that the pieces make.
pub(crate) fn merge(pieces: &Pieces<'_>, schema: &Value) -> Result<Value, InputError> {
    let mut fields = match pieces.body {
        None | Some([]) => Map::new(),
        Some(body) => match json::parse(body)? {
            Value::Object(fields) => fields,
            other => return Err(InputError::NoObject(kind(&other))),
        },
    };
    if let (Some(_), Some((name, _))) = (pieces.body, pieces.query.first()) {
        return Err(InputError::QueryWithBody(name.clone()));
    }
    let mut lists = Vec::new();
    for (name, text) in pieces.query {
        let wanted = wanted(property(schema, name));
        if wanted.contains(&LIST) && !fields.contains_key(name) {
            lists.push(name.as_str());
            fields.insert(name.clone(), Value::Array(Vec::new()));
        }
        match fields.get_mut(name) {
            Some(Value::Array(items)) if lists.contains(&name.as_str()) => {
                items.push(convert(text, &wanted));
            }
            Some(_) => return Err(InputError::Duplicate(name.clone())),
            None => drop(fields.insert(name.clone(), convert(text, &wanted))),
        }
    }
    for (name, text) in pieces.path {
        let value = convert(text, &wanted(property(schema, name)));
        if fields.insert(name.clone(), value).is_some() {
            return Err(InputError::Duplicate(name.clone()));
        }
    }
    Ok(fields.into())
}

impl InputError {
    /// JSON Pointer to the field to blame; empty for the input as a whole.
    pub(crate) fn pointer(&self) -> String {
        match self {
            Self::Json(JsonError::Duplicate { pointer }) => pointer.clone(),
            Self::Duplicate(name) | Self::QueryWithBody(name) => pointer_step(name),
            Self::Json(JsonError::Syntax(_)) | Self::NoObject(_) => String::new(),
        }
    }
}

/// The JSON types a piece of text may become, by their names in the schema.
type Wanted<'a> = Vec<&'a str>;

fn property<'a>(schema: &'a Value, name: &str) -> &'a Value {
    schema.get("properties").and_then(|properties| properties.get(name)).unwrap_or(&Value::Null)
}

/// For a list, what its items may become.
fn wanted(schema: &Value) -> Wanted<'_> {
    let mut wanted = Vec::new();
    collect(schema, &mut wanted);
    if wanted.contains(&LIST) {
        collect(schema.get("items").unwrap_or(&Value::Null), &mut wanted);
    }
    wanted
}

/// The type of a field that may be given more than once.
const LIST: &str = "array";

fn collect<'a>(schema: &'a Value, wanted: &mut Wanted<'a>) {
    match schema.get("type") {
        Some(Value::Array(names)) => wanted.extend(names.iter().filter_map(Value::as_str)),
        Some(name) => wanted.extend(name.as_str()),
        None => {}
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        let branches = schema.get(word).and_then(Value::as_array);
        branches.into_iter().flatten().for_each(|branch| collect(branch, wanted));
    }
}

/// Text where text is wanted is never taken for a number: `0042` may be a name.
fn convert(text: &str, wanted: &Wanted<'_>) -> Value {
    let wants = |kind| wanted.contains(&kind);
    if wants("string") {
        return text.into();
    }
    let mut value = None;
    if wants("integer") || wants("number") {
        value = text.parse::<i64>().map(Value::from).ok();
        value = value.or_else(|| text.parse::<u64>().map(Value::from).ok());
    }
    if wants("number") {
        let number = || text.parse().ok().and_then(Number::from_f64);
        value = value.or_else(|| number().map(Value::from));
    }
    if wants("boolean") {
        value = value.or_else(|| text.parse::<bool>().map(Value::from).ok());
    }
    value.unwrap_or_else(|| text.into())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "job_order_id": {"type": "string", "format": "uuid"},
            "limit": {"type": ["integer", "null"]},
            "open": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "share": {"type": "number"},
            "name": {"type": ["string", "null"]},
            "states": {"type": "array", "items": {"type": "string"}},
            "years": {"type": ["array", "null"], "items": {"type": "integer"}},
        }})
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    fn query(given: &[(&str, &str)]) -> Result<Value, InputError> {
        merge(&Pieces { query: &pairs(given), ..Pieces::default() }, &schema())
    }

    #[test]
    fn text_becomes_what_the_schema_asks_for() {
        let cases = [
            (("limit", "20"), json!({"limit": 20})),
            (("limit", "18446744073709551615"), json!({"limit": u64::MAX})),
            (("open", "true"), json!({"open": true})),
            (("share", "0.5"), json!({"share": 0.5})),
            (("share", "2"), json!({"share": 2})),
            (("name", "0042"), json!({"name": "0042"})),
            (("states", "open"), json!({"states": ["open"]})),
        ];

        for (pair, expected) in cases {
            assert_eq!(query(&[pair]), Ok(expected), "{pair:?}");
        }
    }

    #[test]
    fn text_that_does_not_fit_is_left_for_the_schema_to_name() {
        for pair in
            [("limit", "many"), ("limit", "2.5"), ("open", "yes"), ("share", "NaN"), ("other", "1")]
        {
            assert_eq!(query(&[pair]), Ok(json!({ pair.0: pair.1 })), "{pair:?}");
        }
    }

    #[test]
    fn only_a_list_may_be_given_more_than_once() {
        let list = query(&[("years", "1"), ("limit", "3"), ("years", "2")]);
        let twice = query(&[("limit", "1"), ("limit", "2")]);

        assert_eq!(list, Ok(json!({"years": [1, 2], "limit": 3})));
        assert_eq!(twice, Err(InputError::Duplicate("limit".into())));
    }

    #[test]
    fn path_and_body_are_one_object() {
        let path = pairs(&[("job_order_id", "42")]);
        let body: Option<&[u8]> = Some(br#"{"name":"x"}"#);

        let merged = merge(&Pieces { path: &path, body, ..Pieces::default() }, &schema());

        assert_eq!(merged, Ok(json!({"job_order_id": "42", "name": "x"})));
    }

    #[test]
    fn a_field_may_come_in_one_place_only() {
        let path = pairs(&[("job_order_id", "42")]);
        let body: Option<&[u8]> = Some(br#"{"job_order_id":"43"}"#);
        let in_body = merge(&Pieces { path: &path, body, ..Pieces::default() }, &schema());
        let query = pairs(&[("job_order_id", "43")]);
        let in_query = merge(&Pieces { path: &path, query: &query, body: None }, &schema());
        let beside_body = merge(&Pieces { query: &query, body: Some(b"{}"), path: &[] }, &schema());

        assert_eq!(in_body, Err(InputError::Duplicate("job_order_id".into())));
        assert_eq!(in_query, Err(InputError::Duplicate("job_order_id".into())));
        assert_eq!(beside_body, Err(InputError::QueryWithBody("job_order_id".into())));
    }

    #[test]
    fn a_body_is_an_object_or_empty() {
        let body = |body: &'static [u8]| {
            merge(&Pieces { body: Some(body), ..Pieces::default() }, &schema())
        };

        assert_eq!(body(b""), Ok(json!({})));
        assert_eq!(body(b"[1]"), Err(InputError::NoObject("a list")));
        assert_eq!(body(b"null"), Err(InputError::NoObject("null")));
    }

    #[test]
    fn the_blamed_field_is_named_by_a_pointer() {
        let nested = InputError::from(JsonError::Duplicate { pointer: "/a/b".into() });

        assert_eq!(nested.pointer(), "/a/b");
        assert_eq!(InputError::Duplicate("a/b".into()).pointer(), "/a~1b");
        assert_eq!(InputError::NoObject("null").pointer(), "");
    }
}
