//! JSON, read strictly: a key that stands twice in one object is refused, not overwritten.
//!
//! Two readers that keep different ones of two equal keys are a classic way around a check, so
//! there is no keeping here. Everything else is left to `serde_json`, which also bounds the
//! nesting. Whatever comes from outside is read here, by whichever door.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A text is not JSON, or not JSON of one meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text does not follow the grammar.
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    /// One object has a key twice.
    #[error("the field {pointer} is given twice")]
    Duplicate {
        /// JSON Pointer to the field.
        pointer: String,
    },
}

/// Reads a body.
///
/// # Errors
/// [`JsonError`] if the text does not follow the grammar, or an object in it has a key twice.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut duplicate = None;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let reader = Reader { at: &At { parent: None, step: Step::Root }, duplicate: &mut duplicate };
    let parsed = reader.deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        Ok(value)
    });
    match duplicate {
        Some(pointer) => Err(JsonError::Duplicate { pointer }),
        None => parsed.map_err(|error| JsonError::Syntax(error.to_string())),
    }
}

/// A value that is read strictly where it is a part of something else.
#[derive(Debug, Clone, PartialEq)]
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = At { parent: None, step: Step::Root };
        Reader { at: &at, duplicate: &mut None }.deserialize(deserializer).map(Self)
    }
}

/// One step of a JSON Pointer, escaped.
#[must_use]
pub fn pointer_step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Where the reader stands, as a list on the stack.
struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl At<'_> {
    fn pointer(&self) -> String {
        let parent = self.parent.map(At::pointer).unwrap_or_default();
        match self.step {
            Step::Root => parent,
            Step::Key(key) => parent + &pointer_step(key),
            Step::Index(index) => format!("{parent}/{index}"),
        }
    }
}

struct Reader<'a> {
    at: &'a At<'a>,
    duplicate: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let at = At { parent: Some(self.at), step: Step::Index(items.len()) };
            let item = Reader { at: &at, duplicate: self.duplicate };
            match seq.next_element_seed(item)? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(Key(key)) = map.next_key()? {
            let at = At { parent: Some(self.at), step: Step::Key(&key) };
            if fields.contains_key(&key) {
                let pointer = at.pointer();
                let error = serde::de::Error::custom(format!("{pointer} is given twice"));
                *self.duplicate = Some(pointer);
                return Err(error);
            }
            let value = map.next_value_seed(Reader { at: &at, duplicate: self.duplicate })?;
            fields.insert(key, value);
        }
        Ok(fields.into())
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key(String);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_read_as_it_stands() {
        let body = br#" {"a": [1, -2, 2.5, true, null, "\u00e9"], "b": {}} "#;

        let value = parse(body);

        assert_eq!(value, Ok(json!({"a": [1, -2, 2.5, true, null, "é"], "b": {}})));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_its_place() {
        let cases = [
            (r#"{"a":1,"a":2}"#, "/a"),
            (r#"{"x":[{"a/b":1},{"a/b":1,"a/b":1}]}"#, "/x/1/a~1b"),
            (r#"{"a":1,"\u0061":2}"#, "/a"),
        ];

        for (body, pointer) in cases {
            let expected = JsonError::Duplicate { pointer: pointer.to_owned() };
            assert_eq!(parse(body.as_bytes()), Err(expected), "{body}");
        }
    }

    #[test]
    fn a_part_of_something_else_is_read_as_strictly() {
        let read = serde_json::from_str::<(u8, Strict)>;

        let once = read(r#"[1, {"a": [null]}]"#);
        let twice = read(r#"[1, {"a": [{"b": 1, "b": 2}]}]"#);

        assert_eq!(once.expect("no key stands twice").1, Strict(json!({"a": [null]})));
        let told = twice.expect_err("a key stands twice").to_string();
        assert!(told.starts_with("/a/0/b is given twice"), "{told}");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(100_000);
        let bodies: [&[u8]; 8] = [
            b"",
            b"{",
            b"{\"a\":1}x",
            b"{'a':1}",
            b"\"\xff\"",
            b"1e999",
            b"\"\x00\"",
            deep.as_bytes(),
        ];

        for body in bodies {
            assert!(matches!(parse(body), Err(JsonError::Syntax(_))), "{body:?}");
        }
    }
}
