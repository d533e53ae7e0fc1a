//! What a door said: an answer, or a refusal by its code and the places it blames.

use serde_json::{Value, json};

/// What a caller was told, whatever the words of the door.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Answer(Value),
    Refusal { code: String, places: Vec<String> },
}

impl Told {
    /// A refusal as REST, the socket and MCP word it.
    pub(super) fn refusal(problem: &Value) -> Self {
        let errors = problem["errors"].as_array().into_iter().flatten();
        let mut places: Vec<String> =
            errors.filter_map(|error| error["pointer"].as_str()).map(str::to_owned).collect();
        places.sort();
        let code = problem["code"].as_str().unwrap_or("(no code)").to_owned();
        Self::Refusal { code, places }
    }

    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Answer(_))
    }

    pub(super) fn code(&self) -> &str {
        match self {
            Self::Answer(_) => "(answered)",
            Self::Refusal { code, .. } => code,
        }
    }

    /// The same without what differs from call to call.
    pub(super) fn shape(&self) -> Self {
        match self {
            // A reply on a socket is always an object.
            Self::Answer(Value::Null) => Self::Answer(json!({})),
            Self::Answer(answer) => Self::Answer(without_chance(answer)),
            refusal @ Self::Refusal { .. } => refusal.clone(),
        }
    }

    /// Leaves of an answer only the names at its top and the types behind them.
    pub(super) fn forget_values(&mut self) {
        if let Self::Answer(Value::Object(fields)) = self {
            for value in fields.values_mut() {
                *value = json!(type_of(value));
            }
        }
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn without_chance(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(if is_chance(text) { "(…)" } else { text }),
        Value::Array(items) => items.iter().map(without_chance).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), without_chance(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Ids, instants and secrets: long words, with an id perhaps among others.
fn is_chance(text: &str) -> bool {
    let is_long = |word: &str| word.len() >= 20 && word.bytes().any(|byte| byte.is_ascii_digit());
    text.split_whitespace().any(is_long)
}
