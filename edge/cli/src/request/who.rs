//! Who asks: by what is said, or else by what the config file keeps.

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches as _};
use serde_json::Map;

use super::{Ask, Asks, Outside, Remote, Request, Task, style, wrong};
use crate::client::is_same_place;
use crate::config::{ConfigError, Profile};
use crate::options::Server;
use crate::route::Route;
use crate::session::Kept;
use crate::sign_in::{self, SignIn, SignOut};

impl Asks<'_> {
    /// Where to ask and as whom: what was said, and the config file for what was not.
    pub(super) fn server(
        &self,
        leaf: &ArgMatches,
        outside: &Outside<'_>,
    ) -> Result<(Server, Option<Kept>), clap::Error> {
        let server = Server::from_arg_matches(leaf)?.without_empty();
        let is_url_said = is_url_said(leaf);
        if is_url_said && server.token.is_some() && server.profile.is_none() {
            return Ok((server, None));
        }
        let config = (outside.config)().map_err(wrong)?;
        let profile = config.profile(server.profile.as_deref()).map_err(wrong)?;
        let name = config.meant(server.profile.as_deref()).map(str::to_owned);
        let session = match &name {
            Some(name) if server.token.is_none() => Kept::of(&config, name, self.catalog),
            _ => Ok(None),
        };
        let is_session = profile.tokens().is_some();
        let kept_at = profile.url.clone();
        let is_profiles_token = server.token.is_none();
        let mut server = server.filled(is_url_said, profile);
        if is_profiles_token {
            server.profile = name;
        }
        // A session is shown to nobody but the platform it was begun at.
        if is_session && kept_at.is_none_or(|url| !is_same_place(&url, &server.url)) {
            if is_profiles_token {
                server.token = None;
            }
            return Ok((server, None));
        }
        Ok((server, session.map_err(wrong)?))
    }

    /// Whoever signs in: what was said, and for what was not, what the profile remembers.
    pub(super) fn sign_in(
        &self,
        matches: &ArgMatches,
        outside: &Outside<'_>,
    ) -> Result<Request, clap::Error> {
        let server = Server::from_arg_matches(matches)?.without_empty();
        let config = (outside.config)().map_err(wrong)?;
        let (profile, known, becomes_default) = config.signed_in_as(server.profile.as_deref());
        if profile.is_empty() || profile.chars().any(char::is_control) {
            return Err(wrong(ConfigError::BadName(profile)));
        }
        if known.token.is_some() && known.refresh_token.is_none() {
            return Err(wrong(format!(
                "the profile `{profile}` has a token that was put there by hand; name another \
                 profile with --use, or take the line out"
            )));
        }
        let ask = SignIn {
            route: self.accounts("sign_in")?,
            second_factor: self.accounts("answer_second_factor")?,
            file: config.file.clone().ok_or_else(|| wrong(ConfigError::NoPlace))?,
            becomes_default,
            organisation: sign_in::said(matches, "organisation", known.organisation.clone()),
            email: sign_in::said(matches, "email", known.email.clone()),
            reads_stdin: matches.get_flag("password-stdin"),
            is_outdone: server.token.is_some(),
            profile,
        };
        let nobody = Server { token: None, ..server };
        let server =
            nobody.filled(is_url_said(matches), Profile { url: known.url, ..Profile::default() });
        let task = Task(Ask::SignIn(ask));
        Ok(Request::Remote(Remote { server, style: style(matches)?, task, session: None }))
    }

    pub(super) fn sign_out(
        &self,
        matches: &ArgMatches,
        outside: &Outside<'_>,
    ) -> Result<Request, clap::Error> {
        let server = Server::from_arg_matches(matches)?.without_empty();
        let config = (outside.config)().map_err(wrong)?;
        let (profile, known, _) = config.signed_in_as(server.profile.as_deref());
        let session = Kept::of(&config, &profile, self.catalog);
        let session = session
            .ok()
            .flatten()
            .ok_or_else(|| wrong(format!("nobody is signed in with the profile `{profile}`")))?;
        let call = self.accounts("sign_out")?.call(Map::new()).map_err(wrong)?;
        let file = session.file.clone();
        let task = Task(Ask::SignOut(SignOut { call, file, profile }));
        // Wherever the session was begun, whatever else is said.
        let server = server.filled(false, known);
        let session = Some(session);
        Ok(Request::Remote(Remote { server, style: style(matches)?, task, session }))
    }

    pub(super) fn accounts(&self, name: &str) -> Result<Route, clap::Error> {
        let operation = self.catalog.operation("accounts", name);
        operation.and_then(Route::of).ok_or_else(|| {
            wrong(format!("this program was built without the operation `{name}` of accounts"))
        })
    }
}

fn is_url_said(leaf: &ArgMatches) -> bool {
    leaf.value_source("url") != Some(ValueSource::DefaultValue)
}
