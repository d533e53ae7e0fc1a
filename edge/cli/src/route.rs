//! Routes: where an operation is on the REST surface, and the request that an input makes there.

use std::fmt::Write as _;

use hyper::Method;
use platform::{Operation, Verb};
use serde_json::{Map, Value};

/// Where the operations of all domains are.
const BASE: &str = "/api/v1";
/// The field by which somebody says which version of a thing they have seen.
const EXPECTED_VERSION: &str = "expected_version";

/// The address of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// The whole path with its parameters, for example `/api/v1/recruit/job_orders/{job_order_id}`.
    pub(crate) template: String,
    takes_body: bool,
    /// Whether it replaces or removes something that has a version.
    takes_version: bool,
    /// Whether repeating it with the same Idempotency-Key is done once.
    pub(crate) takes_key: bool,
}

/// A request, ready to be sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query string.
    pub(crate) target: String,
    pub(crate) body: Option<Value>,
    pub(crate) idempotency_key: Option<String>,
    /// What this and everything that follows from it is found by.
    pub(crate) correlation_id: Option<String>,
    /// The version that is replaced or removed; a newer one is left alone.
    pub(crate) expected_version: Option<String>,
    /// Which flag fills which place of the input, so that a complaint can name the flag.
    pub(crate) flags: Vec<(String, String)>,
}

/// An input that makes no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    /// The path has a place for a field that was not given.
    #[error("`{0}` is part of the address and must be given as text that is not empty")]
    PathField(String),
}

impl Route {
    /// The address of `operation`; none for those that have no surface.
    pub(crate) fn of(operation: &Operation) -> Option<Self> {
        let method = match operation.spec.verb() {
            Verb::Read => Method::GET,
            Verb::Create | Verb::Invoke => Method::POST,
            Verb::Replace => Method::PUT,
            Verb::Remove => Method::DELETE,
            Verb::Internal => return None,
        };
        Some(Self {
            template: format!("{BASE}/{}{}", operation.domain, operation.spec.path()),
            takes_body: matches!(method, Method::POST | Method::PUT),
            takes_version: matches!(method, Method::PUT | Method::DELETE)
                && operation.input_schema["properties"].get(EXPECTED_VERSION).is_some(),
            takes_key: method == Method::POST && operation.remembers_answers(),
            method,
        })
    }

    /// The request that `input` makes: path fields in the path, the rest in the body, or in the
    /// query string of a method that has no body.
    pub(crate) fn call(&self, mut input: Map<String, Value>) -> Result<Call, RouteError> {
        let mut steps = Vec::new();
        for step in self.template.split('/') {
            match step.strip_prefix('{').and_then(|step| step.strip_suffix('}')) {
                None => steps.push(step.to_owned()),
                Some(name) => {
                    let value = input.remove(name).as_ref().and_then(path_text);
                    steps.push(value.ok_or_else(|| RouteError::PathField(name.to_owned()))?);
                }
            }
        }
        let mut target = steps.join("/");
        // The address has a place of its own for it: If-Match.
        let version = self.takes_version.then(|| input.remove(EXPECTED_VERSION)).flatten();
        let expected_version = version.as_ref().and_then(plain);
        let body = if self.takes_body {
            Some(Value::Object(input))
        } else {
            let query = query(&input);
            if !query.is_empty() {
                target = format!("{target}?{query}");
            }
            None
        };
        let method = self.method.clone();
        Ok(Call { method, target, body, expected_version, ..Call::default() })
    }
}

impl Call {
    /// The same call for the page that begins at `cursor`.
    pub(crate) fn turned_to(&self, cursor: &str) -> Self {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let mut turned = form_urlencoded::Serializer::new(String::new());
        let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "cursor");
        turned.extend_pairs(kept).append_pair("cursor", cursor);
        Self { target: format!("{path}?{}", turned.finish()), ..self.clone() }
    }
}

fn path_text(value: &Value) -> Option<String> {
    let text = plain(value)?;
    (!text.is_empty()).then(|| percent_encoded(&text))
}

/// A list becomes one pair for each item; what is null is left out.
fn query(input: &Map<String, Value>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in input {
        match value {
            Value::Array(items) => {
                for text in items.iter().filter_map(plain) {
                    query.append_pair(name, &text);
                }
            }
            value => {
                if let Some(text) = plain(value) {
                    query.append_pair(name, &text);
                }
            }
        }
    }
    query.finish()
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Everything but what RFC 3986 leaves alone, so that a slash in a field stays in that field.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    // A client that tidies paths would swallow these two.
    match encoded.as_str() {
        "." => "%2E".into(),
        ".." => "%2E%2E".into(),
        _ => encoded,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::example;

    fn call(operation: &str, input: Value) -> Result<Call, RouteError> {
        let catalog = example::catalog();
        let operation = catalog.operation("recruit", operation).expect("an example");
        let Value::Object(input) = input else { panic!("an object") };
        Route::of(operation).expect("a surface").call(input)
    }

    #[test]
    fn a_command_sends_its_input_as_body() {
        let call = call("open_job_order", json!({"title": "x", "headcount": 3})).expect("fits");

        assert_eq!(
            (call.method, call.target.as_str()),
            (Method::POST, "/api/v1/recruit/job_orders")
        );
        assert_eq!(call.body, Some(json!({"title": "x", "headcount": 3})));
    }

    #[test]
    fn a_query_sends_its_input_as_query_string() {
        let call = call(
            "list_job_orders",
            json!({"limit": 2, "states": ["open", "a b&c"], "cursor": null}),
        );
        let call = call.expect("fits");

        assert_eq!(call.target, "/api/v1/recruit/job_orders?limit=2&states=open&states=a+b%26c");
        assert_eq!((call.method, call.body), (Method::GET, None));
    }

    #[test]
    fn path_fields_are_filled_in_and_sent_nowhere_else() {
        let call = call("fill_job_order", json!({"job_order_id": "7/ä", "slot": 1})).expect("fits");

        assert_eq!(call.target, "/api/v1/recruit/job_orders/7%2F%C3%A4/fill");
        assert_eq!(call.body, Some(json!({"slot": 1})));
    }

    #[test]
    fn a_path_field_may_be_neither_missing_nor_empty_nor_a_way_out() {
        let missing = RouteError::PathField("job_order_id".into());

        assert_eq!(call("fill_job_order", json!({})), Err(missing.clone()));
        assert_eq!(call("fill_job_order", json!({"job_order_id": ""})), Err(missing));
        let up = call("fill_job_order", json!({"job_order_id": ".."})).expect("fits");
        assert_eq!(up.target, "/api/v1/recruit/job_orders/%2E%2E/fill");
    }

    #[test]
    fn a_removal_has_no_body() {
        let call = call("remove_job_order", json!({"job_order_id": "7"})).expect("fits");

        assert_eq!((call.method, call.body), (Method::DELETE, None));
    }

    #[test]
    fn an_internal_operation_has_no_address() {
        let catalog = example::catalog();
        let operation = catalog.operation("recruit", "rescore").expect("an example");

        assert_eq!(Route::of(operation), None);
    }

    #[test]
    fn the_next_page_is_the_same_question_with_another_cursor() {
        let first = call("list_job_orders", json!({"states": ["open", "filled"], "limit": 2}));
        let first = first.expect("fits");

        let second = first.turned_to("7b&");

        let query = "limit=2&states=open&states=filled";
        assert_eq!(second.target, format!("/api/v1/recruit/job_orders?{query}&cursor=7b%26"));
        assert_eq!(
            second.turned_to("8").target,
            format!("{}8", &second.target[..second.target.len() - 5])
        );
    }
}
