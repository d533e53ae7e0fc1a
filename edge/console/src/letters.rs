//! The pages that links in letters lead to: an invitation, another password; and where one asks for
//! such a link.

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};
use serde_json::json;

use crate::request;
use crate::router::Console;
use crate::sign_in;
use crate::signing::{Guest, ask, refused};
use crate::viewer::query_field;
use crate::watching::sentence;

/// A letter whose link leads to a page that sets a password.
#[derive(Clone, Copy)]
pub(crate) enum Letter {
    Invitation,
    PasswordReset,
}

impl Letter {
    pub(crate) const fn address(self) -> &'static str {
        match self {
            Self::Invitation => "/accept-invitation",
            Self::PasswordReset => "/reset-password",
        }
    }

    const fn operation(self) -> &'static str {
        match self {
            Self::Invitation => "accept_invitation",
            Self::PasswordReset => "reset_password",
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Invitation => "Welcome",
            Self::PasswordReset => "Another password",
        }
    }
}

/// The page with the form.
pub(crate) fn page(headers: &HeaderMap, query: RawQuery, letter: Letter) -> Response {
    let url = format!("?{}", query.0.unwrap_or_default());
    let token = query_field(&url, "token").unwrap_or_default();
    let page =
        sign_in::card(request::theme(headers), letter.heading(), None, &form(letter, &token));
    Html(page).into_response()
}

/// Its form.
pub(crate) async fn set(State(console): State<Console>, guest: Guest, letter: Letter) -> Response {
    let (token, theme) = (guest.field("token"), guest.theme);
    let input = json!({ "token": token, "new_password": guest.field("new_password") });
    match ask(&console, letter.operation(), input).await {
        Ok(_) => {
            let body = html! {
                p class="notice is-done" role="status" { "The password is set." }
                p { a class="btn btn-accent" href="/sign-in" { "Sign in" } }
            };
            Html(sign_in::card(theme, letter.heading(), None, &body)).into_response()
        }
        Err(error) => {
            let problem = sentence(error.message());
            let body = form(letter, &token);
            refused(&error, sign_in::card(theme, letter.heading(), Some(&problem), &body))
        }
    }
}

fn form(letter: Letter, token: &str) -> Markup {
    html! {
        p class="quiet" { "Choose a password of 12 characters or more." }
        form method="post" action=(letter.address()) {
            input type="hidden" name="token" value=(token);
            label for="new-password" { "Password" }
            input type="password" class="input" id="new-password" name="new_password" required
                minlength="12" maxlength="128" autofocus autocomplete="new-password";
            button type="submit" class="btn btn-accent" { "Set it" }
        }
    }
}

/// Where one asks for a link, having forgotten the password.
pub(crate) fn forgotten(headers: &HeaderMap) -> Response {
    let body = html! {
        p class="quiet" { "We send a link to your address, if it is one of ours." }
        form method="post" action="/forgot-password" {
            label for="organisation" { "Organisation" }
            input type="text" class="input" id="organisation" name="organisation" required autofocus
                autocomplete="organization" spellcheck="false" autocapitalize="none";
            label for="email" { "E-mail" }
            input type="email" class="input" id="email" name="email" required
                autocomplete="username";
            button type="submit" class="btn btn-accent" { "Send the link" }
        }
        p class="quiet" { a href="/sign-in" { "Back to signing in" } }
    };
    let page = sign_in::card(request::theme(headers), "Forgotten password", None, &body);
    Html(page).into_response()
}

/// Its form. The answer is the same whether there is such a user or not.
pub(crate) async fn send(State(console): State<Console>, guest: Guest) -> Response {
    let input = json!({
        "organisation": guest.field("organisation").trim().to_lowercase(),
        "email": guest.field("email").trim(),
    });
    let theme = guest.theme;
    match ask(&console, "request_password_reset", input).await {
        Ok(_) => {
            let body = html! {
                p class="notice is-done" role="status" {
                    "If there is such a user, a link is on its way. It is good for half an hour."
                }
                p class="quiet" { a href="/sign-in" { "Back to signing in" } }
            };
            Html(sign_in::card(theme, "Forgotten password", None, &body)).into_response()
        }
        Err(error) => {
            let problem = sentence(error.message());
            let body = html! { p class="quiet" { a href="/forgot-password" { "Try again" } } };
            refused(&error, sign_in::card(theme, "Forgotten password", Some(&problem), &body))
        }
    }
}
