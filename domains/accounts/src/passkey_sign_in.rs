//! Signing in with a passkey: alone, or in place of a code after the password.

use platform::{Access, Action, Command, Error, Kind, Result, Spec, System, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authenticator::{PasskeyRefused, Why};
use crate::challenge::{self, Asks};
use crate::guess::NOBODY;
use crate::me::must_exist;
use crate::passkey::{self, PasskeyRefusal};
use crate::passkey_challenge::{self, Purpose, party};
use crate::passkey_options::PasskeyToShow;
use crate::passkey_shown::{ShownCredential, judge};
use crate::session::{self, Begin, SessionKind};
use crate::sign_in::{SignInAnswer, SignInRefusal, signed_in};

/// Begin to sign in with a passkey: what to ask the browser or the app's kit for.
///
/// Without a challenge any passkey of this site will do whose keeper checks who is there, and it
/// stands for address, password and second factor: go on with `sign_in_with_passkey`. With the
/// challenge that `sign_in` answered with `second_factor_required` it stands for the code: go on
/// with `answer_with_passkey`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginPasskeySignIn {
    /// The challenge that `sign_in` answered, if it was asked before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub challenge: Option<String>,
}

impl Action for BeginPasskeySignIn {
    const SPEC: Spec = Spec::invoke("begin_passkey_sign_in", "/sign_in/passkey/begin")
        .needs(Access::Anyone)
        .confidential();
    type Output = PasskeyToShow;

    async fn act(self, system: &System) -> Result<PasskeyToShow> {
        let asked = match self.challenge {
            None => {
                let scope = session::duty(system.caller()?, NOBODY);
                system.run(&scope, AskForPasskey { digest: None }).await?
            }
            Some(challenge) => {
                let ask = |digest| AskForPasskey { digest: Some(digest) };
                challenge::answer(system, &challenge, ask).await?
            }
        };
        asked.ok_or_else(|| Error::from(SignInRefusal::Challenge))
    }
}

/// Makes what to ask for a passkey to be shown: by whoever a challenge is for, or by anybody.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AskForPasskey {
    digest: Option<Vec<u8>>,
}

impl Command for AskForPasskey {
    const SPEC: Spec = Spec::internal("ask_for_passkey");
    type Output = Option<PasskeyToShow>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<PasskeyToShow>> {
        let party = party(tx)?;
        let Some(digest) = self.digest else {
            let challenge = passkey_challenge::make(tx, Purpose::SignIn, None).await?;
            return Ok(Some(PasskeyToShow::of(party, challenge, &[], true)));
        };
        let Some(open) = challenge::open(tx, &digest, Asks::Code).await? else { return Ok(None) };
        let known = passkey::credentials_of(tx, open.user_id).await?;
        if known.is_empty() {
            return Err(PasskeyRefusal::None.into());
        }
        let purpose = Purpose::SecondFactor;
        let challenge = passkey_challenge::make(tx, purpose, Some(open.user_id)).await?;
        Ok(Some(PasskeyToShow::of(party, challenge, &known, false)))
    }
}

/// Sign in with a passkey alone.
///
/// Its keeper must have checked who is there, by a finger, a face or a code of its own; so it
/// counts as both factors.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInWithPasskey {
    /// What `navigator.credentials.get()` answered, as its `toJSON()` tells it.
    pub credential: ShownCredential,
    /// What signs in, as its user will recognise it in a list: a browser, a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub client: Option<String>,
    /// What kind of session to begin: `session` for a browser, `app` for an app.
    pub kind: SessionKind,
}

impl Action for SignInWithPasskey {
    const SPEC: Spec = Spec::invoke("sign_in_with_passkey", "/sign_in/passkey")
        .needs(Access::Anyone)
        .confidential();
    type Output = SignInAnswer;

    async fn act(self, system: &System) -> Result<SignInAnswer> {
        let Self { credential, client, kind } = self;
        let shown = credential.read().map_err(refused)?;
        // Nobody's, as it was made: it is used up whoever the passkey turns out to be.
        let nobody = session::duty(system.caller()?, NOBODY);
        let used = UseChallenge { digest: shown.challenge.digest.clone() };
        if shown.challenge.org_id != NOBODY || !system.run(&nobody, used).await? {
            return Err(refused(Why::Challenge));
        }
        let (org_id, user_id) = shown.owner().ok_or_else(|| refused(Why::Unknown))?;
        let scope = session::duty(system.caller()?, org_id);
        let pass = PassPasskey { user_id, credential, client, kind };
        match system.run(&scope, pass).await {
            // Whether there is such a user is nobody's to know.
            Err(error) if error.kind() == Kind::NotFound => Err(refused(Why::Unknown)),
            passed => passed?.map_err(refused),
        }
    }
}

fn refused(why: Why) -> Error {
    PasskeyRefused { why, is_sign_in: true }.into()
}

/// Uses a challenge up that was made for nobody in particular.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UseChallenge {
    digest: Vec<u8>,
}

impl Command for UseChallenge {
    const SPEC: Spec = Spec::internal("use_passkey_challenge");
    type Output = bool;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<bool> {
        party(tx)?;
        passkey_challenge::use_up(tx, &self.digest, Purpose::SignIn, None).await
    }
}

/// Begins the session of whoever showed their passkey.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PassPasskey {
    user_id: UserId,
    credential: ShownCredential,
    client: Option<String>,
    kind: SessionKind,
}

impl Command for PassPasskey {
    const SPEC: Spec = Spec::internal("pass_passkey");
    type Output = Result<SignInAnswer, Why>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Result<SignInAnswer, Why>> {
        let Self { user_id, credential, client, kind } = self;
        must_exist(tx, user_id).await?;
        let shown = match credential.read() {
            Ok(shown) => shown,
            Err(why) => return Ok(Err(why)),
        };
        if let Err(why) = judge(tx, &shown, user_id, true).await? {
            return Ok(Err(why));
        }
        let second_factor_at = Some(tx.now());
        signed_in(tx, Begin { user_id, kind, client, second_factor_at }).await.map(Ok)
    }
}

/// Answer the challenge of a sign-in with a passkey, in place of a code.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerWithPasskey {
    /// The challenge that `sign_in` answered.
    #[schemars(length(min = 1, max = 200))]
    pub challenge: String,
    /// What `navigator.credentials.get()` answered, as its `toJSON()` tells it.
    pub credential: ShownCredential,
}

impl Action for AnswerWithPasskey {
    const SPEC: Spec = Spec::invoke("answer_with_passkey", "/sign_in/second_factor/passkey")
        .needs(Access::Anyone)
        .confidential();
    type Output = SignInAnswer;

    async fn act(self, system: &System) -> Result<SignInAnswer> {
        let Self { challenge, credential } = self;
        let pass = |digest| PassPasskeyAnswer { digest, credential };
        let passed = challenge::answer(system, &challenge, pass).await?;
        passed.ok_or(SignInRefusal::Challenge)?.map_err(refused)
    }
}

/// Begins the session behind a challenge, whose user showed a passkey.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PassPasskeyAnswer {
    digest: Vec<u8>,
    credential: ShownCredential,
}

impl Command for PassPasskeyAnswer {
    const SPEC: Spec = Spec::internal("pass_passkey_answer");
    type Output = Option<Result<SignInAnswer, Why>>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Result<SignInAnswer, Why>>> {
        let Some(open) = challenge::open(tx, &self.digest, Asks::Code).await? else {
            return Ok(None);
        };
        let user_id = open.user_id;
        match show(tx, &self.credential, Purpose::SecondFactor, user_id).await? {
            Ok(()) => open.answered(tx).await.map(|answer| Some(Ok(answer))),
            Err(why) => Ok(Some(Err(why))),
        }
    }
}

/// Shows a passkey of a user who is known, which uses its challenge up whatever comes of it.
pub(crate) async fn show(
    tx: &mut Tx<'_>,
    credential: &ShownCredential,
    purpose: Purpose,
    user_id: UserId,
) -> Result<Result<(), Why>> {
    party(tx)?;
    let shown = match credential.read() {
        Ok(shown) => shown,
        Err(why) => return Ok(Err(why)),
    };
    let digest = &shown.challenge.digest;
    if !passkey_challenge::use_up(tx, digest, purpose, Some(user_id)).await? {
        return Ok(Err(Why::Challenge));
    }
    judge(tx, &shown, user_id, false).await
}
