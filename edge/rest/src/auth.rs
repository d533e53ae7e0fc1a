//! Authentication: from a bearer token to the person behind it.
//!
//! **Invariant:** the organisation comes from the token and from nowhere else.

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use platform::{Access, Budget, Caller, Identity, Peer, Scope, System};

use crate::problem::Problem;
use crate::request::RequestIds;

/// Asks for a token.
const CHALLENGE: &str = r#"Bearer realm="finnest""#;
/// Says that the token given is not one of ours, or not any more.
const CHALLENGE_AGAIN: &str = r#"Bearer realm="finnest", error="invalid_token""#;

/// Who makes a request, and what it may still ask for.
pub(crate) async fn admit(
    system: &System,
    access: Access,
    parts: &Parts,
) -> Result<(Scope, Budget), Problem> {
    let ids = parts.extensions.get::<RequestIds>().expect("the outermost layer puts them there");
    let stranger = Caller::stranger(parts.extensions.get::<Peer>());
    let (scope, budget) = if access == Access::Anyone {
        (Scope::anonymous(ids.correlation_id), system.admit(stranger)?)
    } else {
        let identity = identify(system, stranger, &parts.headers).await?;
        (identity.scope(ids.correlation_id), system.admit(Caller::Known(&identity))?)
    };
    Ok((scope.traced(ids.traceparent), budget))
}

async fn identify(
    system: &System,
    stranger: Caller<'_>,
    headers: &HeaderMap,
) -> Result<Identity, Problem> {
    let Some(token) = bearer(headers) else {
        return Err(unauthenticated(
            "token_missing",
            "send a token: Authorization: Bearer <token>",
            CHALLENGE,
        ));
    };
    if let Some(identity) = system.authenticate(token).await? {
        return Ok(identity);
    }
    // Each guess costs a question to the database, so nobody may guess without end.
    system.admit(stranger)?;
    let detail = "the token is unknown, expired or revoked";
    Err(unauthenticated("token_unknown", detail, CHALLENGE_AGAIN))
}

fn unauthenticated(code: &'static str, detail: &str, challenge: &'static str) -> Problem {
    let mut problem = Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    problem.challenge = Some(challenge);
    problem
}

/// The token of an `Authorization` header; the scheme's name is case-insensitive. Two such headers
/// are none, since two readers could choose differently.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(values: &[&'static str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        assert_eq!(bearer(&headers), expected, "{values:?}");
    }

    #[test]
    fn only_one_bearer_token_counts() {
        check(&["Bearer abc"], Some("abc"));
        check(&["bearer  abc "], Some("abc"));
        check(&[], None);
        check(&["Bearer"], None);
        check(&["Bearer "], None);
        check(&["Basic abc"], None);
        check(&["Bearer a", "Bearer b"], None);
    }
}
