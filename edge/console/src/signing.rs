//! Signing in and out, step by step: the forms of [`sign_in`](crate::sign_in) and what comes of
//! them.
//!
//! A password becomes a session, whose token is the cookie: revoking the session ends it.

use axum::Extension;
use axum::extract::{FromRequest, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::html;
use platform::{Caller, CredentialKind, Error, Kind, Peer, Scope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::request::{self, Visit};
use crate::router::{Console, keeping};
use crate::shell::Theme;
use crate::sign_in::{self, Device, Form};
use crate::viewer::query_field;
use crate::watching::sentence;

/// How much of what a browser says of itself is kept for the list of sessions.
const CLIENT_CHARACTERS_MAX: usize = 200;

/// A form of somebody who has not signed in, sent by a page of ours.
pub(crate) struct Guest {
    pub headers: HeaderMap,
    pub theme: Theme,
    form: String,
}

impl Guest {
    /// A field of the form; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> String {
        query_field(&self.form, name).unwrap_or_default()
    }

    /// What a browser answered when it was asked for a passkey.
    fn credential(&self) -> Value {
        serde_json::from_str(&self.field("credential")).unwrap_or_default()
    }

    /// A code as people type it, with blanks where they like.
    fn code(&self) -> String {
        self.field("code").split_whitespace().collect()
    }
}

impl FromRequest<Console> for Guest {
    type Rejection = Response;

    /// Whoever guesses does it from somewhere, so addresses are counted here as at other doors.
    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let headers = request.headers().clone();
        if !live::is_same_origin(&headers) {
            return Err(StatusCode::FORBIDDEN.into_response());
        }
        let theme = request::theme(&headers);
        admit(console, theme, request.extensions().get::<Peer>())?;
        let form = String::from_request(request, console).await;
        let form = form.map_err(IntoResponse::into_response)?;
        Ok(Self { headers, theme, form: format!("?{form}") })
    }
}

/// Counts a guess from somewhere, and tells who makes too many to wait.
#[expect(clippy::result_large_err, reason = "it is an answer")]
fn admit(console: &Console, theme: Theme, peer: Option<&Peer>) -> Result<(), Response> {
    let admitted = console.system.admit(Caller::stranger(peer));
    admitted.map(drop).map_err(|error| {
        let problem = sentence(error.message());
        refused(&error, sign_in::card(theme, "Too often", Some(&problem), &html! {}))
    })
}

/// The page with the form; a token in its address signs in at once, unless somebody else's page
/// led here: its author could have who follows the link act as somebody they are not.
pub(crate) async fn page(
    State(console): State<Console>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    RawQuery(query): RawQuery,
) -> Response {
    let url = format!("?{}", query.unwrap_or_default());
    let next = query_field(&url, "next").unwrap_or_default();
    if let Some(token) = query_field(&url, "token") {
        if is_led_here(&headers) {
            let problem = "A page of another site led you here. Sign in yourself.";
            let form = Form { problem: Some(problem), ..empty(&console, &headers, &next) };
            return (StatusCode::FORBIDDEN, Html(sign_in::page(&form))).into_response();
        }
        let peer = peer.map(|Extension(peer)| peer);
        if let Err(answer) = admit(&console, request::theme(&headers), peer.as_ref()) {
            return answer;
        }
        return by_token(&console, &headers, &token, &next).await;
    }
    Html(sign_in::page(&empty(&console, &headers, &next))).into_response()
}

/// Whether the browser says that a page of another site asked for this one.
fn is_led_here(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| site == b"cross-site" || site == b"same-site")
}

/// Its form, with a password or a token.
pub(crate) async fn form(State(console): State<Console>, guest: Guest) -> Response {
    let field = |name| guest.field(name);
    let next = field("next");
    let token = field("token");
    if !token.is_empty() {
        return by_token(&console, &guest.headers, token.trim(), &next).await;
    }
    let (organisation, email) = (field("organisation"), field("email"));
    let input = json!({
        "organisation": organisation.trim().to_lowercase(),
        "email": email.trim(),
        "password": field("password"),
        "client": client(&guest.headers),
        "kind": "session",
    });
    match ask(&console, "sign_in", input).await {
        Ok(answer) => answered(&console, &guest.headers, &answer, &next).await,
        Err(error) => {
            let problem = sentence(error.message());
            let page = sign_in::page(&Form {
                problem: Some(&problem),
                organisation: organisation.trim(),
                email: email.trim(),
                ..empty(&console, &guest.headers, &next)
            });
            refused(&error, page)
        }
    }
}

/// The form that asks for a code.
pub(crate) async fn code(State(console): State<Console>, guest: Guest) -> Response {
    let field = |name| guest.field(name);
    let (challenge, next) = (field("challenge"), field("next"));
    let input = json!({ "challenge": challenge, "code": guest.code() });
    match ask(&console, "answer_second_factor", input).await {
        Ok(answer) => answered(&console, &guest.headers, &answer, &next).await,
        Err(error) => {
            let next = sign_in::safe_path(&next);
            let problem = sentence(error.message());
            refused(&error, ask_for_code(&console, guest.theme, &challenge, next, Some(&problem)))
        }
    }
}

fn ask_for_code(
    console: &Console,
    theme: Theme,
    challenge: &str,
    next: &str,
    problem: Option<&str>,
) -> String {
    let has_passkeys = console.system.relying_party().is_some();
    sign_in::code_page(theme, challenge, next, has_passkeys, problem)
}

/// The form of a passkey, alone.
pub(crate) async fn passkey(State(console): State<Console>, guest: Guest) -> Response {
    let next = guest.field("next");
    let input = json!({
        "credential": guest.credential(), "client": client(&guest.headers), "kind": "session",
    });
    match ask(&console, "sign_in_with_passkey", input).await {
        Ok(answer) => answered(&console, &guest.headers, &answer, &next).await,
        Err(error) => {
            let problem = sentence(error.message());
            let form = Form { problem: Some(&problem), ..empty(&console, &guest.headers, &next) };
            refused(&error, sign_in::page(&form))
        }
    }
}

/// The form of a passkey in place of a code.
pub(crate) async fn code_by_passkey(State(console): State<Console>, guest: Guest) -> Response {
    let (challenge, next) = (guest.field("challenge"), guest.field("next"));
    let input = json!({ "challenge": challenge, "credential": guest.credential() });
    match ask(&console, "answer_with_passkey", input).await {
        Ok(answer) => answered(&console, &guest.headers, &answer, &next).await,
        Err(error) => {
            let next = sign_in::safe_path(&next);
            let problem = sentence(error.message());
            refused(&error, ask_for_code(&console, guest.theme, &challenge, next, Some(&problem)))
        }
    }
}

pub(crate) async fn ask(console: &Console, operation: &str, input: Value) -> Result<Value, Error> {
    console.accounts(&Scope::anonymous(Uuid::now_v7()), operation, input).await
}

/// Goes where the answer leads: in, or to the next question.
async fn answered(console: &Console, headers: &HeaderMap, answer: &Value, next: &str) -> Response {
    let next = sign_in::safe_path(next);
    if let Some(token) = answer["token"].as_str() {
        return (keeping(&sign_in::keep_token(token)), Redirect::to(next)).into_response();
    }
    let theme = request::theme(headers);
    let challenge = answer["challenge"].as_str().unwrap_or_default();
    if answer["state"] != "enrolment_required" {
        return Html(ask_for_code(console, theme, challenge, next, None)).into_response();
    }
    match ask(console, "enrol_to_sign_in", json!({ "challenge": challenge })).await {
        Ok(begun) => {
            let device = Device::of(&begun);
            Html(sign_in::enrol_page(theme, challenge, &device, next, None)).into_response()
        }
        Err(error) => {
            let problem = sentence(error.message());
            let form = Form { problem: Some(&problem), ..empty(console, headers, next) };
            refused(&error, sign_in::page(&form))
        }
    }
}

/// The form of the page that sets a second factor up before anything else may be done.
pub(crate) async fn enrol(State(console): State<Console>, guest: Guest) -> Response {
    let field = |name| guest.field(name);
    let (challenge, next) = (field("challenge"), field("next"));
    let (theme, next) = (guest.theme, sign_in::safe_path(&next));
    let input = json!({ "challenge": challenge, "code": guest.code() });
    match ask(&console, "confirm_to_sign_in", input).await {
        Ok(answer) => {
            let token = answer["session"]["token"].as_str().unwrap_or_default();
            let page = sign_in::recovery_page(theme, &answer, next);
            (keeping(&sign_in::keep_token(token)), Html(page)).into_response()
        }
        Err(error) => {
            let problem = sentence(error.message());
            let device = Device { secret: field("secret"), uri: field("uri") };
            let page =
                sign_in::enrol_page(theme, &challenge, &device, next, Some(problem.as_str()));
            refused(&error, page)
        }
    }
}

/// Ends the session behind a visit, so that the cookie is good for nothing. A token that is no
/// session goes on; only the browser forgets it.
pub(crate) async fn end(console: &Console, visit: &Visit) {
    if visit.identity.credential.kind != CredentialKind::Session {
        return;
    }
    let scope = visit.identity.scope(Uuid::now_v7());
    if let Err(error) = console.accounts(&scope, "sign_out", json!({})).await {
        tracing::warn!(%error, "a session is forgotten by its browser, but has not ended");
    }
}

pub(crate) fn refused(error: &Error, page: String) -> Response {
    let status = match error.kind() {
        Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Failure => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::UNAUTHORIZED,
    };
    let mut response = (status, Html(page)).into_response();
    if let Some(after) = error.retry_after() {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn empty<'a>(console: &Console, headers: &HeaderMap, next: &'a str) -> Form<'a> {
    Form {
        theme: request::theme(headers),
        next: sign_in::safe_path(next),
        problem: None,
        organisation: "",
        email: "",
        has_passwords: console.system.catalog().credentials().is_some(),
        has_passkeys: console.system.relying_party().is_some(),
    }
}

async fn by_token(console: &Console, headers: &HeaderMap, token: &str, next: &str) -> Response {
    let identity = if sign_in::is_possible_token(token) {
        console.system.authenticate(token).await
    } else {
        Ok(None)
    };
    match identity {
        Ok(Some(identity)) => {
            console.names.learn(&identity);
            let next = sign_in::safe_path(next);
            (keeping(&sign_in::keep_token(token)), Redirect::to(next)).into_response()
        }
        Ok(None) => {
            let problem = "Nobody has this token. Check that it was copied whole.";
            let form = Form { problem: Some(problem), ..empty(console, headers, next) };
            (StatusCode::UNAUTHORIZED, Html(sign_in::page(&form))).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "a viewer cannot be signed in");
            request::away().into_response()
        }
    }
}

/// What signs in, as its user will recognise it.
fn client(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    agent.unwrap_or("a browser").chars().take(CLIENT_CHARACTERS_MAX).collect()
}
