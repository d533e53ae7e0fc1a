//! Showing a passkey once more, before something that cannot be undone.

use contracts::accounts::SecondFactorShown;
use platform::{Access, Action, Command, Result, SECOND_FACTOR_COUNTS_FOR, Spec, System, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authenticator::{PasskeyRefused, Why};
use crate::credential::NothingToMakeItFrom;
use crate::me::user_of;
use crate::passkey::{self, PasskeyRefusal};
use crate::passkey_challenge::{self, Purpose, party};
use crate::passkey_options::PasskeyToShow;
use crate::passkey_shown::ShownCredential;
use crate::passkey_sign_in::show;
use crate::second_factor;
use crate::step_up::{SteppedUp, beginning};

/// Begin to show a passkey of mine once more: what to ask the browser or the app's kit for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginPasskeyStepUp {}

impl Action for BeginPasskeyStepUp {
    const SPEC: Spec = Spec::invoke("begin_passkey_step_up", "/me/passkeys/show/begin")
        .needs(Access::Member)
        .confidential();
    type Output = PasskeyToShow;

    async fn act(self, system: &System) -> Result<PasskeyToShow> {
        system.run(system.caller()?, AskForOwnPasskey {}).await
    }
}

/// Makes what to ask for a passkey of whoever calls.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AskForOwnPasskey {}

impl Command for AskForOwnPasskey {
    const SPEC: Spec = Spec::internal("ask_for_own_passkey");
    type Output = PasskeyToShow;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<PasskeyToShow> {
        let (user_id, party) = (user_of(tx.scope())?, party(tx)?);
        let known = passkey::credentials_of(tx, user_id).await?;
        if known.is_empty() {
            return Err(PasskeyRefusal::None.into());
        }
        let challenge = passkey_challenge::make(tx, Purpose::StepUp, Some(user_id)).await?;
        Ok(PasskeyToShow::of(party, challenge, &known, false))
    }
}

/// Show a passkey of mine once more, in place of `show_second_factor`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowPasskey {
    /// What `navigator.credentials.get()` answered, as its `toJSON()` tells it.
    pub credential: ShownCredential,
}

impl Action for ShowPasskey {
    const SPEC: Spec =
        Spec::invoke("show_passkey", "/me/passkeys/show").needs(Access::Member).confidential();
    type Output = SteppedUp;

    async fn act(self, system: &System) -> Result<SteppedUp> {
        let step_up = StepUpWithPasskey { credential: self.credential };
        let shown = system.run(system.caller()?, step_up).await?;
        shown.map_err(|why| PasskeyRefused { why, is_sign_in: false }.into())
    }
}

/// Notes that whoever calls has shown a passkey.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StepUpWithPasskey {
    credential: ShownCredential,
}

impl Command for StepUpWithPasskey {
    const SPEC: Spec = Spec::internal("step_up_with_passkey");
    type Output = Result<SteppedUp, Why>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Result<SteppedUp, Why>> {
        let (user_id, now) = (user_of(tx.scope())?, tx.now());
        let credential_id = beginning(tx, user_id).await?.ok_or(NothingToMakeItFrom)?;
        if let Err(why) = show(tx, &self.credential, Purpose::StepUp, user_id).await? {
            return Ok(Err(why));
        }
        second_factor::note_shown(tx, credential_id).await?;
        tx.append(&SecondFactorShown { user_id, credential_id }).await?;
        Ok(Ok(SteppedUp { counts_until: now + SECOND_FACTOR_COUNTS_FOR }))
    }
}
