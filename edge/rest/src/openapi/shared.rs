//! What many operations share: the problem, its answers, headers and parameters.

use serde_json::{Value, json};

use super::response::header;
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

/// Status, code and detail of an example, and when such a problem comes.
type Told = (u16, &'static str, &'static str, &'static str);

const PROBLEMS: [Told; 15] = [
    (
        400,
        "malformed_json",
        "the body is not valid JSON: expected value at line 1 column 2",
        "The path, the query string, a header or the body cannot be read.",
    ),
    (
        401,
        "token_missing",
        "send a token: Authorization: Bearer <token>",
        "There is no token, or nobody is known by it.",
    ),
    (
        403,
        "access_denied",
        "the role worker may not open_job_order",
        "The role or the credential does not allow it, or a second factor is wanted.",
    ),
    (
        404,
        "job_order_not_found",
        "there is no job order 01900000-0000-7000-8000-000000000001",
        "There is no such thing, or not for this organisation.",
    ),
    (
        408,
        "body_too_slow",
        "the body did not arrive within 10 s",
        "The body took too long to arrive.",
    ),
    (
        409,
        "job_order_not_open",
        "job order 01900000-0000-7000-8000-000000000001 is filled, so nothing about it can change",
        "The state of things does not allow this now.",
    ),
    (
        412,
        "version_changed",
        "it has changed: version 1 was expected, and it has version 2; read it again",
        "The thing has another version than the one that was named.",
    ),
    (413, "body_too_large", "a body has at most 1048576 bytes", "The body is too large."),
    (
        414,
        "address_too_long",
        "an address has at most 8192 bytes",
        "The path and the query string are too long.",
    ),
    (
        415,
        "unsupported_media_type",
        "send the body as Content-Type: application/json",
        "The body is not JSON.",
    ),
    (
        422,
        "malformed_input",
        "/headcount: this field is required",
        "The input breaks a rule; `errors` name the fields.",
    ),
    (
        428,
        "precondition_required",
        "say which version you mean: If-Match: <the ETag of what you read>",
        "No version is named, neither by `If-Match` nor by `expected_version`.",
    ),
    (
        429,
        "limited",
        "this credential asks more often than it may",
        "The caller asks more often than it may.",
    ),
    (
        500,
        "failure",
        "something went wrong on our side; the request id finds it in the log",
        "Something went wrong on our side; `instance` finds it in the log.",
    ),
    (
        503,
        "unavailable",
        "the database does not answer just now",
        "The domain or the database is not available just now.",
    ),
];

/// The answers that are problems, by status.
pub(super) fn responses() -> Value {
    let responses = PROBLEMS.into_iter().map(|(status, code, detail, description)| {
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
        429 => &["ratelimit", "ratelimit-policy", "retry-after"],
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
        "ratelimit-policy": header(
            "The limit that the caller comes nearest to: its name, its quota `q` and the seconds \
             `w` in which all of that comes back.",
            text.clone(),
        ),
        "ratelimit": header(
            "What is left of that limit: `r` requests now, and all of it after `t` seconds.",
            text.clone(),
        ),
        "retry-after": header("Seconds to wait before asking again.", seconds),
        "www-authenticate": header("How to authenticate.", text.clone()),
        "etag": header(
            "Names what was answered: for `If-None-Match` at the next reading, and, of what has a \
             `version`, for `If-Match` at a change.",
            text.clone(),
        ),
        "link": header(
            "Addresses beside this one: the next page of a list (`rel=\"next\"`), and what to use \
             instead of what is deprecated (`rel=\"successor-version\"`).",
            text.clone(),
        ),
        "deprecation": header("Since when this is deprecated (RFC 9745).", text.clone()),
        "sunset": header("When it ends (RFC 8594).", text),
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
            "The chain of causes this request belongs to, a UUID. Without it, or with anything \
             else, a new one begins.",
            json!({
                "type": "string",
                "examples": ["01900000-0000-7000-8000-000000000001"],
            }),
        ),
        "traceparent": parameter(
            "traceparent",
            "The caller's trace (W3C Trace Context). It is carried into events and jobs; one that \
             is malformed is ignored.",
            json!({
                "type": "string",
                "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            }),
        ),
        "if_match": parameter(
            "if-match",
            "The `ETag` of what was read: a change of anything else is refused. It stands for the \
             field `expected_version`, and only one of both may be given.",
            json!({ "type": "string", "pattern": "^\"[0-9]{1,18}\"$" }),
        ),
        "if_none_match": parameter(
            "if-none-match",
            "The `ETag` of what the caller has already. If it is still the same, the answer is 304 \
             without a body.",
            json!({ "type": "string" }),
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
