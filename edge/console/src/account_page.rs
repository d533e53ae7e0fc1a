//! One's own account: who one is, the second factor, the password, sessions and tokens.
//!
//! Everything is asked of the operations of accounts, as whoever looks. What is shown once, a new
//! token or recovery codes, is in the answer to its form and nowhere else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::account_drawing::{
    enrolment, own_password, recovery_codes, second_factor, sessions, shown_once, tokens, who,
};
use crate::pages;
use crate::passkey_drawing;
use crate::request::Visit;
use crate::router::{Console, is_own_form};
use crate::shell::{self, Shell};
use crate::viewer::query_field;
use crate::watching::sentence;

/// The address of the page.
pub(crate) const ADDRESS: &str = "/account";

/// What the forms of the page may ask for, with the fields each has.
const OPERATIONS: [(&str, &[&str]); 14] = [
    ("show_second_factor", &["code"]),
    ("enrol_second_factor", &["password", "code"]),
    ("confirm_second_factor", &["code"]),
    ("disable_second_factor", &["code"]),
    ("set_password", &["password", "new_password"]),
    ("revoke_my_session", &["session_id"]),
    ("revoke_my_other_sessions", &[]),
    ("begin_passkey", &["password"]),
    ("add_passkey", &["label", "credential"]),
    ("begin_passkey_step_up", &[]),
    ("show_passkey", &["credential"]),
    ("remove_passkey", &["passkey_id"]),
    ("create_token", &["label", "scopes", "expires_in_days"]),
    ("revoke_token", &["token_id"]),
];

async fn ask(
    console: &Console,
    visit: &Visit,
    operation: &str,
    input: Value,
) -> Result<Value, String> {
    let scope = visit.identity.scope(Uuid::now_v7());
    let answer = console.accounts(&scope, operation, input).await;
    answer.map_err(|error| sentence(error.message()))
}

/// The page: `/account`.
pub(crate) async fn show(State(console): State<Console>, visit: Visit) -> Response {
    let done = query_field(&visit.url, "done");
    let notice = done.as_deref().map(done_words).filter(|words| !words.is_empty());
    let notice = html! {
        @if let Some(words) = notice { p class="notice is-done" role="status" { (words) } }
    };
    page(&console, &visit, &notice).await.into_response()
}

async fn page(console: &Console, visit: &Visit, notice: &Markup) -> Html<String> {
    let me = ask(console, visit, "get_me", json!({})).await;
    let mine = ask(console, visit, "list_my_sessions", json!({})).await;
    let passkeys = ask(console, visit, "list_my_passkeys", json!({})).await;
    let may_add = console.system.relying_party().is_some();
    let programs = ask(console, visit, "list_tokens", json!({ "limit": 100 })).await;
    let csrf = &visit.viewer.csrf;
    let content = html! {
        main id="main" class="page account" tabindex="-1" {
            header class="page-head" { h1 { "Your account" } }
            (notice)
            @match &me {
                Ok(me) => {
                    (who(me))
                    (second_factor(csrf, me, &visit.identity.credential))
                    (passkey_drawing::list(csrf, &passkeys, may_add))
                    (own_password(csrf))
                }
                Err(problem) => p class="notice is-refused" role="alert" { (problem) },
            }
            (sessions(csrf, &mine))
            (tokens(csrf, &programs))
        }
    };
    let shell = Shell {
        title: "Your account · Finnest",
        current: ADDRESS,
        viewer: &visit.viewer,
        theme: visit.theme,
        menu: &pages::menu(console.system.catalog(), visit),
        session: None,
        now: console.system.clock().now().timestamp_millis(),
    };
    Html(shell::document(&shell, &content.0))
}

/// What a form has done.
fn done_words(operation: &str) -> &'static str {
    match operation {
        "show_second_factor" | "show_passkey" => {
            "The second factor counts for the next ten minutes."
        }
        "disable_second_factor" => "You are without a second factor.",
        "add_passkey" => "The passkey is added.",
        "remove_passkey" => "The passkey is removed.",
        "set_password" => "The password is changed. Your other sessions have ended.",
        "revoke_my_session" => "The session has ended.",
        "revoke_my_other_sessions" => "All other sessions have ended.",
        "revoke_token" => "The token is revoked.",
        _ => "",
    }
}

/// Every form of the page: `do` names the operation, the other fields are its input.
pub(crate) async fn act(State(console): State<Console>, visit: Visit, form: String) -> Response {
    if !is_own_form(&visit, &form) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let form = format!("?{form}");
    let wanted = query_field(&form, "do").unwrap_or_default();
    let Some((operation, fields)) = OPERATIONS.into_iter().find(|(known, _)| *known == wanted)
    else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let done = match input(&form, fields) {
        Ok(input) => ask(&console, &visit, operation, input).await,
        Err(problem) => Err(problem),
    };
    let csrf = &visit.viewer.csrf;
    let (status, notice) = match (done, operation) {
        (Ok(answer), "create_token") => (StatusCode::OK, shown_once(&answer)),
        (Ok(answer), "enrol_second_factor") => (StatusCode::OK, enrolment(csrf, &answer)),
        (Ok(answer), "begin_passkey") => (StatusCode::OK, passkey_drawing::to_make(csrf, &answer)),
        (Ok(answer), "begin_passkey_step_up") => {
            (StatusCode::OK, passkey_drawing::to_show(csrf, &answer))
        }
        (Ok(answer), "add_passkey") if answer["recovery_codes"].is_array() => {
            (StatusCode::OK, recovery_codes(&answer))
        }
        (Ok(answer), "confirm_second_factor") => (StatusCode::OK, recovery_codes(&answer)),
        (Ok(_), _) => {
            return Redirect::to(&format!("{ADDRESS}?done={operation}")).into_response();
        }
        (Err(problem), _) => {
            let notice = html! { p class="notice is-refused" role="alert" { (problem) } };
            (StatusCode::UNPROCESSABLE_ENTITY, notice)
        }
    };
    (status, page(&console, &visit, &notice).await).into_response()
}

/// The input of an operation, from the fields of its form. What was left empty is left out.
fn input(form: &str, fields: &[&str]) -> Result<Value, String> {
    let mut input = Map::new();
    for &name in fields {
        let Some(text) = query_field(form, name).filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        let value = match name {
            "credential" => serde_json::from_str(&text)
                .map_err(|_| "That is no answer of a browser.".to_owned())?,
            "scopes" => text.split_whitespace().collect(),
            "expires_in_days" => {
                let days: u32 = text
                    .trim()
                    .parse()
                    .map_err(|_| format!("{text} is no number of days.", text = text.trim()))?;
                days.into()
            }
            "code" => text.split_whitespace().collect::<String>().into(),
            // A password may begin or end with a blank.
            "password" | "new_password" => text.into(),
            _ => text.trim().into(),
        };
        input.insert(name.to_owned(), value);
    }
    Ok(input.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_the_input_of_its_operation() {
        let form = "?label=+nightly+&scopes=recruit%3Aread+payroll%3Aread&expires_in_days=30";

        assert_eq!(
            input(form, &["label", "scopes", "expires_in_days"]),
            Ok(json!({ "label": "nightly", "scopes": ["recruit:read", "payroll:read"],
                "expires_in_days": 30 }))
        );
        assert_eq!(
            input("?code=123+456&password=+a+", &["code", "password"]).ok(),
            Some(json!({
            "code": "123456", "password": " a " }))
        );
        assert_eq!(input("?scopes=", &["scopes"]), Ok(json!({})));
        assert!(input("?expires_in_days=soon", &["expires_in_days"]).is_err());
    }
}
