//! The audit: every call of a tool is an event, also one that was refused.
//!
//! What people type is in no event, since events can never be removed; so of the arguments only
//! ids, numbers, dates and words of a fixed list are recorded, as the schema tells them apart, and
//! of anything else how long it was.

use std::time::Instant;

use platform::operator::{RecordToolCalled, ToolCalled};
use platform::{Id, Scope, System};
use rmcp::model::JsonObject;
use serde_json::{Map, Value, json};

use crate::metadata::Server;
use crate::outcome::Refusal;
use crate::tool::Entry;

/// The most items of a list that are recorded.
const ITEMS_MAX: usize = 20;
/// The most bytes of arguments that are recorded.
const ARGUMENTS_BYTES_MAX: usize = 4096;

/// A call that is under way.
pub(crate) struct Call {
    told: ToolCalled,
    began: Instant,
}

impl Call {
    pub(crate) fn begin(
        server: Server,
        entry: &Entry,
        arguments: &JsonObject,
        request_id: &Result<Option<String>, Refusal>,
        began: Instant,
    ) -> Self {
        let told = ToolCalled {
            call_id: Id::new(),
            server: server.name().to_owned(),
            domain: entry.domain.to_string(),
            operation: entry.spec.name().to_owned(),
            category: entry.spec.category().name().to_owned(),
            arguments: redacted(&entry.input_schema, arguments),
            request_id: request_id.clone().ok().flatten().filter(|id| id.len() <= 255),
            outcome: String::new(),
            code: None,
            duration_ms: 0,
        };
        Self { told, began }
    }

    /// Records how it ended. What cannot be recorded is told as not available.
    pub(crate) async fn end(
        mut self,
        system: &System,
        scope: &Scope,
        refusal: Option<&Refusal>,
    ) -> Result<(), Refusal> {
        self.told.outcome = refusal.map_or("done", |refusal| refusal.kind.name()).to_owned();
        self.told.code = refusal.map(|refusal| refusal.code.clone());
        self.told.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let recorded = system.run(scope, RecordToolCalled::of(self.told)).await;
        recorded.map_err(|error| {
            tracing::error!(%error, "the call of a tool could not be recorded");
            Refusal::from(&error)
        })
    }
}

/// The arguments as they may be recorded.
fn redacted(schema: &Value, arguments: &JsonObject) -> Value {
    let kept = fields(schema, arguments);
    if kept.to_string().len() > ARGUMENTS_BYTES_MAX { json!({"omitted": true}) } else { kept }
}

/// Fields that the schema does not know are not recorded, not even their names.
fn fields(schema: &Value, arguments: &JsonObject) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let known = arguments.iter().filter_map(|(name, value)| {
        let schema = properties?.get(name)?;
        Some((name.clone(), field(schema, value)))
    });
    known.collect::<Map<_, _>>().into()
}

fn field(schema: &Value, value: &Value) -> Value {
    if is_secret(schema) {
        return json!({"secret": true});
    }
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => value.clone(),
        // Events carry no floats.
        Value::Number(number) => number.to_string().into(),
        Value::String(text) if is_plain(schema) => text.chars().take(64).collect::<String>().into(),
        Value::String(text) => json!({"characters": text.chars().count()}),
        Value::Array(items) => {
            let of = schema.get("items").unwrap_or(&Value::Null);
            items.iter().take(ITEMS_MAX).map(|item| field(of, item)).collect()
        }
        Value::Object(inner) => fields(schema, inner),
    }
}

/// Fields whose value is nobody's business: marked so, or written down only to be checked.
fn is_secret(schema: &Value) -> bool {
    schema.get("x-secret").is_some_and(|secret| secret != &Value::Bool(false))
        || schema.get("writeOnly") == Some(&Value::Bool(true))
        || schema.get("format").and_then(Value::as_str) == Some("password")
}

/// Whether text is an id, an instant or a word of a fixed list, and so nothing that people type.
fn is_plain(schema: &Value) -> bool {
    let format = schema.get("format").and_then(Value::as_str);
    let is_formatted =
        matches!(format, Some("uuid" | "date" | "date-time" | "partial-date-time" | "time"));
    let any = |word| {
        let branches = schema.get(word).and_then(Value::as_array);
        branches.into_iter().flatten().any(is_plain)
    };
    is_formatted
        || schema.get("enum").is_some()
        || schema.get("const").is_some()
        || any("anyOf")
        || any("oneOf")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(arguments: Value) -> Value {
        let schema = json!({"type": "object", "properties": {
            "candidate_id": {"type": "string", "format": "uuid"},
            "starts_on": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "state": {"type": "string", "enum": ["open", "closed"]},
            "reason": {"type": "string"},
            "headcount": {"type": "integer"},
            "password": {"type": "string", "x-secret": true},
            "address": {"type": "object", "properties": {"street": {"type": "string"}}},
            "labels": {"type": "array", "items": {"type": "string"}},
        }});
        let Value::Object(arguments) = arguments else { return Value::Null };
        redacted(&schema, &arguments)
    }

    #[test]
    fn ids_numbers_dates_and_words_of_a_list_are_recorded() {
        let given = json!({"candidate_id": "0190", "starts_on": "2026-01-01", "state": "open",
                           "headcount": 3});

        assert_eq!(recorded(given.clone()), given);
    }

    #[test]
    fn nothing_that_people_type_is_recorded() {
        let given = json!({"reason": "Bo is ill", "password": "hunter2", "labels": ["Bo"],
                           "address": {"street": "Bo's", "Bo": 1}, "Bo": "Bo"});

        let told = recorded(given);

        assert!(!told.to_string().contains("Bo"), "{told}");
        assert!(!told.to_string().contains("hunter2"), "{told}");
        assert_eq!(told["reason"], json!({"characters": 9}));
    }

    #[test]
    fn a_long_list_takes_a_bounded_part_of_the_log() {
        let text = "x".repeat(1000);
        let given = json!({"labels": vec![text; 10_000], "candidate_id": "0".repeat(100_000)});

        assert!(recorded(given).to_string().len() <= ARGUMENTS_BYTES_MAX);
    }
}
