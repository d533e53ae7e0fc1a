//! Form: whether an input looks as its operation's schema asks, told field by field.
//!
//! A caller mends what an answer names. So every complaint points at the field it is about, also at
//! one that is missing or that nobody knows, and quotes no more of a value than a person would
//! read, and of what may be a secret nothing. One rule holds for all operations and stands in no
//! schema: no text holds the character U+0000, which Postgres can keep neither as text nor as JSON.

use std::borrow::Cow;

use jsonschema::Validator;
use jsonschema::error::{ValidationError, ValidationErrorKind as Kind};
use serde_json::Value;

use crate::refusal::FieldError;

/// How many offending fields one answer names.
const COMPLAINTS_MAX: usize = 20;
/// How much of a value or a name an answer quotes, in characters.
const QUOTED_CHARS_MAX: usize = 80;
/// Up to here every whole number has a float of its own, so none changes when it is read as one.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The pattern of text with at least something visible, and nothing in it that steers a terminal.
pub(crate) const VISIBLE_TEXT: &str = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$";

/// What compares values with `schema`, compiled once.
pub(crate) fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .expect("a derived schema is a valid schema")
}

/// What a complaint says of the value it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// As much as a person would read.
    Short,
    /// Nothing: it may be a secret, and answers end up in the logs of whoever asks.
    Nothing,
}

/// What is wrong with `input`, field by field; nothing if it has the right form.
pub(crate) fn complaints(validator: &Validator, input: &Value) -> Vec<FieldError> {
    complaints_quoting(Quoting::Short, validator, &Value::Null, input)
}

/// The same, with what it says of the values. The validator is that of `schema`, whose examples
/// show what was expected.
pub(crate) fn complaints_quoting(
    quoting: Quoting,
    validator: &Validator,
    schema: &Value,
    input: &Value,
) -> Vec<FieldError> {
    let mut found = Vec::new();
    find_nul(input, "", &mut found);
    for error in validator.iter_errors(input) {
        if found.len() >= COMPLAINTS_MAX {
            break;
        }
        match example_for(&error, schema) {
            Some(example) => found.push(FieldError {
                pointer: error.instance_path().to_string(),
                message: format!("this has another form than expected; write it as in {example}"),
            }),
            None => complain(&error, input, quoting, &mut found),
        }
    }
    found.truncate(COMPLAINTS_MAX);
    found
}

/// Makes `1` of `1.0`, which JSON Schema calls an integer and Rust does not.
pub(crate) fn with_whole_numbers(input: Value) -> Value {
    match input {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| {
                number.is_f64() && float.fract() == 0.0 && float.abs() <= WHOLE_MAX
            });
            #[allow(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            whole.map_or(Value::Number(number), |float| Value::from(float as i64))
        }
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, with_whole_numbers(value))).collect()
        }
        other => other,
    }
}

fn complain(
    error: &ValidationError<'_>,
    input: &Value,
    quoting: Quoting,
    found: &mut Vec<FieldError>,
) {
    let at = error.instance_path().to_string();
    let mut add = |pointer, message: String| found.push(FieldError { pointer, message });
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            add(step(&at, name), "this field is required".to_owned());
        }
        Kind::AdditionalProperties { unexpected } => {
            for name in unexpected {
                add(step(&at, name), "there is no such field".to_owned());
            }
        }
        // Of what takes no fields at all, the error names the first value and not its field.
        Kind::FalseSchema => match input.pointer(&at) {
            Some(Value::Object(fields)) if !fields.is_empty() => {
                for name in fields.keys() {
                    add(step(&at, name), "there is no such field".to_owned());
                }
            }
            _ => add(at, "there is no such field".to_owned()),
        },
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let mut words = Vec::new();
            if choices(context, &mut words) && !words.is_empty() {
                let given = quoted(error.instance(), quoting);
                add(at, format!("{given} is none of {}", words.join(", ")));
            } else {
                match meant(context) {
                    Some(inner) => complain(inner, input, quoting, found),
                    None => add(at, said_quoting(quoting, error)),
                }
            }
        }
        Kind::Pattern { pattern } if pattern == VISIBLE_TEXT => {
            add(at, "something to read is expected, without control characters".to_owned());
        }
        _ => add(at, said_quoting(quoting, error)),
    }
}

/// What the schema gives as an example of the text whose pattern is broken: a person reads it more
/// easily than the pattern, and what was sent may be a secret.
fn example_for<'a>(error: &ValidationError<'_>, schema: &'a Value) -> Option<&'a str> {
    let Kind::Pattern { .. } = error.kind() else { return None };
    let rule = error.schema_path().to_string();
    let (field, _) = rule.rsplit_once('/')?;
    schema.pointer(field)?.get("examples")?.get(0)?.as_str()
}

/// Collects the words a field may be, and answers whether a choice of words is all it takes.
fn choices(context: &[Vec<ValidationError<'static>>], words: &mut Vec<String>) -> bool {
    context.iter().filter_map(|branch| branch.first()).all(|error| match error.kind() {
        Kind::Constant { expected_value } => {
            words.push(expected_value.to_string());
            true
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => choices(context, words),
        Kind::Type { .. } => true,
        _ => false,
    })
}

/// The complaint of the branch the caller meant: of an optional field, not that it is no null.
fn meant<'a>(context: &'a [Vec<ValidationError<'static>>]) -> Option<&'a ValidationError<'static>> {
    let mut errors = context.iter().filter_map(|branch| branch.first());
    errors.find(|error| !matches!(error.kind(), Kind::Type { .. }))
}

/// The sentence of a complaint, with no more of the value than a person would read.
pub(crate) fn said(error: &ValidationError<'_>) -> String {
    said_quoting(Quoting::Short, error)
}

fn said_quoting(quoting: Quoting, error: &ValidationError<'_>) -> String {
    error.masked_with(quoted(error.instance(), quoting)).to_string()
}

fn quoted(value: &Value, quoting: Quoting) -> String {
    match quoting {
        Quoting::Short => shortened(&value.to_string()).into_owned(),
        Quoting::Nothing => "what was given".to_owned(),
    }
}

fn find_nul(value: &Value, at: &str, found: &mut Vec<FieldError>) {
    let refused =
        || FieldError { pointer: at.to_owned(), message: "text may not contain U+0000".to_owned() };
    match value {
        Value::String(text) if text.contains('\0') => found.push(refused()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_nul(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if name.contains('\0') {
                    found.push(refused());
                }
                find_nul(value, &step(at, name), found);
            }
        }
        _ => {}
    }
}

/// One step down in a JSON Pointer.
fn step(at: &str, name: &str) -> String {
    format!("{at}/{}", shortened(name).replace('~', "~0").replace('/', "~1"))
}

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validator() -> Validator {
        let schema = json!({
            "type": "object",
            "properties": {
                "title": {"type": "string", "maxLength": 5},
                "state": {"anyOf": [{"enum": ["open", "filled"]}, {"type": "null"}]},
                "stage": {"anyOf": [
                    {"oneOf": [{"const": "new"}, {"const": "old"}]},
                    {"type": "null"},
                ]},
                "reason": {"type": "string", "pattern": VISIBLE_TEXT},
                "place": {"type": "object", "required": ["suburb"], "properties": {"suburb": {}}},
                "headcount": {"type": "integer"},
            },
            "required": ["headcount"],
            "additionalProperties": false,
        });
        jsonschema::validator_for(&schema).expect("it is a schema")
    }

    fn check(input: &Value, expected: &[(&str, &str)]) {
        let complaints = complaints(&validator(), input);
        let told: Vec<_> =
            complaints.iter().map(|told| (told.pointer.as_str(), told.message.as_str())).collect();
        assert_eq!(told, expected, "{input}");
    }

    #[test]
    fn a_complaint_points_at_the_field_it_is_about() {
        let missing = "this field is required";
        check(&json!({}), &[("/headcount", missing)]);
        check(&json!({"headcount": 1, "place": {}}), &[("/place/suburb", missing)]);
        check(&json!({"headcount": 1, "a/b": 1}), &[("/a~1b", "there is no such field")]);
        check(&json!({"headcount": 1, "state": "open"}), &[]);
        check(
            &json!({"headcount": 1, "state": "lost"}),
            &[("/state", r#""lost" is not one of "open" or "filled""#)],
        );
        check(
            &json!({"headcount": 1, "stage": "lost"}),
            &[("/stage", r#""lost" is none of "new", "old""#)],
        );
    }

    #[test]
    fn where_no_field_is_taken_each_that_is_given_is_named() {
        let nothing = super::validator(&json!({"type": "object", "additionalProperties": false}));

        let complaints = complaints(&nothing, &json!({"a": 1, "b/c": "x"}));

        let told: Vec<_> = complaints.iter().map(|told| told.pointer.as_str()).collect();
        assert_eq!(told, ["/a", "/b~1c"]);
        assert!(complaints.iter().all(|told| told.message == "there is no such field"));
    }

    #[test]
    fn a_secret_that_does_not_fit_is_not_repeated() {
        let secrets = [
            json!({"headcount": 1, "title": "hunter2hunter2"}),
            json!({"headcount": "hunter2"}),
            json!({"headcount": 1, "stage": "hunter2"}),
            json!({"headcount": 1, "state": "hunter2"}),
        ];

        for input in secrets {
            let told = complaints_quoting(Quoting::Nothing, &validator(), &Value::Null, &input);
            assert_eq!(told.len(), 1, "{input}");
            assert!(told[0].message.starts_with("what was given is "), "{}", told[0].message);
            assert!(!told[0].message.contains("hunter2"), "{}", told[0].message);
        }
    }

    #[test]
    fn text_that_nobody_could_read_is_refused_in_words() {
        let unreadable = "something to read is expected, without control characters";

        for reason in ["   ", "\u{1b}[31m", "a\nb"] {
            check(&json!({"headcount": 1, "reason": reason}), &[("/reason", unreadable)]);
        }
        check(&json!({"headcount": 1, "reason": " für Übung "}), &[]);
    }

    #[test]
    fn text_of_another_form_is_answered_with_an_example_and_not_repeated() {
        let schema = json!({"type": "object", "properties": {"codes": {"type": "array", "items": {
            "type": "string", "pattern": "^[0-9]{4}$", "examples": ["3030"],
        }}}});
        let input = json!({"codes": ["3029", "303O"]});

        let told = complaints_quoting(Quoting::Short, &super::validator(&schema), &schema, &input);

        assert_eq!((told.len(), told[0].pointer.as_str()), (1, "/codes/1"));
        let expected = "this has another form than expected; write it as in 3030";
        assert_eq!(told[0].message, expected);
    }

    #[test]
    fn text_that_postgres_cannot_keep_is_refused_wherever_it_stands() {
        let nul = "text may not contain U+0000";

        check(&json!({"headcount": 1, "title": "\0"}), &[("/title", nul)]);
        check(
            &json!({"headcount": 1, "place": {"suburb": ["a", "\0"]}}),
            &[("/place/suburb/1", nul)],
        );
        check(&json!({"headcount": 1, "place": {"suburb": {"\0": 1}}}), &[("/place/suburb", nul)]);
    }

    #[test]
    fn no_more_of_a_value_is_quoted_than_a_person_would_read() {
        let long = "a".repeat(100_000);

        let value = complaints(&validator(), &json!({"headcount": 1, "title": long}));
        let name = complaints(&validator(), &json!({"headcount": 1, &*long: 1}));

        assert!(value[0].message.contains("aaa…"), "{}", value[0].message.len());
        assert!(value[0].message.len() < 200 && name[0].pointer.len() < 200);
    }

    #[test]
    fn a_whole_number_is_whole_however_it_is_written() {
        let cases = [("1.0", "1"), ("-2e3", "-2000"), ("1.5", "1.5"), ("[2.0]", "[2]"), ("3", "3")];

        for (written, expected) in cases {
            let value = serde_json::from_str(written).expect("it is JSON");
            assert_eq!(with_whole_numbers(value).to_string(), expected, "{written}");
        }
        assert_eq!(with_whole_numbers(json!(1e300)), json!(1e300));
    }
}
