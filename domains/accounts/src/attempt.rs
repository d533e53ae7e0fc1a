//! Attempts: a password is counted as a guess in one transaction, compared in none, and judged in
//! another, so that no connection waits for a hash.

use platform::{Command, Reason, Refusal, Result, Scope, Spec, System, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guess::{self, At, Guess};
use crate::me::{must_exist, user_of};
use crate::password::Password;

/// Counts a guess at the password of whoever has an address, and finds what to compare it with.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TryPassword {
    pub(crate) email: String,
}

/// Counts a guess at the password of whoever calls.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TryOwnPassword {}

/// A counted guess, or how long to wait for one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Tried {
    guess: Option<Guess>,
    wait_ms: Option<u64>,
    known: Option<Known>,
}

/// A user whose password is tried.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Known {
    pub(crate) user_id: UserId,
    pub(crate) email: String,
    pub(crate) name: String,
    hash: Option<String>,
}

impl Command for TryPassword {
    const SPEC: Spec = Spec::internal("try_password");
    type Output = Tried;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Tried> {
        let guess = match guess::count(tx, At::Password(&self.email)).await? {
            Ok(guess) => guess,
            Err(wait_ms) => {
                return Ok(Tried { guess: None, wait_ms: Some(wait_ms), known: None });
            }
        };
        let known: Option<(UserId, String, String, Option<String>)> = sqlx::query_as(
            "select users.id, users.email, users.name, passwords.hash
             from platform.users
             left join accounts.passwords on passwords.user_id = users.id
             where users.org_id = $1 and users.email = $2 and users.deleted_at is null",
        )
        .bind(tx.org_id())
        .bind(&self.email)
        .fetch_optional(tx.connection())
        .await?;
        let known = known.map(|(user_id, email, name, hash)| Known { user_id, email, name, hash });
        Ok(Tried { guess: Some(guess), wait_ms: None, known })
    }
}

impl Command for TryOwnPassword {
    const SPEC: Spec = Spec::internal("try_own_password");
    type Output = Tried;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Tried> {
        let user_id = user_of(tx.scope())?;
        let email = sqlx::query_scalar("select email from platform.users where id = $1")
            .bind(user_id)
            .fetch_one(tx.connection())
            .await?;
        TryPassword { email }.handle(tx).await
    }
}

/// Takes back a guess that was counted and never compared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TakeGuessBack {
    guess: Guess,
}

impl Command for TakeGuessBack {
    const SPEC: Spec = Spec::internal("take_guess_back");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        self.guess.was_not_made(tx).await
    }
}

/// Tells of a wrong password of somebody who has signed in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TellWrongGuess {
    guess: Guess,
    user_id: UserId,
}

impl Command for TellWrongGuess {
    const SPEC: Spec = Spec::internal("tell_wrong_guess");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        must_exist(tx, self.user_id).await?;
        self.guess.was_wrong(tx, Some(self.user_id)).await
    }
}

/// Whether the password tried is that of the user tried, if there is such a user.
pub(crate) async fn compare(
    system: &System,
    scope: &Scope,
    tried: Tried,
    password: Password,
) -> Result<(Option<Known>, bool, Guess)> {
    let Tried { guess, wait_ms, known } = tried;
    let Some(guess) = guess else { return Err(guess::too_many(wait_ms.unwrap_or(1))) };
    let hash = known.as_ref().and_then(|known| known.hash.clone());
    let compared = system.compute(move || password.is_behind(hash.as_deref())).await;
    match compared.flatten() {
        Ok(is_right) => Ok((known, is_right, guess)),
        Err(error) => {
            system.run(scope, TakeGuessBack { guess }).await?;
            Err(error)
        }
    }
}

/// The password is not that of whoever calls.
#[derive(Debug, thiserror::Error)]
#[error("this is not your password")]
pub(crate) struct NotYours;

impl Refusal for NotYours {
    fn reason(&self) -> Reason {
        Reason::forbidden("password_wrong").at("/password")
    }
}

/// Whoever calls, if the password is theirs.
pub(crate) async fn must_be_own(system: &System, password: Password) -> Result<(Known, Guess)> {
    let scope = system.caller()?;
    let tried = system.run(scope, TryOwnPassword {}).await?;
    let (known, is_right, guess) = compare(system, scope, tried, password).await?;
    match known {
        Some(known) if is_right => Ok((known, guess)),
        Some(known) => {
            system.run(scope, TellWrongGuess { guess, user_id: known.user_id }).await?;
            Err(NotYours.into())
        }
        None => Err(NotYours.into()),
    }
}
