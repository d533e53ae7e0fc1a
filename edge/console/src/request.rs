//! What a request says about its viewer, before any page is made.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use platform::{Access, Identity, System, allows};

use crate::router::Console;
use crate::shell::Theme;
use crate::sign_in::{self, THEME_COOKIE, TOKEN_COOKIE};
use crate::viewer::Viewer;
use crate::words::in_query;

/// A request by somebody who has signed in.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub identity: Identity,
    pub token: String,
    pub viewer: Viewer,
    pub theme: Theme,
    /// The address, from the path on.
    pub url: String,
    /// Whether the device calls itself small; the script tells the exact width later.
    pub is_narrow: bool,
}

impl Visit {
    /// Whether the viewer may do what asks for `access`.
    pub(crate) fn allows(&self, access: Access) -> bool {
        allows(self.identity.role, access)
    }
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &Console,
    ) -> Result<Self, Self::Rejection> {
        let url = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (identity, token) = match identify(&console.system, &parts.headers).await {
            Ok(Some(known)) => known,
            Ok(None) => return Err(to_sign_in(&url).into_response()),
            Err(response) => return Err(response),
        };
        console.names.learn(&identity);
        let viewer = Viewer {
            name: identity.name.clone(),
            role: identity.role.name().replace('_', " "),
            org: identity.org_name.clone(),
            csrf: sign_in::csrf_token(&console.signer, &token),
        };
        Ok(Self {
            identity,
            token,
            viewer,
            theme: theme(&parts.headers),
            url,
            is_narrow: is_narrow(&parts.headers),
        })
    }
}

/// Who comes with the cookie of a request, and the token in it.
async fn identify(
    system: &System,
    headers: &HeaderMap,
) -> Result<Option<(Identity, String)>, Response> {
    let Some(token) = sign_in::cookie(headers, TOKEN_COOKIE) else { return Ok(None) };
    if !sign_in::is_possible_token(&token) {
        return Ok(None);
    }
    match system.authenticate(&token).await {
        Ok(identity) => Ok(identity.map(|identity| (identity, token))),
        Err(error) => {
            tracing::warn!(%error, "a viewer cannot be identified");
            Err(away().into_response())
        }
    }
}

/// The answer while nobody can be identified.
pub(crate) fn away() -> impl IntoResponse {
    let seconds = [(header::RETRY_AFTER, "2"), (header::REFRESH, "3")];
    let text = "The database does not answer just now, so nobody can be signed in. \
                This page tries again by itself.";
    (StatusCode::SERVICE_UNAVAILABLE, seconds, text)
}

fn to_sign_in(url: &str) -> Redirect {
    match url {
        "/" => Redirect::to("/sign-in"),
        url => Redirect::to(&format!("/sign-in?next={}", in_query(url))),
    }
}

/// The theme that a viewer has chosen.
pub(crate) fn theme(headers: &HeaderMap) -> Theme {
    Theme::from_name(&sign_in::cookie(headers, THEME_COOKIE).unwrap_or_default())
}

fn is_narrow(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-ch-ua-mobile") {
        Some(answer) => answer == "?1",
        None => text("user-agent").is_some_and(|agent| agent.contains("Mobi")),
    }
}
