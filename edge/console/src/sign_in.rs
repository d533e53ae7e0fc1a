//! Signing in: a token becomes a cookie that no script can read.
//!
//! The cookie holds the token itself: there is no second session to keep, revoking the token ends
//! it, and it survives a restart of the platform. `SameSite=Lax` and a token in every form keep
//! foreign pages from acting with it.

use axum::http::{HeaderMap, header};
use live::Signer;
use maud::{Markup, html};
use serde_json::Value;

use crate::account_drawing::recovery_codes;
use crate::shell::{self, Head, Theme};
use crate::{passkey_drawing, qr};

/// The cookie with the token.
pub(crate) const TOKEN_COOKIE: &str = "finnest_token";
/// The cookie with the theme.
pub(crate) const THEME_COOKIE: &str = "finnest_theme";

/// Half a day: a shift.
const TOKEN_SECONDS: u32 = 12 * 3_600;
const THEME_SECONDS: u32 = 365 * 24 * 3_600;

/// The value of a cookie in a request.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// The header that keeps a token; an empty one forgets it.
pub(crate) fn keep_token(token: &str) -> String {
    let seconds = if token.is_empty() { 0 } else { TOKEN_SECONDS };
    format!("{TOKEN_COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax")
}

/// The header that keeps a theme.
pub(crate) fn keep_theme(theme: Theme) -> String {
    let name = theme.name();
    format!("{THEME_COOKIE}={name}; Path=/; Max-Age={THEME_SECONDS}; HttpOnly; SameSite=Lax")
}

/// Whether a text can be a token in a cookie. Anything else was never given out.
pub(crate) fn is_possible_token(token: &str) -> bool {
    (1..=512).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte))
}

/// The token that forms of a session carry: it follows from the session, and only the platform can
/// make it.
pub(crate) fn csrf_token(signer: &Signer, token: &str) -> String {
    let text = signer.sign("csrf", &token);
    text.rsplit_once('.').map_or(String::new(), |(_, tag)| tag.to_owned())
}

/// Where to go after signing in: only to a page of ours.
pub(crate) fn safe_path(path: &str) -> &str {
    let is_ours = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(['\\', '\r', '\n'])
        && path.is_ascii();
    if is_ours { path } else { "/" }
}

/// What a page of signing in says and keeps.
pub(crate) struct Form<'a> {
    pub theme: Theme,
    /// Where to go afterwards.
    pub next: &'a str,
    pub problem: Option<&'a str>,
    /// What was typed before, so that nobody types it again.
    pub organisation: &'a str,
    pub email: &'a str,
    /// Whether there is anybody with a password.
    pub has_passwords: bool,
    /// Whether there may be passkeys.
    pub has_passkeys: bool,
}

/// The page with the form.
pub(crate) fn page(form: &Form<'_>) -> String {
    let token = token_form(form);
    let body = html! {
        @if form.has_passwords {
            (password_form(form))
            @if form.has_passkeys { (passkey_drawing::sign_in(form.next)) }
            p class="quiet" { a href="/forgot-password" { "Forgotten it?" } }
            details class="sign-in-other" {
                summary { "Use an access token instead" }
                (token)
            }
        } @else {
            p class="quiet" { "With the access token that your administrator gave you." }
            (token)
        }
    };
    card(form.theme, "Sign in", form.problem, &body)
}

/// The page that asks for a code of the second factor.
pub(crate) fn code_page(
    theme: Theme,
    challenge: &str,
    next: &str,
    has_passkeys: bool,
    problem: Option<&str>,
) -> String {
    let body = html! {
        p class="quiet" { "Type the six digits that your app shows, or a recovery code." }
        form method="post" action="/sign-in/code" {
            input type="hidden" name="next" value=(next);
            input type="hidden" name="challenge" value=(challenge);
            label for="code" { "Code" }
            input type="text" class="input" id="code" name="code" required autofocus
                autocomplete="one-time-code" inputmode="numeric" spellcheck="false";
            button type="submit" class="btn btn-accent" { "Go on" }
        }
        @if has_passkeys { (passkey_drawing::answer(challenge, next)) }
        p class="quiet" { a href="/sign-in" { "Begin again" } }
    };
    card(theme, "Second factor", problem, &body)
}

/// What an app for one-time codes is told.
pub(crate) struct Device {
    pub secret: String,
    pub uri: String,
}

impl Device {
    pub(crate) fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Self { secret: text("secret"), uri: text("uri") }
    }
}

/// The page that sets a second factor up, where nobody may act without one.
pub(crate) fn enrol_page(
    theme: Theme,
    challenge: &str,
    device: &Device,
    next: &str,
    problem: Option<&str>,
) -> String {
    let body = html! {
        p class="quiet" {
            "Nobody may act here without a second factor. Let an app for one-time codes read the "
            "picture, type the secret into it, or " a href=(device.uri) { "open it there" } "."
        }
        (qr::picture(&device.uri, qr::SECRET))
        p class="secret" { code { (device.secret) } }
        form method="post" action="/sign-in/enrol" {
            input type="hidden" name="next" value=(next);
            input type="hidden" name="challenge" value=(challenge);
            input type="hidden" name="secret" value=(device.secret);
            input type="hidden" name="uri" value=(device.uri);
            label for="code" { "The code it shows now" }
            input type="text" class="input" id="code" name="code" required autofocus
                autocomplete="one-time-code" inputmode="numeric" spellcheck="false";
            button type="submit" class="btn btn-accent" { "Confirm" }
        }
    };
    card(theme, "Set up a second factor", problem, &body)
}

/// The page with the recovery codes, once.
pub(crate) fn recovery_page(theme: Theme, answer: &Value, next: &str) -> String {
    let body = html! {
        (recovery_codes(answer))
        p { a class="btn btn-accent" href=(next) { "I have kept them" } }
    };
    card(theme, "Recovery codes", None, &body)
}

pub(crate) fn card(theme: Theme, heading: &str, problem: Option<&str>, content: &Markup) -> String {
    let body = html! {
        main id="main" class="sign-in" {
            div class="card sign-in-card" {
                (shell::brand())
                h1 { (heading) }
                @if let Some(problem) = problem {
                    p class="notice is-refused" role="alert" { (problem) }
                }
                (content)
            }
        }
    };
    let title = format!("{heading} · Finnest");
    let head = Head { title: &title, theme, csrf: None, now: 0 };
    shell::bare_document(&head, &body)
}

fn password_form(form: &Form<'_>) -> Markup {
    let knows_who = !form.email.is_empty();
    html! {
        form method="post" action="/sign-in" {
            input type="hidden" name="next" value=(form.next);
            label for="organisation" { "Organisation" }
            input type="text" class="input" id="organisation" name="organisation" required
                value=(form.organisation) autofocus[!knows_who] autocomplete="organization"
                placeholder="its short name, as in acme" spellcheck="false" autocapitalize="none";
            label for="email" { "E-mail" }
            input type="email" class="input" id="email" name="email" required
                value=(form.email) autocomplete="username";
            label for="password" { "Password" }
            input type="password" class="input" id="password" name="password" required
                autofocus[knows_who] autocomplete="current-password";
            button type="submit" class="btn btn-accent" { "Sign in" }
        }
    }
}

fn token_form(form: &Form<'_>) -> Markup {
    html! {
        form method="post" action="/sign-in" {
            input type="hidden" name="next" value=(form.next);
            label for="token" { "Access token" }
            input type="password" class="input" id="token" name="token" required
                autofocus[!form.has_passwords] autocomplete="off" spellcheck="false";
            button type="submit" class="btn btn-accent" { "Sign in" }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=1; finnest_token=abc; b=2"));

        assert_eq!(cookie(&headers, TOKEN_COOKIE).as_deref(), Some("abc"));
        assert_eq!(cookie(&headers, "token"), None);
    }

    #[test]
    fn only_pages_of_ours_are_gone_to_after_signing_in() {
        let cases = [
            ("/events?x=1", "/events?x=1"),
            ("//evil.test", "/"),
            ("https://evil.test", "/"),
            ("/\\evil.test", "/"),
            ("", "/"),
        ];

        for (path, expected) in cases {
            assert_eq!(safe_path(path), expected);
        }
    }

    #[test]
    fn a_token_that_would_break_a_cookie_is_impossible() {
        for token in ["", "a;b", "a b", "a\r\nb", "ü"] {
            assert!(!is_possible_token(token), "{token:?}");
        }
        assert!(is_possible_token("demo-operator"));
    }

    #[test]
    fn each_session_has_its_own_form_token() {
        let signer = Signer::new([1; 32]);

        assert_eq!(csrf_token(&signer, "a"), csrf_token(&signer, "a"));
        assert_ne!(csrf_token(&signer, "a"), csrf_token(&signer, "b"));
        assert_ne!(csrf_token(&signer, "a"), csrf_token(&Signer::new([2; 32]), "a"));
    }
}
