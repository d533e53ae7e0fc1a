//! How passkeys are drawn: forms that a small script fills, and the list of one's own.
//!
//! Only a browser can ask for a passkey, so these forms are hidden until the script shows them.

use maud::{Markup, html};
use serde_json::Value;

use crate::account_page::ADDRESS;
use crate::assets;

/// The script that asks the browser.
fn script() -> Markup {
    html! { script defer src=(assets::address("passkeys.js")) {} }
}

/// What the browser is asked.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Create,
    Get,
}

/// A form whose answer is the browser's. Without options the script fetches them first.
fn form(address: &str, asked: Asked, options: Option<&Value>, fields: &Markup) -> Markup {
    let asked = match asked {
        Asked::Create => "create",
        Asked::Get => "get",
    };
    html! {
        form method="post" action=(address) class="account-form" data-passkey=(asked)
            data-options=[options.map(Value::to_string)] hidden {
            input type="hidden" name="credential";
            (fields)
            p class="notice is-refused" role="alert" hidden {}
        }
        (script())
    }
}

/// On the page of signing in: with a passkey alone.
pub(crate) fn sign_in(next: &str) -> Markup {
    form(
        "/sign-in/passkey",
        Asked::Get,
        None,
        &html! {
            input type="hidden" name="next" value=(next);
            button type="submit" class="btn btn-quiet" { "Sign in with a passkey" }
        },
    )
}

/// On the page that asks for a code: a passkey in its place.
pub(crate) fn answer(challenge: &str, next: &str) -> Markup {
    form(
        "/sign-in/code/passkey",
        Asked::Get,
        None,
        &html! {
            input type="hidden" name="next" value=(next);
            input type="hidden" name="challenge" value=(challenge);
            button type="submit" class="btn btn-quiet" { "Use a passkey instead" }
        },
    )
}

/// One's own passkeys.
pub(crate) fn list(csrf: &str, answer: &Result<Value, String>, may_add: bool) -> Markup {
    let items = answer.as_ref().ok().and_then(|answer| answer["items"].as_array());
    let items = items.map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() && !may_add {
        return html! {};
    }
    html! {
        section class="card account-card" aria-labelledby="passkeys" {
            h2 id="passkeys" { "Passkeys" }
            p class="quiet" {
                "A key that your phone, your computer or a key ring keeps. It cannot be typed into "
                "a wrong page, and it signs in without a password."
            }
            @if !items.is_empty() {
                table {
                    thead { tr { th { "Name" } th { "Made" } th { "Last used" } th {} } }
                    tbody { @for passkey in items { (row(csrf, passkey)) } }
                }
                (own(csrf, "begin_passkey_step_up", &html! {
                    button type="submit" class="btn btn-quiet" { "Show a passkey again" }
                }))
            }
            @if may_add {
                details {
                    summary { "Add a passkey" }
                    (own(csrf, "begin_passkey", &html! {
                        label for="passkey-password" { "Your password" }
                        input type="password" class="input" id="passkey-password" name="password"
                            autocomplete="current-password";
                        button type="submit" class="btn btn-accent" { "Begin" }
                    }))
                }
            }
        }
    }
}

fn row(csrf: &str, passkey: &Value) -> Markup {
    let text = |name: &str| passkey[name].as_str().unwrap_or_default().to_owned();
    let day = |name: &str| text(name).split('T').next().unwrap_or_default().to_owned();
    html! {
        tr {
            td { (text("label")) }
            td class="nowrap" { (day("created_at")) }
            td class="nowrap" { (day("last_used_at")) }
            td {
                (own(csrf, "remove_passkey", &html! {
                    input type="hidden" name="passkey_id" value=(text("passkey_id"));
                    button type="submit" class="small-button"
                        aria-label={ "Remove " (text("label")) } { "Remove" }
                }))
            }
        }
    }
}

fn own(csrf: &str, operation: &str, fields: &Markup) -> Markup {
    html! {
        form method="post" action=(ADDRESS) class="account-form" {
            (hidden(csrf, operation))
            (fields)
        }
    }
}

fn hidden(csrf: &str, operation: &str) -> Markup {
    html! {
        input type="hidden" name="_csrf_token" value=(csrf);
        input type="hidden" name="do" value=(operation);
    }
}

/// What makes a passkey, once its options are there.
pub(crate) fn to_make(csrf: &str, answer: &Value) -> Markup {
    asked(
        "Make a passkey",
        &form(
            ADDRESS,
            Asked::Create,
            Some(&answer["options"]),
            &html! {
                (hidden(csrf, "add_passkey"))
                label for="passkey-label" { "What to call it, as in Mia's phone" }
                input type="text" class="input" id="passkey-label" name="label"
                    maxlength="100" required;
                button type="submit" class="btn btn-accent" { "Make the passkey" }
            },
        ),
    )
}

/// What shows a passkey again, once its options are there.
pub(crate) fn to_show(csrf: &str, answer: &Value) -> Markup {
    asked(
        "Show a passkey",
        &form(
            ADDRESS,
            Asked::Get,
            Some(&answer["options"]),
            &html! {
                (hidden(csrf, "show_passkey"))
                button type="submit" class="btn btn-accent" { "Show it" }
            },
        ),
    )
}

fn asked(heading: &str, form: &Markup) -> Markup {
    html! {
        section class="card account-card is-now" role="status" {
            h2 { (heading) }
            p class="quiet" { "Your browser asks you for it within five minutes." }
            (form)
        }
    }
}
