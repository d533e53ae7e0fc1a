//! Outcomes: from what an operation said to what an agent reads. The only table of kinds.
//!
//! A refusal is a result that says so: the model can read it and act otherwise. A failure is an
//! error of the protocol: there is nothing the model could do.

use std::time::Duration;

use platform::{Answer, Error, FieldError, Kind};
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, MetaObject};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::tool::{Entry, RESULT, Shape};

/// Our word, among those the protocol leaves to servers, for what was refused.
const REFUSED: ErrorCode = ErrorCode(-32000);

/// A call that was refused, as the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) errors: Vec<FieldError>,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self { kind, code, message, errors: Vec::new(), retry_after: None }
    }

    /// Blames an argument.
    pub(crate) fn at(mut self, pointer: &str) -> Self {
        let message = self.message.clone();
        self.errors.push(FieldError { pointer: pointer.to_owned(), message });
        self
    }

    /// Says when to ask again.
    pub(crate) const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            code: error.code().to_owned(),
            message: error.message().to_owned(),
            errors: error.fields().to_vec(),
            retry_after: error.retry_after(),
        }
    }
}

/// The result of a call that was answered. What the answer holds stands beside the structured
/// result; `uri` is where the answer is at home.
pub(crate) fn success(entry: &Entry, uri: &str, answer: Answer) -> CallToolResult {
    let mut output = answer.value;
    let held: Vec<ContentBlock> = entry
        .held
        .iter()
        .filter_map(|held| Some(held.block(held.take(&mut output)?, uri)))
        .collect();
    let structured = match entry.shape {
        Shape::Nothing => None,
        Shape::Object => Some(output),
        Shape::Wrapped => Some(json!({ RESULT: output })),
    };
    // The text is for clients that know no structured results.
    let text = match &structured {
        Some(structured) => Some(structured.to_string()),
        None => held.is_empty().then(|| "done".to_owned()),
    };
    let blocks = text.map(ContentBlock::text).into_iter().chain(held).collect();
    let mut result = CallToolResult::success(blocks);
    result.structured_content = structured;
    if answer.is_replayed {
        let mut meta = Map::new();
        meta.insert("finnest/replayed".into(), true.into());
        result.meta = Some(MetaObject(meta));
    }
    result
}

/// What a caller is told about a refusal.
fn told(refusal: &Refusal) -> Value {
    let mut told = json!({
        "kind": refusal.kind.name(),
        "code": refusal.code,
        "message": refusal.message,
        "errors": refusal.errors,
    });
    if let Some(after) = refusal.retry_after {
        told["retry_after_ms"] = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into();
    }
    told
}

/// The result of a call that was refused.
pub(crate) fn refused(refusal: &Refusal) -> CallToolResult {
    let told = told(refusal);
    let mut result = CallToolResult::error(vec![ContentBlock::text(told.to_string())]);
    result.structured_content = Some(told);
    result
}

/// The error of what is no call and was refused: there is no result that could say so.
pub(crate) fn denied(refusal: &Refusal) -> ErrorData {
    let (message, data) = (refusal.message.clone(), Some(told(refusal)));
    match refusal.kind {
        Kind::NotFound => ErrorData::resource_not_found(message, data),
        Kind::Invalid => ErrorData::invalid_params(message, data),
        _ => ErrorData::new(REFUSED, message, data),
    }
}

/// The error of a call that failed. Its cause is in the log, under the correlation id.
pub(crate) fn failed(refusal: &Refusal, correlation_id: Uuid) -> ErrorData {
    let data = json!({
        "kind": refusal.kind.name(),
        "code": refusal.code,
        "correlation_id": correlation_id,
    });
    let message = "something went wrong on our side; the correlation id finds it in the log";
    ErrorData::internal_error(message, Some(data))
}
