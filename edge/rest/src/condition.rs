//! Conditions: the tag of what was read, and requests that hold only for what was read.
//!
//! A tag is strong. What has a `version` is tagged by it, so the tag of what was read is what a
//! change is asked for with (`If-Match`); everything else is tagged by a digest of its bytes, which
//! tells whether it is still the same (`If-None-Match`).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::Digest;
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::route::Versioning;

/// The field of an output that says which version it is.
const VERSION: &str = "version";
/// The field of an input that says which version is meant.
pub(crate) const EXPECTED_VERSION: &str = "expected_version";
/// Hexadecimal digits of a digest that make a tag: 128 bits.
const DIGEST_DIGITS: usize = 32;
/// How content codings mark the tags of what they encode: its bytes are not the same bytes.
const CODINGS: [&str; 3] = ["-gzip", "-br", "-zstd"];

/// The tag of an answer by its version, if it has one.
pub(crate) fn tag_of_version(answer: &Value) -> Option<String> {
    answer.get(VERSION).and_then(Value::as_i64).map(|version| format!("\"{version}\""))
}

/// The tag of these bytes.
pub(crate) fn tag_of_bytes(bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).to_string();
    format!("\"{}\"", &digest[..DIGEST_DIGITS])
}

/// Whether the caller has what `tag` names already.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = given.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    tags.any(|given| {
        let given = given.trim();
        // Any form of a tag will do to save the bytes.
        given == "*" || uncoded(given.strip_prefix("W/").unwrap_or(given)) == tag
    })
}

/// Tells an operation the version that `If-Match` names, as its input says it.
pub(crate) fn expect_version(
    input: &mut Value,
    versioning: Versioning,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let Value::Object(fields) = input else { return Ok(()) };
    let given = given(headers)?;
    match (versioning, given) {
        (Versioning::None, Given::Nothing) => Ok(()),
        (Versioning::None, _) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "if_match_not_accepted",
            "this operation knows no versions, so it cannot keep what If-Match asks for; leave it \
             out",
        )),
        (Versioning::Required, Given::Nothing) if !fields.contains_key(EXPECTED_VERSION) => {
            Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition_required",
                "say which version you mean: If-Match: <the ETag of what you read>",
            ))
        }
        (Versioning::Required, Given::Anything) => Err(malformed(
            "If-Match: * names no version, and this operation must know which one you mean",
        )),
        (_, Given::Nothing | Given::Anything) => Ok(()),
        (_, Given::Version(version)) => set(fields, version),
        (_, Given::Other) => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "stale_version",
            "If-Match names no version of this; read it again and send its ETag",
        )),
    }
}

fn set(fields: &mut Map<String, Value>, version: i64) -> Result<(), Problem> {
    if fields.insert(EXPECTED_VERSION.to_owned(), version.into()).is_some() {
        let detail = "the version is given twice: by If-Match and by the field expected_version";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "duplicate_field", detail)
            .blaming(vec![platform::FieldError {
                pointer: format!("/{EXPECTED_VERSION}"),
                message: detail.to_owned(),
            }]));
    }
    Ok(())
}

/// What `If-Match` says.
enum Given {
    Nothing,
    Anything,
    Version(i64),
    /// A tag, but not of a version.
    Other,
}

fn given(headers: &HeaderMap) -> Result<Given, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let text = match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => return Ok(Given::Nothing),
        (Some(Ok(text)), None) => text.trim(),
        _ => return Err(malformed("send one If-Match with one tag")),
    };
    if text == "*" {
        return Ok(Given::Anything);
    }
    if text.starts_with("W/") {
        return Err(malformed("a weak tag cannot tell versions apart; send the ETag unchanged"));
    }
    let tag = uncoded(text);
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner.filter(|inner| !inner.contains(['"', ' '])) {
        None if text.contains(',') => Err(malformed("send one tag; this is a list")),
        None => Err(malformed("a tag stands in double quotes, as in If-Match: \"7\"")),
        Some(inner) => Ok(inner.parse().map_or(Given::Other, Given::Version)),
    }
}

fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_if_match", detail)
}

/// A tag without what its coding added.
fn uncoded(tag: &str) -> String {
    for coding in CODINGS {
        if let Some(bare) = tag.strip_suffix('"').and_then(|tag| tag.strip_suffix(coding)) {
            return format!("{bare}\"");
        }
    }
    tag.to_owned()
}

/// The tag of the same answer in a content coding.
pub(crate) fn coded(tag: &str, coding: &str) -> Option<String> {
    tag.strip_suffix('"').map(|tag| format!("{tag}-{coding}\""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_tag_is_known_in_any_form_and_in_a_list() {
        for (given, expected) in [
            (vec![], false),
            (vec!["\"7\""], true),
            (vec!["W/\"7\""], true),
            (vec!["\"7-br\""], true),
            (vec!["\"8\", \"7\""], true),
            (vec!["\"8\"", "\"7\""], true),
            (vec!["*"], true),
            (vec!["\"8\""], false),
            (vec!["7"], false),
        ] {
            let known = is_known(&headers(&header::IF_NONE_MATCH, &given), "\"7\"");
            assert_eq!(known, expected, "{given:?}");
        }
    }

    /// Status and code of a refusal, or the version that the operation is told.
    type Told = Result<Option<i64>, (u16, &'static str)>;

    fn check(versioning: Versioning, given: &[&'static str], expected: Told) {
        let mut input = json!({ "rate": 1 });

        let told = expect_version(&mut input, versioning, &headers(&header::IF_MATCH, given));

        let told = told.map(|()| input.get(EXPECTED_VERSION).and_then(Value::as_i64));
        let told = told.map_err(|problem| (problem.status.as_u16(), problem.code.to_string()));
        assert_eq!(told, expected.map_err(|(s, c)| (s, c.to_owned())), "{given:?}");
    }

    #[test]
    fn an_operation_is_told_the_version_that_was_read() {
        check(Versioning::Required, &["\"7\""], Ok(Some(7)));
        check(Versioning::Required, &["\"7-gzip\""], Ok(Some(7)));
        check(Versioning::Optional, &["\"7\""], Ok(Some(7)));
        check(Versioning::Optional, &["*"], Ok(None));
        check(Versioning::Optional, &[], Ok(None));
        check(Versioning::None, &[], Ok(None));
    }

    #[test]
    fn what_names_no_version_is_refused_and_never_ignored() {
        let malformed = || Err((400, "malformed_if_match"));
        check(Versioning::Required, &[], Err((428, "precondition_required")));
        check(Versioning::Required, &["*"], malformed());
        check(Versioning::Required, &["W/\"7\""], malformed());
        check(Versioning::Required, &["7"], malformed());
        check(Versioning::Required, &["\"7\", \"8\""], malformed());
        check(Versioning::Required, &["\"7\"", "\"8\""], malformed());
        check(Versioning::Required, &["\"abc\""], Err((412, "stale_version")));
        check(Versioning::None, &["\"7\""], Err((400, "if_match_not_accepted")));
    }

    #[test]
    fn a_version_has_one_place() {
        let mut input = json!({ "expected_version": 7 });
        let headers = headers(&header::IF_MATCH, &["\"7\""]);

        let alone = expect_version(&mut input, Versioning::Required, &HeaderMap::new());
        let twice = expect_version(&mut input, Versioning::Required, &headers);

        assert_eq!(alone, Ok(()));
        assert_eq!(twice.map_err(|problem| problem.code), Err("duplicate_field".into()));
    }

    #[test]
    fn tags_of_bytes_differ_with_the_bytes() {
        assert_eq!(tag_of_bytes(b"a").len(), DIGEST_DIGITS + 2);
        assert_ne!(tag_of_bytes(b"a"), tag_of_bytes(b"b"));
        assert_eq!(tag_of_version(&json!({ "version": 7 })), Some("\"7\"".into()));
        assert_eq!(tag_of_version(&json!({ "version": "7" })), None);
        assert_eq!(coded("\"7\"", "br"), Some("\"7-br\"".into()));
    }
}
