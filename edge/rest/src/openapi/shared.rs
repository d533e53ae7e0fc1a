//! What many operations share: the problem, its answers, headers and parameters.

use serde_json::{Value, json};

use super::response::header;
use crate::limits::BODY_BYTES_MAX;
use crate::problem::{MEDIA_TYPE, title};

/// How a caller says who it is.
pub(super) fn bearer() -> Value {
    json!({
        "type": "http",
        "scheme": "bearer",
        "description": "A session, an access token or a token of a program. It decides the \
            organisation whose data are seen; its scopes, if it has any, take away from what the \
            role may do.",
    })
}

/// The answers that are problems: status, an example's code and detail, and when it comes.
fn problems() -> [(u16, &'static str, &'static str, String); 11] {
    let told = |text: &str| text.to_owned();
    [
        (
            400,
            "malformed_json",
            "the body is not valid JSON: expected value at line 1 column 2",
            told("The path, the query string, a header or the body cannot be read."),
        ),
        (
            401,
            "token_missing",
            "send a token: Authorization: Bearer <token>",
            told("There is no token, or nobody is known by it."),
        ),
        (
            403,
            "access_denied",
            "the role worker may not open_job_order",
            told("The role or the credential does not allow it, or a second factor is wanted."),
        ),
        (
            404,
            "not_found",
            "there is no such thing",
            told("There is no such thing, or not for this organisation."),
        ),
        (
            408,
            "body_too_slow",
            "the body did not arrive within 10 s",
            told("The body took too long to arrive."),
        ),
        (
            409,
            "conflict",
            "the state of things does not allow this now",
            told("The state of things does not allow this now."),
        ),
        (
            413,
            "body_too_large",
            "a body has at most 1048576 bytes",
            format!("The body has more than {BODY_BYTES_MAX} bytes."),
        ),
        (
            415,
            "unsupported_media_type",
            "send the body as Content-Type: application/json",
            told("The body is not JSON."),
        ),
        (
            422,
            "malformed_input",
            "/headcount: this field is required",
            told("The input breaks a rule; `errors` name the fields."),
        ),
        (
            500,
            "failure",
            "something went wrong on our side; the request id finds it in the log",
            told("Something went wrong on our side; `instance` finds it in the log."),
        ),
        (
            503,
            "unavailable",
            "the database does not answer just now",
            told("The domain or the database is not available just now."),
        ),
    ]
}

/// The answers that are problems, by status.
pub(super) fn responses() -> Value {
    let responses = problems().into_iter().map(|(status, code, detail, description)| {
        let mut headers = json!({
            "x-correlation-id": header("x-correlation-id"),
            "x-request-id": header("x-request-id"),
        });
        for name in headers_of(status) {
            headers[*name] = header(name);
        }
        let media = json!({
            "schema": { "$ref": "#/components/schemas/Problem" },
            "example": problem(status, code, detail),
        });
        let response = json!({
            "description": description,
            "headers": headers,
            "content": { MEDIA_TYPE: media },
        });
        (status.to_string(), response)
    });
    Value::Object(responses.collect())
}

/// The headers that belong to a problem of this status, beside those of every answer.
const fn headers_of(status: u16) -> &'static [&'static str] {
    match status {
        401 => &["www-authenticate"],
        503 => &["retry-after"],
        _ => &[],
    }
}

fn problem(status: u16, code: &str, detail: &str) -> Value {
    let pointer = detail.split(": ").next().filter(|pointer| pointer.starts_with('/'));
    let errors: Vec<Value> = pointer
        .map(|pointer| json!({ "pointer": pointer, "message": &detail[pointer.len() + 2..] }))
        .into_iter()
        .collect();
    let known = axum::http::StatusCode::from_u16(status).expect("the table has real statuses");
    json!({
        "type": format!("/problems/{code}"),
        "title": title(known),
        "status": status,
        "detail": detail,
        "instance": "urn:uuid:01900000-0000-7000-8000-000000000001",
        "code": code,
        "errors": errors,
    })
}

/// The form of every problem.
pub(super) fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let address = |description: &str| {
        let mut schema = text(description);
        schema["format"] = "uri-reference".into();
        schema
    };
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "errors"],
        "properties": {
            "type": address("A stable address of the rule, which tells what to do."),
            "title": text("The same for every problem of this status."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "detail": text("What is wrong with this request, as a sentence."),
            "instance": address("The request, as the log knows it."),
            "code": text("The rule, for programs; it does not change."),
            "errors": {
                "type": "array",
                "description": "The fields to blame, if fields are.",
                "items": {
                    "type": "object",
                    "required": ["pointer", "message"],
                    "properties": {
                        "pointer": text("JSON Pointer to the field; empty for the whole input."),
                        "message": text("What is wrong with it."),
                    },
                },
            },
        },
    })
}

/// The headers of answers.
pub(super) fn headers() -> Value {
    let header =
        |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let uuid = json!({ "type": "string", "format": "uuid" });
    let address = json!({ "type": "string", "format": "uri-reference" });
    let seconds = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string" });
    json!({
        "x-request-id": header("This request, as the log knows it.", uuid.clone()),
        "x-correlation-id": header("The chain of causes this request belongs to.", uuid),
        "location": header("The address of what was created.", address),
        "retry-after": header("Seconds to wait before asking again.", seconds),
        "www-authenticate": header("How to authenticate.", text),
        "idempotent-replayed": header(
            "There if the answer is that of an earlier request with the same Idempotency-Key.",
            json!({ "const": "true" }),
        ),
    })
}

/// The headers of requests.
pub(super) fn parameters() -> Value {
    let parameter = |name: &str, description: &str, schema: Value| {
        json!({
            "name": name,
            "in": "header",
            "required": false,
            "description": description,
            "schema": schema,
        })
    };
    json!({
        "correlation_id": parameter(
            "x-correlation-id",
            "The chain of causes this request belongs to. Without it, a new one begins.",
            json!({ "type": "string", "format": "uuid" }),
        ),
        "traceparent": parameter(
            "traceparent",
            "The caller's trace (W3C Trace Context). It is carried into events and jobs; one that \
             is malformed is ignored.",
            json!({
                "type": "string",
                "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
                "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            }),
        ),
        "idempotency_key": parameter(
            "idempotency-key",
            "A request repeated with the same key is done once; the repeated answer says \
             `Idempotent-Replayed: true`. Another request with the same key is refused.",
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": 255,
                "pattern": "^[!-~]+$",
                "examples": ["8e03978e-40d5-43dd-bc93-6894a57f9324"],
            }),
        ),
    })
}
