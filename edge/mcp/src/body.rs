//! Bodies: one JSON-RPC message, read strictly, before rmcp sees it.
//!
//! rmcp reads it again, and may keep another one of two equal keys; so there may be none
//! ([`platform::json`]).

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use platform::json::{self, JsonError};
use serde_json::Value;

use crate::door::Refused;

/// The largest body, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// JSON-RPC's word for what is not JSON.
const PARSE_ERROR: i32 = -32700;
/// JSON-RPC's word for JSON that is no message.
pub(crate) const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC's word for a message whose parameters are not as the method wants them.
const INVALID_PARAMS: i32 = -32602;

/// Reads a body that holds one message.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refused> {
    let reading = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(read) = tokio::time::timeout(BODY_WITHIN, reading).await else {
        let message = format!("the body did not arrive within {} s", BODY_WITHIN.as_secs());
        return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", &message));
    };
    let bytes = match read {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("a body has at most {BODY_BYTES_MAX} bytes");
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message));
        }
        Err(error) => {
            let message = format!("the body cannot be read: {error}");
            return Err(Refused::new(StatusCode::BAD_REQUEST, "unreadable_body", &message));
        }
    };
    if !is_json(headers) {
        let message = "send the body as Content-Type: application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Refused::new(status, "unsupported_media_type", message));
    }
    check(&parse(&bytes)?)?;
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

fn parse(bytes: &[u8]) -> Result<Value, Refused> {
    json::parse(bytes)
        .map_err(|error: JsonError| Refused::rpc(PARSE_ERROR, &Value::Null, &error.to_string()))
}

/// What every message must look like, whatever its method.
fn check(message: &Value) -> Result<(), Refused> {
    let invalid = |id: &Value, text: &str| Err(Refused::rpc(INVALID_REQUEST, id, text));
    let message = match message {
        Value::Object(message) => message,
        Value::Array(_) => {
            return invalid(&Value::Null, "a body holds one message; batches are not taken");
        }
        _ => return invalid(&Value::Null, "a message is an object"),
    };
    let id = message.get("id").cloned().unwrap_or_default();
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid(&id, "a message says `\"jsonrpc\": \"2.0\"`");
    }
    let has_good_id = message.get("id").is_none_or(|id| id.is_string() || id.is_i64());
    if !has_good_id {
        return invalid(&Value::Null, "the id of a message is text or an integer");
    }
    match message.get("method") {
        Some(Value::String(method)) => check_params(method, message.get("params"))
            .map_err(|text| Refused::rpc(INVALID_PARAMS, &id, &text)),
        Some(_) => invalid(&id, "the method of a message is text"),
        None if message.contains_key("result") || message.contains_key("error") => Ok(()),
        None => invalid(&id, "a message names its method"),
    }
}

/// rmcp takes a message whose parameters it cannot read for one of another method, which tells the
/// caller nothing.
fn check_params(method: &str, params: Option<&Value>) -> Result<(), String> {
    let (what, named) = match method {
        "tools/call" => ("a call", "name"),
        "prompts/get" => ("a request for a prompt", "name"),
        "resources/read" => ("a request for a resource", "uri"),
        _ => return Ok(()),
    };
    let params = params.and_then(Value::as_object).ok_or_else(|| format!("{what} has params"))?;
    if !params.get(named).is_some_and(Value::is_string) {
        return Err(format!("the params of {what} have a {named}"));
    }
    let arguments = params.get("arguments");
    if !arguments.is_none_or(|arguments| arguments.is_object() || arguments.is_null()) {
        return Err(format!("the arguments of {what} are an object"));
    }
    Ok(())
}
