//! Canonical JSON: one byte form for one value, so that a digest means the same everywhere.
//!
//! Keys are sorted by their UTF-8 bytes, nothing stands between tokens, strings are escaped only
//! where JSON demands it, and numbers are integers. Floats are refused: two programs print the same
//! float differently, and money and time are integers here anyway.
//!
//! **Invariant:** sorting is done here and not left to the map, because some dependency may switch
//! `serde_json` to insertion order.

use serde_json::Value;

/// A value has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// A number is not an integer of 64 bits.
    #[error(
        "{pointer} is {number}, but events carry integers only: use cents, minutes or milliseconds"
    )]
    Float {
        /// JSON Pointer to the number.
        pointer: String,
        /// The number as written.
        number: String,
    },
}

/// The canonical bytes of `value`.
///
/// # Errors
/// [`CanonicalError::Float`] with a JSON Pointer to the first number that is not an integer.
pub fn canonical_bytes(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut Path { parent: None, step: "" }, &mut out)?;
    Ok(out)
}

/// Where the writer stands, as a list on the stack: nothing is allocated unless an error needs it.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: &'a str,
}

impl Path<'_> {
    fn pointer(&self) -> String {
        match self.parent {
            None => String::new(),
            Some(parent) => {
                format!("{}/{}", parent.pointer(), self.step.replace('~', "~0").replace('/', "~1"))
            }
        }
    }
}

fn write(value: &Value, path: &mut Path<'_>, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::Number(number) => {
            return Err(CanonicalError::Float {
                pointer: path.pointer(),
                number: number.to_string(),
            });
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, &mut Path { parent: Some(path), step: &index.to_string() }, out)?;
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            out.push(b'{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(&fields[key], &mut Path { parent: Some(path), step: key }, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            control if control < '\u{20}' => {
                out.extend_from_slice(format!("\\u{:04x}", control as u32).as_bytes());
            }
            plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(value: &Value, expected: &str) {
        let bytes = canonical_bytes(value).expect("the value holds no float");
        assert_eq!(String::from_utf8(bytes).expect("canonical form is UTF-8"), expected);
    }

    #[test]
    fn keys_are_sorted_and_nothing_stands_between_tokens() {
        check(&json!({"b": 1, "a": [true, null, "x"]}), r#"{"a":[true,null,"x"],"b":1}"#);
    }

    #[test]
    fn strings_are_escaped_only_where_json_demands_it() {
        check(&json!("é\"\\\n\u{1}/"), "\"é\\\"\\\\\\n\\u0001/\"");
    }

    #[test]
    fn a_float_is_refused_and_its_place_named() {
        let refused = canonical_bytes(&json!({"pay": {"a/b": [1, 2.5]}}));

        let expected =
            CanonicalError::Float { pointer: "/pay/a~1b/1".into(), number: "2.5".into() };
        assert_eq!(refused, Err(expected));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".*", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_bytes_parse_back_to_the_same_value(value in any_value()) {
            let bytes = canonical_bytes(&value).expect("the value holds no float");
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("it is JSON"), value);
        }
    }
}
