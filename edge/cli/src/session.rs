//! A session that the config file keeps: tokens that end after minutes, and how to get the next.
//!
//! A refresh token is good once, and one shown twice ends the session. So whoever wants the next
//! one holds the lock of the config file, looks whether another command has been there meanwhile,
//! and keeps what it gets before it uses any of it.

use std::path::PathBuf;
use std::time::Duration;

use platform::otp::Clock;
use platform::{Catalog, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::client::{Client, Trouble};
use crate::config::change::{Held, Tokens};
use crate::config::{Config, ConfigError};
use crate::options::{Secret, Server};
use crate::route::Route;

/// A token that ends sooner is not shown any more: its answer may be a while on its way.
const NEAR_END: Duration = Duration::from_mins(1);
/// What says that a refresh token is good for nothing.
const REFUSED: &str = "refresh_token_refused";

/// Where a session is kept, and what it was when the arguments were read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) file: PathBuf,
    pub(crate) profile: String,
    pub(crate) tokens: Tokens,
    /// How the next token is asked for.
    pub(crate) refresh: Route,
}

impl Kept {
    /// The session in a profile of the file, if it keeps one and this program can go on with it.
    pub(crate) fn of(
        config: &Config,
        profile: &str,
        catalog: &Catalog,
    ) -> Result<Option<Self>, ConfigError> {
        let (Some(file), Some(tokens)) = (&config.file, config.profile(Some(profile))?.tokens())
        else {
            return Ok(None);
        };
        let refresh = catalog.operation("accounts", "refresh").and_then(Route::of);
        Ok(refresh.map(|refresh| Self {
            file: file.clone(),
            profile: profile.to_owned(),
            tokens,
            refresh,
        }))
    }
}

/// A session in use.
#[derive(Debug)]
pub(crate) struct Session {
    kept: Kept,
    clock: Clock,
    held: Mutex<Tokens>,
}

/// What signing in and refreshing answer.
#[derive(Deserialize)]
pub(crate) struct Answer {
    pub(crate) state: String,
    token: Option<String>,
    refresh_token: Option<String>,
    pub(crate) challenge: Option<String>,
    expires_at: Option<Timestamp>,
}

impl Answer {
    /// Reads what the platform at `url` answered.
    pub(crate) fn read(answer: Value, url: &str) -> Result<Self, Trouble> {
        serde_json::from_value(answer).map_err(|_| Trouble::Unexpected { url: url.to_owned() })
    }

    pub(crate) fn tokens(self, url: &str) -> Result<Tokens, Trouble> {
        let Self { token: Some(token), refresh_token: Some(refresh_token), expires_at, .. } = self
        else {
            return Err(Trouble::Unexpected { url: url.to_owned() });
        };
        let (token, refresh_token) = (token.as_str().into(), refresh_token.as_str().into());
        Ok(Tokens { token, refresh_token, token_ends: expires_at })
    }
}

impl Session {
    pub(crate) fn new(kept: Kept, clock: &Clock) -> Self {
        let held = Mutex::new(kept.tokens.clone());
        Self { kept, clock: clock.clone(), held }
    }

    /// A token that is good for a while yet.
    pub(crate) async fn token(&self, url: &str) -> Result<Secret, Trouble> {
        let mut held = self.held.lock().await;
        if self.is_near_end(&held) {
            *held = self.next(url, |tokens| !self.is_near_end(tokens)).await?;
        }
        Ok(held.token.clone())
    }

    /// Another token than the one that was refused.
    pub(crate) async fn token_after(&self, url: &str, refused: &Secret) -> Result<Secret, Trouble> {
        let mut held = self.held.lock().await;
        if held.token == *refused {
            *held = self.next(url, |tokens| tokens.token != *refused).await?;
        }
        Ok(held.token.clone())
    }

    fn is_near_end(&self, tokens: &Tokens) -> bool {
        tokens.token_ends.is_some_and(|ends| ends <= self.clock.now() + NEAR_END)
    }

    /// The next tokens: those another command has kept meanwhile if they will do, or new ones.
    async fn next(&self, url: &str, will_do: impl Fn(&Tokens) -> bool) -> Result<Tokens, Trouble> {
        let profile = &self.kept.profile;
        let file = Held::take(&self.kept.file).await?;
        let config = file.read()?;
        let ended = || Trouble::Ended { profile: profile.clone() };
        // A profile that is gone, or without a session, was signed out by somebody.
        let kept = config.profile(Some(profile)).ok().and_then(|profile| profile.tokens());
        let kept = kept.ok_or_else(ended)?;
        if will_do(&kept) {
            return Ok(kept);
        }
        let tokens = match refreshed(url, &self.kept.refresh, &kept.refresh_token).await {
            Err(trouble) if trouble.is(REFUSED) => return Err(ended()),
            tokens => tokens?,
        };
        file.keep(profile, &tokens, None)?;
        Ok(tokens)
    }
}

/// Trades a refresh token for the next tokens.
async fn refreshed(url: &str, refresh: &Route, token: &Secret) -> Result<Tokens, Trouble> {
    let mut input = Map::new();
    input.insert("refresh_token".into(), token.expose().into());
    let call = refresh.call(input).map_err(|error| Trouble::Address(error.to_string()))?;
    let nobody = Server { url: url.to_owned(), token: None, profile: None };
    let client = Client::new(&nobody)?;
    Answer::read(client.send_as_nobody(&call).await?, url)?.tokens(url)
}
