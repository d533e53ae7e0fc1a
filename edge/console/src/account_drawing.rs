//! How an account is drawn: a card for each thing one can see and change about oneself.

use maud::{Markup, html};
use platform::{Credential, SecondFactor};
use serde_json::Value;

use crate::account_page::ADDRESS;
use crate::qr;
use crate::words::fit;

/// How much of what a browser says of itself is shown; the rest is in a tooltip.
const CLIENT_CHARACTERS_MAX: usize = 48;

/// Who one is.
pub(crate) fn who(me: &Value) -> Markup {
    let text = |name: &str| me[name].as_str().unwrap_or_default().to_owned();
    html! {
        section class="card account-card" aria-labelledby="who" {
            h2 id="who" { (text("name")) }
            dl class="account-facts" {
                div { dt { "E-mail" } dd { (text("email")) } }
                div { dt { "Role" } dd { (text("role").replace('_', " ")) } }
                div { dt { "Organisation" } dd { (text("organisation")) } }
            }
        }
    }
}

/// A form of the page.
fn form(csrf: &str, operation: &str, fields: &Markup) -> Markup {
    html! {
        form method="post" action=(ADDRESS) class="account-form" {
            input type="hidden" name="_csrf_token" value=(csrf);
            input type="hidden" name="do" value=(operation);
            (fields)
        }
    }
}

fn field(id: &str, name: &str, kind: &str, words: &str, complete: &str) -> Markup {
    html! {
        label for=(id) { (words) }
        input type=(kind) class="input" id=(id) name=(name) autocomplete=(complete)
            spellcheck="false" required;
    }
}

fn button(words: &str) -> Markup {
    html! { button type="submit" class="btn btn-accent" { (words) } }
}

/// The second factor: to show it, to have one, to be without one again.
pub(crate) fn second_factor(csrf: &str, me: &Value, credential: &Credential) -> Markup {
    let is_asked = credential.second_factor != SecondFactor::NotAsked;
    html! {
        section class="card account-card" aria-labelledby="second-factor" {
            h2 id="second-factor" { "Second factor" }
            @if is_asked {
                p class="quiet" {
                    "What cannot be taken back wants a code of the last ten minutes."
                }
                (form(csrf, "show_second_factor", &html! {
                    (field("step-code", "code", "text", "Code from the app", "one-time-code"))
                    (button("Show it"))
                }))
            }
            @if me["has_second_factor"] == true {
                details {
                    summary { "Be without a second factor" }
                    (form(csrf, "disable_second_factor", &html! {
                        (field("off-code", "code", "text", "Code from the app", "one-time-code"))
                        (button("Remove it"))
                    }))
                }
            } @else {
                p class="quiet" {
                    "A second factor keeps others out who have learnt your password. "
                    "Any app for one-time codes will do."
                }
                details {
                    summary { "Set one up" }
                    (form(csrf, "enrol_second_factor", &html! {
                        (field("on-password", "password", "password", "Your password",
                            "current-password"))
                        (button("Begin"))
                    }))
                }
            }
        }
    }
}

/// A secret that an app is to be told, and the form that proves it was.
pub(crate) fn enrolment(csrf: &str, answer: &Value) -> Markup {
    html! {
        section class="card account-card is-now" role="status" {
            h2 { "Tell your app" }
            p {
                "Let the app read the picture, type the secret into it, or "
                a href=(answer["uri"].as_str().unwrap_or_default()) { "open it there" }
                ". It is shown this once."
            }
            (qr::picture(answer["uri"].as_str().unwrap_or_default(), qr::SECRET))
            p class="secret" { code { (answer["secret"].as_str().unwrap_or_default()) } }
            (form(csrf, "confirm_second_factor", &html! {
                (field("confirm-code", "code", "text", "The code it shows now", "one-time-code"))
                (button("Confirm"))
            }))
        }
    }
}

/// Codes for when the app is lost.
pub(crate) fn recovery_codes(answer: &Value) -> Markup {
    let codes = answer["recovery_codes"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        section class="card account-card is-now" role="status" {
            h2 { "You have a second factor" }
            p {
                "Keep these codes where the app is not. Each is good once in its place. "
                "They are shown this once."
            }
            ul class="secret-list" {
                @for code in codes { li { code { (code.as_str().unwrap_or_default()) } } }
            }
        }
    }
}

/// Another password.
pub(crate) fn own_password(csrf: &str) -> Markup {
    html! {
        section class="card account-card" aria-labelledby="password-head" {
            h2 id="password-head" { "Password" }
            details {
                summary { "Change it" }
                (form(csrf, "set_password", &html! {
                    (field("old-password", "password", "password", "So far", "current-password"))
                    (field("new-password", "new_password", "password",
                        "From now on: 12 characters or more", "new-password"))
                    (button("Change"))
                }))
            }
        }
    }
}

fn instant(value: &Value) -> Markup {
    let text = value.as_str().unwrap_or_default();
    html! {
        @if let Some((date, rest)) = text.split_once('T') {
            time class="nowrap" datetime=(text) { (date) " " (rest.get(..5).unwrap_or_default()) }
        }
    }
}

/// Where one is signed in.
pub(crate) fn sessions(csrf: &str, answer: &Result<Value, String>) -> Markup {
    let items = answer.as_ref().ok().and_then(|answer| answer["items"].as_array());
    let items = items.map(Vec::as_slice).unwrap_or_default();
    let others = items.iter().any(|session| session["is_current"] != true);
    html! {
        h2 { "Where you are signed in" }
        @if let Err(problem) = answer {
            p class="notice is-refused" role="alert" { (problem) }
        }
        div class="card table-card" {
            @if items.is_empty() {
                div class="empty" {
                    p { strong { "No sessions." } }
                    p { "You are here with an access token, which is no session." }
                }
            } @else {
                table {
                    thead { tr {
                        th scope="col" { "With" } th scope="col" { "Since (UTC)" }
                        th scope="col" { "Last used" } th scope="col" { "Until" }
                        th scope="col" { "" }
                    } }
                    tbody { @for session in items { (session_row(csrf, session)) } }
                }
            }
        }
        @if others {
            (form(csrf, "revoke_my_other_sessions", &button("End all others")))
        }
    }
}

fn session_row(csrf: &str, session: &Value) -> Markup {
    let client = session["client"].as_str().or(session["kind"].as_str()).unwrap_or_default();
    html! {
        tr {
            td title=(client) {
                (fit(client, CLIENT_CHARACTERS_MAX))
                @if session["is_current"] == true { " " span class="chip" { "this one" } }
            }
            td { (instant(&session["created_at"])) }
            td { (instant(&session["last_used_at"])) }
            td { (instant(&session["expires_at"])) }
            td {
                (form(csrf, "revoke_my_session", &html! {
                    input type="hidden" name="session_id"
                        value=(session["session_id"].as_str().unwrap_or_default());
                    button type="submit" class="small-button" aria-label={ "End " (client) } {
                        "End"
                    }
                }))
            }
        }
    }
}

/// What programs act with in one's name.
pub(crate) fn tokens(csrf: &str, answer: &Result<Value, String>) -> Markup {
    let items = answer.as_ref().ok().and_then(|answer| answer["items"].as_array());
    let items = items.map(Vec::as_slice).unwrap_or_default();
    html! {
        h2 { "Access tokens of your programs" }
        @if let Err(problem) = answer {
            p class="notice is-refused" role="alert" { (problem) }
        }
        div class="card table-card" {
            @if items.is_empty() {
                div class="empty" {
                    p { strong { "No tokens." } }
                    p { "A program that acts in your name shows a token instead of a password." }
                }
            } @else {
                table {
                    thead { tr {
                        th scope="col" { "For" } th scope="col" { "May" }
                        th scope="col" { "Made (UTC)" } th scope="col" { "Last used" }
                        th scope="col" { "Until" } th scope="col" { "" }
                    } }
                    tbody { @for token in items { (token_row(csrf, token)) } }
                }
            }
        }
        section class="card account-card" aria-labelledby="new-token" {
            h2 id="new-token" { "Make a token" }
            (form(csrf, "create_token", &html! {
                label for="label" { "What it is for" }
                input type="text" class="input" id="label" name="label" maxlength="100" required;
                label for="scopes" { "Scopes; all that you may, if empty" }
                input type="text" class="input" id="scopes" name="scopes" spellcheck="false"
                    autocapitalize="none" placeholder="recruit:read mcp:payroll:read";
                label for="days" { "Days it is good; until revoked, if empty" }
                input type="number" class="input" id="days" name="expires_in_days" min="1"
                    max="3660";
                (button("Make it"))
            }))
        }
    }
}

fn token_row(csrf: &str, token: &Value) -> Markup {
    let label = token["label"].as_str().unwrap_or_default();
    let scopes: Vec<&str> = token["scopes"]
        .as_array()
        .map(|scopes| scopes.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    html! {
        tr {
            td { (label) }
            td { @if scopes.is_empty() { "all you may" } @else { code { (scopes.join(" ")) } } }
            td { (instant(&token["created_at"])) }
            td { (instant(&token["last_used_at"])) }
            td { (instant(&token["expires_at"])) }
            td {
                (form(csrf, "revoke_token", &html! {
                    input type="hidden" name="token_id"
                        value=(token["token_id"].as_str().unwrap_or_default());
                    button type="submit" class="small-button" aria-label={ "Revoke " (label) } {
                        "Revoke"
                    }
                }))
            }
        }
    }
}

/// A new token.
pub(crate) fn shown_once(answer: &Value) -> Markup {
    html! {
        section class="card account-card is-now" role="status" {
            h2 { "Your new token" }
            p { "Copy it now: it is shown this once." }
            p class="secret" { code { (answer["token"].as_str().unwrap_or_default()) } }
        }
    }
}
