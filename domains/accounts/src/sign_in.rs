//! Signing in: an address and a password, then a code if there is a second factor.
//!
//! Whoever asks learns the same in the same time whether the organisation, the address or the
//! password is wrong: the same rows are counted, and the same hash is made.

use contracts::accounts::SignedIn;
use platform::{
    Access, Action, Command, Reason, Refusal, Result, Spec, System, Timestamp, Tx, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attempt::{self, TryPassword};
use crate::challenge::{self, Asks};
use crate::guess::{Guess, NOBODY};
use crate::me::must_exist;
use crate::password::Password;
use crate::session::{self, Begin, Handed, SessionKind};

/// Sign in with an address and a password.
///
/// The answer is either a session, or a challenge to be answered with a code of the second factor.
/// After five wrong passwords in a row nobody may try at that address for half a minute, and for
/// longer after each further one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The short name of the organisation.
    #[schemars(length(min = 1, max = 63))]
    pub organisation: String,
    /// The address of the user.
    #[schemars(length(min = 3, max = 254))]
    pub email: String,
    /// The password.
    pub password: Password,
    /// What signs in, as its user will recognise it in a list: a browser, a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub client: Option<String>,
    /// What kind of session to begin: `session` for a browser, `app` for an app.
    pub kind: SessionKind,
}

/// How far signing in has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SignInState {
    /// There is a session.
    SignedIn,
    /// The challenge wants a code: `answer_second_factor`.
    SecondFactorRequired,
    /// Nobody may act here without a second factor, and there is none yet: `enrol_to_sign_in`.
    EnrolmentRequired,
}

/// A session, or what is missing for one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignInAnswer {
    /// How far signing in has come.
    pub state: SignInState,
    /// The bearer token of the session; of an app, its first access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// For the next access token of an app. Good once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Uuid>,
    /// To be answered for a session. Good for five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// When the token, or the challenge, ends at the latest.
    pub expires_at: Timestamp,
}

impl SignInAnswer {
    pub(crate) fn session(handed: Handed) -> Self {
        let Handed { session_id, token, refresh_token, expires_at } = handed;
        Self {
            state: SignInState::SignedIn,
            token: Some(token),
            refresh_token,
            session_id: Some(session_id),
            challenge: None,
            expires_at,
        }
    }

    pub(crate) fn challenge(state: SignInState, challenge: String, expires_at: Timestamp) -> Self {
        Self {
            state,
            token: None,
            refresh_token: None,
            session_id: None,
            challenge: Some(challenge),
            expires_at,
        }
    }
}

/// What may not be told apart is one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignInRefusal {
    #[error("organisation, address or password is wrong")]
    Wrong,
    #[error("the challenge is unknown, used or too old; sign in again")]
    Challenge,
    #[error("the code is wrong, or was used before")]
    Code,
    #[error("the refresh token is unknown, used or too old; sign in again")]
    RefreshToken,
}

impl Refusal for SignInRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Wrong => Reason::unauthenticated("sign_in_refused"),
            Self::Challenge => Reason::unauthenticated("challenge_refused"),
            Self::Code => Reason::unauthenticated("code_refused"),
            Self::RefreshToken => Reason::unauthenticated("refresh_token_refused"),
        }
    }
}

impl Action for SignIn {
    const SPEC: Spec = Spec::invoke("sign_in", "/sign_in").needs(Access::Anyone).confidential();
    type Output = SignInAnswer;

    async fn act(self, system: &System) -> Result<SignInAnswer> {
        let Self { organisation, email, password, client, kind } = self;
        let org_id = system.organisation(&organisation).await?.unwrap_or(NOBODY);
        let email = email.trim().to_lowercase();
        let scope = session::duty(system.caller()?, org_id);
        let tried = system.run(&scope, TryPassword { email }).await?;
        let (known, is_right, guess) = attempt::compare(system, &scope, tried, password).await?;
        let user_id = known.map(|known| known.user_id);
        let passed = PassPassword { guess, user_id, is_right, kind, client };
        let answer = system.run(&scope, passed).await?;
        Ok(answer.ok_or(SignInRefusal::Wrong)?)
    }
}

/// Begins what follows a right password, and tells of a wrong one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PassPassword {
    guess: Guess,
    /// Who has the address, if anybody has.
    user_id: Option<UserId>,
    is_right: bool,
    kind: SessionKind,
    client: Option<String>,
}

impl Command for PassPassword {
    const SPEC: Spec = Spec::internal("pass_password");
    type Output = Option<SignInAnswer>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<SignInAnswer>> {
        let Self { guess, user_id, is_right, kind, client } = self;
        if let Some(user_id) = user_id {
            must_exist(tx, user_id).await?;
        }
        let found: Option<(UserId, bool)> = sqlx::query_as(
            "select id, has_second_factor from platform.users where id = $1 and deleted_at is null",
        )
        .bind(user_id)
        .fetch_optional(tx.connection())
        .await?;
        let Some((user_id, has_second_factor)) = found.filter(|_| is_right) else {
            guess.was_wrong(tx, user_id).await?;
            return Ok(None);
        };
        guess.was_right(tx).await?;
        let begin = Begin { user_id, kind, client, second_factor_at: None };
        let asks = match (has_second_factor, tx.profile()?.demands_second_factor()) {
            (true, _) => Asks::Code,
            (false, true) => Asks::Enrolment,
            (false, false) => return signed_in(tx, begin).await.map(Some),
        };
        challenge::make(tx, &begin, asks).await.map(Some)
    }
}

/// Begins a session and tells of it.
pub(crate) async fn signed_in(tx: &mut Tx<'_>, begin: Begin) -> Result<SignInAnswer> {
    let (user_id, kind) = (begin.user_id, begin.kind.name().to_owned());
    let had_second_factor = begin.second_factor_at.is_some();
    let handed = session::begin(tx, begin).await?;
    let session_id = handed.session_id;
    tx.append(&SignedIn { user_id, session_id, kind, had_second_factor }).await?;
    Ok(SignInAnswer::session(handed))
}
